"""Capturing: run a model once and keep the pooled activations of the layers that were asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from contracts.errors import LayoutError, NonFiniteActivation, UnknownLayer
from contracts.model import Layer, LayerKind
from services.model.capture.folding import FoldedConv
from services.model.capture.pooling import Pooled, pool
from services.model.errors import CalledAgain, NoActivation

Pick = Callable[[str, object], Tensor]
AXIS = {LayerKind.MAP: 1, LayerKind.MAP_LAST: -1, LayerKind.TOKENS: -1, LayerKind.VECTOR: -1}


def first_tensor(name: str, output: object) -> Tensor:
    """The first floating tensor of rank 2 to 4 in a module's output; adapters may pick another."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    for part in parts:
        if isinstance(part, Tensor) and part.is_floating_point() and 2 <= part.ndim <= 4:
            return part
    raise NoActivation(f"{name} puts out {type(output).__name__} without a floating tensor of rank 2 to 4", layer=name)


@dataclass
class Captured:
    """Pooled activations of the latest forward pass of this thread, by layer name."""

    pooled: dict[str, Pooled] = field(default_factory=dict)

    def take(self) -> dict[str, Pooled]:
        """Return them and forget them, so that a second batch cannot be mistaken for the first."""
        taken, self.pooled = self.pooled, {}
        return taken


@contextmanager
def captured(
    model: nn.Module,
    layers: Sequence[Layer],
    *,
    pick: Pick = first_tensor,
    special_tokens: int = 0,
    reduce: Callable[[Layer, Tensor], Pooled] | None = None,
) -> Iterator[Captured]:
    """Hook `layers` for the length of the block; each forward pass of this thread fills the result.

    Nothing of a map is kept: it is pooled inside the hook. Hooks are removed whatever happens. Forward passes of other
    threads through the same model are not captured. `reduce` takes the place of the layer's own pooling.

    Raises
    ------
    UnknownLayer : a name that the model does not have.
    LayoutError : an output whose width is not the catalogue's: a channel axis that was not declared.
    CalledAgain : a module that runs more than once per forward pass.
    """
    kept = Captured()
    owner = threading.get_ident()
    handles = []

    def hook_for(layer: Layer) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if threading.get_ident() != owner:
                return
            if layer.name in kept.pooled:
                raise CalledAgain(f"{layer.name} runs more than once per forward pass", layer=layer.name)
            tensor = pick(layer.name, output)
            if tensor.ndim >= 2 and tensor.shape[AXIS[layer.kind]] != layer.width:
                width = tensor.shape[AXIS[layer.kind]]
                raise LayoutError(
                    f"{layer.name} has width {width} here and {layer.width} in the catalogue", layer=layer.name
                )
            kept.pooled[layer.name] = (
                reduce(layer, tensor)
                if reduce is not None
                else pool(tensor, kind=layer.kind, pooling=layer.pooling, special_tokens=special_tokens)
            )

        return hook

    modules = dict(model.named_modules())
    try:
        for layer in layers:
            if layer.name not in modules:
                raise UnknownLayer(f"the model has no module {layer.name}", field="layers")
            module = modules[layer.name]
            module = module.unfolded if isinstance(module, FoldedConv) else module
            handles.append(module.register_forward_hook(hook_for(layer)))
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode without gradients; each module's training flag is as before once the block ends."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield model
    finally:
        for module in training:
            module.training = True


def require_finite(name: str, values: Tensor, first_sample: int) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    values : [B, C]; row b belongs to sample `first_sample + b`.

    Raises
    ------
    NonFiniteActivation : names layer, channel and sample of the first one.
    """
    if torch.isfinite(values.sum()):  # one reduction for the common case
        return
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad) == 0:
        return
    row, channel = (int(place) for place in bad[0])
    raise NonFiniteActivation(
        f"{name} channel {channel} is not finite on sample {first_sample + row}",
        layer=name, channel=channel, sample=first_sample + row,
    )  # fmt: skip
