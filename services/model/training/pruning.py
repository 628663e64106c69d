"""Unstructured pruning: which weights go, by magnitude, by relevance, or by chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import floor

import torch
from torch import Tensor, nn

from services.model.training.errors import FeedbackOptionError, PruneAllError
from services.model.training.sparsity import weights_of

CRITERIA = ("magnitude", "relevance", "abs_relevance", "random")
SCOPES = ("global", "layer")
Batches = Iterable[tuple[Tensor, Tensor]]
Masks = dict[str, Tensor]


def scores(model: nn.Module, criterion: str, data: Batches | None = None, *, seed: int = 0) -> dict[str, Tensor]:
    """Score of each weight of linear and convolution layers, by name; the smallest go first.

    Parameters
    ----------
    criterion : `magnitude` |w|, `relevance` |sum_data R_w|, `abs_relevance` sum_data |R_w|, `random`.
    data : batches (x, y) for the relevance criteria: R_w = w * sum_b a s, seeded with the logit of the true class of
        samples that are classified rightly.

    Raises
    ------
    FeedbackOptionError : an unknown criterion, or relevance without data.
    """
    weights = weights_of(model)
    if criterion not in CRITERIA:
        raise FeedbackOptionError(f"criterion is {criterion}; known are {', '.join(CRITERIA)}", field="criterion")
    if criterion == "magnitude":
        return {name: weight.abs() for name, weight in weights.items()}
    if criterion == "random":
        draw = torch.Generator().manual_seed(seed)
        return {name: torch.rand(weight.shape, generator=draw).to(weight) for name, weight in weights.items()}
    if data is None:
        raise FeedbackOptionError(f"{criterion} needs data", field="data")
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for found in _relevance(model, list(weights), data, each=criterion == "abs_relevance"):
        for name, part in found.items():
            total[name] += part
    return {name: part.abs() for name, part in total.items()}


def _relevance(model: nn.Module, names: list[str], data: Batches, *, each: bool) -> Iterator[dict[str, Tensor]]:
    """Parameter relevance w * dlogit/dw (LRP-0 on homogeneous networks) of each batch, or |.| of each sample."""
    from services.model.training.engine import LFP

    parts = dict(model.named_parameters())
    training = model.training
    model.eval()
    lfp = LFP(model, floor=1.0, homogeneous=True)
    try:
        for x, y in data:
            for rows in range(len(x)) if each else [slice(None)]:
                some = x[rows : rows + 1] if isinstance(rows, int) else x
                true = y[rows : rows + 1] if isinstance(rows, int) else y
                with lfp:
                    out = model(some)
                right = (out.argmax(-1) == true).to(out.dtype)
                seed = nn.functional.one_hot(true, out.shape[-1]).to(out.dtype) * right[:, None]
                found = torch.autograd.grad(out, [parts[name] for name in names], seed, allow_unused=True)
                yield {
                    name: torch.zeros_like(parts[name]) if g is None else (parts[name] * g).detach().abs() if each
                    else (parts[name] * g).detach()
                    for name, g in zip(names, found, strict=True)
                }  # fmt: skip
    finally:
        model.train(training)


def masks_of(found: dict[str, Tensor], amount: float, *, scope: str = "global") -> Masks:
    """Masks that take away the floor(amount n) smallest scores, ties by flat index, so that larger amounts nest.

    Parameters
    ----------
    found : scores by name. amount : share in [0, 1). scope : `global` over all, or within each `layer`.

    Raises
    ------
    PruneAllError : nothing would be left, altogether or of a layer in the layer scope.
    """
    if scope not in SCOPES:
        raise FeedbackOptionError(f"scope is {scope}; known are {', '.join(SCOPES)}", field="scope")
    if not 0 <= amount < 1:
        raise PruneAllError(f"an amount of {amount} leaves nothing; it lies in [0, 1)", field="amount")
    if scope == "layer":
        return {name: _mask(part.flatten(), amount).view_as(part) for name, part in found.items()}
    flat = _mask(torch.cat([part.flatten() for part in found.values()]), amount)
    parts = flat.split([part.numel() for part in found.values()])
    return {name: part.view_as(found[name]) for name, part in zip(found, parts, strict=True)}


def _mask(flat: Tensor, amount: float) -> Tensor:
    keep = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    keep[flat.argsort(stable=True)[: floor(amount * len(flat) + 1e-9)]] = False
    return keep


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Masks) -> None:
    """Set what is masked to zero, in place."""
    parts = dict(model.named_parameters())
    for name, mask in masks.items():
        parts[name].mul_(mask)


@contextmanager
def pruned(model: nn.Module, masks: Masks) -> Iterator[nn.Module]:
    """The model with masks applied; its weights come back when the block ends."""
    parts = dict(model.named_parameters())
    kept = {name: parts[name].detach().clone() for name in masks}
    apply_masks(model, masks)
    try:
        yield model
    finally:
        with torch.no_grad():
            for name, weight in kept.items():
                parts[name].copy_(weight)


def hold_masks(model: nn.Module, optimiser: torch.optim.Optimizer, masks: Masks) -> torch.utils.hooks.RemovableHandle:
    """Apply the masks again after each step of an optimiser, so that what was pruned stays away in fine-tuning."""
    return optimiser.register_step_post_hook(lambda *_: apply_masks(model, masks))
