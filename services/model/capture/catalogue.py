"""The layer catalogue: a dry run that finds each layer's kind, width and sign."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from contracts.model import Layer, LayerKind
from services.model.capture.hooks import Pick, evaluating
from services.model.errors import NoActivation

DEFAULT_POOLING = {
    LayerKind.MAP: "max",
    LayerKind.MAP_LAST: "max",
    LayerKind.TOKENS: "token-mean",
    LayerKind.VECTOR: "identity",
}
SIGN_TOLERANCE = 1e-6


@dataclass
class Seen:
    """What a module put out in the dry run."""

    shape: torch.Size
    minimum: float
    absmax: float
    calls: int = 1


def kind_of(shape: torch.Size, *, channels_last: bool) -> LayerKind:
    """Kind of a layer by the rank of its output."""
    if len(shape) == 4:
        return LayerKind.MAP_LAST if channels_last else LayerKind.MAP
    return LayerKind.TOKENS if len(shape) == 3 else LayerKind.VECTOR


def catalogue(
    model: nn.Module, batch: Tensor, *, pick: Pick, channels_last: frozenset[str] = frozenset()
) -> list[Layer]:
    """Find the layers of a model by running it once.

    Parameters
    ----------
    model : any module that takes `batch`.
    batch : [B, 3, H, W] float32, B >= 2, real or realistic inputs: signs are judged on them.
    pick : chooses the tensor among a module's outputs.
    channels_last : names of layers whose maps are [B, H, W, C].

    Returns
    -------
    Layers in the order in which they ran. A layer is signed if its minimum is below -1e-6 times its largest absolute
    activation. Modules without a floating output of rank 2 to 4 are left out, as is the model itself.
    """
    seen: dict[str, Seen] = {}
    handles = []

    def hook_for(name: str):
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            try:
                tensor = pick(name, output)
            except NoActivation:
                return
            if not tensor.is_floating_point() or not 2 <= tensor.ndim <= 4 or tensor.shape[0] != batch.shape[0]:
                return
            if name in seen:
                seen[name].calls += 1
                return
            low, high = torch.aminmax(tensor)
            seen[name] = Seen(tensor.shape, float(low), max(abs(float(low)), abs(float(high))))

        return hook

    modules = {name: module for name, module in model.named_modules() if name}
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(hook_for(name)))
        with evaluating(model):
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return [_layer(name, modules[name], found, name in channels_last) for name, found in seen.items()]


def _layer(name: str, module: nn.Module, seen: Seen, channels_last: bool) -> Layer:
    kind = kind_of(seen.shape, channels_last=channels_last)
    return Layer(
        name=name,
        kind=kind,
        module=type(module).__name__,
        width=seen.shape[1] if kind is LayerKind.MAP else seen.shape[-1],
        signed=seen.minimum < -SIGN_TOLERANCE * seen.absmax,
        pooling=DEFAULT_POOLING[kind],
        calls=seen.calls,
    )
