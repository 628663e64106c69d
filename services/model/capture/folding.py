"""Batch normalisation folded into the convolution before it: fewer passes over memory, the same function."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-4  # of the largest output: what folding may change in float32


class FoldedConv(nn.Module):
    """A convolution with the normalisation that follows it. `unfolded` is the original; it runs only while hooked."""

    def __init__(self, unfolded: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.folded = fuse_conv_bn_eval(unfolded, norm)
        self.unfolded = unfolded

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C, H', W'], normalised."""
        if self.unfolded._forward_hooks:  # somebody wants the convolution's own output, before the normalisation
            self.unfolded(x)
        return cast(Tensor, self.folded(x))


class AfterFolding(nn.Module):
    """What is left of a normalisation module: timm's `BatchNormAct2d` also drops and activates."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, unchanged but for drop and activation."""
        return cast(Tensor, self.act(self.drop(x)))


@dataclass(frozen=True)
class Pair:
    """Names of a convolution and of the normalisation that reads its output."""

    conv: str
    norm: str


def foldable(norm: nn.Module) -> bool:
    """Whether a module is torch's or timm's batch normalisation in two dimensions, with running statistics."""
    known = type(norm) is nn.BatchNorm2d or type(norm).__name__ == "BatchNormAct2d"
    return known and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None


def find_pairs(model: nn.Module, sample: Tensor) -> list[Pair]:
    """Convolutions whose output object is the input of a normalisation, each called once, seen in one forward pass."""
    calls: Counter[str] = Counter()
    made: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, so that its id is not given away
    pairs: list[Pair] = []
    handles = []
    hooked = {name for name, module in model.named_modules() if module._forward_hooks}  # something changes their output

    def seen(name: str, module: nn.Module, given: tuple[object, ...], out: object) -> None:
        calls[name] += 1
        if isinstance(module, nn.Conv2d) and isinstance(out, Tensor):
            made[id(out)] = (name, out)
        elif given and id(given[0]) in made:
            pairs.append(Pair(made[id(given[0])][0], name))

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) or foldable(module):
            handles.append(
                module.register_forward_hook(lambda module, given, out, name=name: seen(name, module, given, out))
            )
    try:
        with torch.inference_mode():
            model(sample)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if calls[pair.conv] == 1 == calls[pair.norm] and not {pair.conv, pair.norm} & hooked]


def fold_batch_norm(model: nn.Module, sample: Tensor) -> list[Pair]:
    """Fold, in place, each batch normalisation into its convolution, if the model's function stays what it was.

    Parameters
    ----------
    model : in eval mode, float32. Module names stay valid: a hook on the convolution goes to `FoldedConv.unfolded`.
    sample : [B, 3, H, W] float32, run twice to compare.

    Returns
    -------
    The pairs that were folded; empty where the outputs would differ by more than 1e-4 of the largest one (a
    convolution that something else reads, too) or the output is no tensor.

    Source: w' = w gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta; `torch.nn.utils.fusion`.
    """
    pairs = find_pairs(model, sample)
    with torch.inference_mode():
        before = model(sample)
    if not isinstance(before, Tensor):
        return []
    originals = {name: model.get_submodule(name) for pair in pairs for name in (pair.conv, pair.norm)}
    for pair in pairs:
        conv, norm = originals[pair.conv], originals[pair.norm]
        model.set_submodule(pair.conv, FoldedConv(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)))
        model.set_submodule(pair.norm, AfterFolding(cast(nn.BatchNorm2d, norm)))
    if same_function(model, sample, before):
        return pairs
    for name, module in originals.items():
        model.set_submodule(name, module)
    return []


def same_function(model: nn.Module, sample: Tensor, before: Tensor) -> bool:
    """Whether the model still runs and its output is the one from before, to 1e-4 of the largest value."""
    try:
        with torch.inference_mode():
            after = model(sample)
    except AttributeError:  # a model that reads its convolutions' own parameters
        return False
    return bool((after - before).abs().max() <= TOLERANCE * before.abs().max())
