"""Attention matrices of any vision transformer, seen by intercepting function calls of this thread alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from services.model.attribution.baselines.errors import NoAttention
from services.model.attribution.baselines.scoring import Target, checked, chosen

SIGNATURE = inspect.signature(functional.multi_head_attention_forward)
RARE = ("add_zero_attn", "use_separate_proj_weight")  # no vision transformer has these; such a call is not recorded
ABSENT = ("bias_k", "bias_v", "static_k", "static_v", "key_padding_mask")
SOFTMAX = {torch.softmax, torch.Tensor.softmax, functional.softmax}


@dataclass(frozen=True)
class Attended:
    """One forward pass.

    Parameters
    ----------
    matrices : [B, heads, T, T] for each block in order, in the graph of `score`.
    prefix : leading tokens that are no patches.
    grid : rows and columns of patches.
    pooled : whether the head reads the mean of the patches; otherwise it reads token 0.
    """

    matrices: tuple[Tensor, ...]
    score: Tensor
    prefix: int
    grid: tuple[int, int]
    pooled: bool

    def read(self, matrix: Tensor) -> Tensor:
        """What the head's token takes from each patch. [..., T, T] -> [..., rows, columns]."""
        row = matrix[..., self.prefix :, :].mean(-2) if self.pooled else matrix[..., 0, :]
        return row[..., self.prefix :].unflatten(-1, self.grid)


class Recorder(TorchFunctionMode):
    """Keeps every square attention matrix [B, heads, T, T]; fused attention is written out to show its own."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer a call, and keep what it attends to."""
        named = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            output, matrix = written_out(*args, **named)
            self._keep(matrix)
            return output
        if func is functional.multi_head_attention_forward:
            call = SIGNATURE.bind(*args, **named)
            call.apply_defaults()
            if not any(call.arguments[name] for name in RARE) and all(call.arguments[name] is None for name in ABSENT):
                output, matrix = multi_head(call.arguments)
                self._keep(matrix)
                told = matrix.mean(1) if call.arguments["average_attn_weights"] else matrix
                return output, told if call.arguments["need_weights"] else None
        output = func(*args, **named)
        if func in SOFTMAX and isinstance(output, Tensor):
            self._keep(output)
        return output

    def _keep(self, matrix: Tensor) -> None:
        if matrix.ndim == 4 and matrix.shape[-1] == matrix.shape[-2] > 1 and matrix.requires_grad:
            self.matrices.append(matrix)


def written_out(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return scaled dot-product attention and its matrix; eval mode, so without dropout.

    Source: the reference implementation in the documentation of `torch.nn.functional.scaled_dot_product_attention`.
    """
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    logits = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        allowed = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        logits = logits.masked_fill(~allowed, -math.inf)
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    matrix = logits.softmax(-1)
    return matrix @ value, matrix


def multi_head(given: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return multi-head attention [T, B, E] with packed projections, and its matrices [B, heads, T, S].

    Written out because the function itself hands out a view of the matrix, which the score does not depend on.
    """
    weights = given["in_proj_weight"].chunk(3)
    biases = (None,) * 3 if given["in_proj_bias"] is None else given["in_proj_bias"].chunk(3)
    sources = (given["query"], given["key"], given["value"])
    parts = [functional.linear(*three) for three in zip(sources, weights, biases, strict=True)]
    heads = [part.unflatten(-1, (given["num_heads"], -1)).permute(1, 2, 0, 3) for part in parts]
    mask = given["attn_mask"]
    if mask is not None and mask.ndim == 3:
        mask = mask.unflatten(0, (-1, given["num_heads"]))
    if mask is not None and mask.dtype == torch.bool:
        mask = ~mask  # True forbids here, and allows in scaled dot-product attention
    output, matrix = written_out(*heads, attn_mask=mask)
    joined = output.permute(2, 0, 1, 3).flatten(2)
    return functional.linear(joined, given["out_proj_weight"], given["out_proj_bias"]), matrix


def attended(model: nn.Module, inputs: Tensor, target: Target) -> Attended:
    """Run the model once and keep its attention.

    Raises
    ------
    NoAttention : no square attention, blocks of different token counts (windows, pyramids), or tokens that form no
        grid.
    """
    leaf, of = checked(model, inputs, target)
    with Recorder() as recorder, torch.enable_grad():
        output = model(leaf)
    matrices = tuple(recorder.matrices)
    sizes = {matrix.shape[-1] for matrix in matrices}
    if len(sizes) != 1 or any(len(matrix) != len(leaf) for matrix in matrices):
        raise NoAttention(f"{len(matrices)} attention matrices over {sorted(sizes)} tokens", field="model")
    (tokens,) = sizes
    prefix = prefix_tokens(model)
    height, width = leaf.shape[-2:]
    patches = tokens - prefix
    rows = round(math.sqrt(max(patches, 0) * height / width))
    if rows < 1 or patches % rows:
        raise NoAttention(f"{tokens} tokens, {prefix} of them no patches, form no grid", field="model")
    pooled = prefix == 0 or getattr(model, "global_pool", "token") in {"avg", "avgmax", "max"}
    return Attended(matrices, chosen(output, of), prefix, (rows, patches // rows), pooled)


def prefix_tokens(model: nn.Module) -> int:
    """Count leading tokens that are no patches: timm says so, torchvision and open_clip have a class token."""
    declared = getattr(model, "num_prefix_tokens", None)
    if declared is not None:
        return int(declared)
    names = ("class_token", "class_embedding", "cls_token")
    return int(any(isinstance(getattr(model, name, None), Tensor) for name in names))
