"""Reward through attention and products, shared equally between their operands, and through detached norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from services.model.training.errors import NoRuleError


class Scaled(torch.autograd.Function):
    """Identity whose backward pass multiplies by a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:  # type: ignore[override]
        """Any shape, returned as it is."""
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Multiply."""
        return grad * ctx.factor, None


def scaled(x: Tensor, factor: float) -> Tensor:
    """`x` with its gradient multiplied by `factor`."""
    return Scaled.apply(x, factor)  # type: ignore[no-any-return]


def uniform_call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, product: bool) -> Any:
    """Call with reward shared equally: half to each operand of a product, 1/4, 1/4, 1/2 to query, key and value.

    Source: the uniform rule of AttnLRP (Achtibat et al. 2024); the softmax itself passes by its derivative.
    """
    if func is F.scaled_dot_product_attention:
        query, key, value = args[:3]
        return func(scaled(query, 0.25), scaled(key, 0.25), scaled(value, 0.5), *args[3:], **kwargs)
    if func is F.multi_head_attention_forward:
        return expanded_attention(*args, **kwargs)
    both = [isinstance(part, Tensor) and part.requires_grad and part.grad_fn is not None for part in args[:2]]
    if product and len(both) == 2 and all(both):
        return func(scaled(args[0], 0.5), scaled(args[1], 0.5), *args[2:], **kwargs)
    return func(*args, **kwargs)


def expanded_attention(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None,
    add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor, out_proj_bias: Tensor | None,
    training: bool = True, key_padding_mask: Tensor | None = None, need_weights: bool = True,
    attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None, static_k: Tensor | None = None,
    static_v: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """`torch.nn.functional.multi_head_attention_forward`, [T, B, E], with the uniform rule inside.

    Raises
    ------
    NoRuleError : added keys, static keys, padding masks or dropout: what the expansion does not cover.
    """
    odd = bias_k is not None or static_k is not None or add_zero_attn or key_padding_mask is not None
    if odd or query.ndim != 3 or (training and dropout_p):
        raise NoRuleError("this multi-head attention call has options that the uniform rule does not cover")
    weights = (
        (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight.chunk(3)  # type: ignore[union-attr]
    )
    biases = in_proj_bias.chunk(3) if in_proj_bias is not None else (None, None, None)
    places, batch, width = query.shape
    heads = []
    for given, weight, bias, factor in zip((query, key, value), weights, biases, (0.25, 0.25, 0.5), strict=True):
        part = F.linear(given, weight, bias)  # type: ignore[arg-type]
        part = part.reshape(len(given), batch, num_heads, width // num_heads).permute(1, 2, 0, 3)
        heads.append(scaled(part, factor))
    logits = heads[0] @ heads[1].transpose(-2, -1) / (width // num_heads) ** 0.5
    if attn_mask is not None:
        logits = logits.masked_fill(attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    probabilities = logits.softmax(-1)
    mixed = (probabilities @ heads[2]).permute(2, 0, 1, 3).reshape(places, batch, width)
    told = None
    if need_weights:
        told = probabilities.mean(1) if average_attn_weights else probabilities
    return F.linear(mixed, out_proj_weight, out_proj_bias), told


def layer_norm_detached(
    x: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Layer normalisation whose deviation is a constant of the backward pass."""
    axes = tuple(range(-len(normalized_shape), 0))
    deviation = (x.var(axes, unbiased=False, keepdim=True) + eps).sqrt().detach()
    out = (x - x.mean(axes, keepdim=True)) / deviation
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def rms_norm_detached(
    x: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Root-mean-square normalisation whose scale is a constant of the backward pass."""
    axes = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    out = x / (x.square().mean(axes, keepdim=True) + eps).sqrt().detach()
    return out if weight is None else out * weight
