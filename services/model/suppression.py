"""Components that are kept silent: set to zero at a layer's output in every forward pass.

A model whose config has the key `suppress` is built so; its weights stay those of the model that it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from services.model.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "suppress"


class Silencer:
    """A forward hook that sets components to zero; `units` may be changed between passes.

    Parameters
    ----------
    axis : of the components in the layer's output: 1 for maps [B, C, H, W], -1 for tokens, vectors and [B, H, W, C].
    """

    def __init__(self, model: nn.Module, layer: str, axis: int, units: Sequence[int] = ()) -> None:
        modules = dict(model.named_modules())
        if layer not in modules:
            raise BadConfig(f"there is no layer {layer} to suppress components of", field="config")
        self.layer, self.axis, self.units = layer, axis, list(units)
        self._handle = modules[layer].register_forward_hook(self._hook)

    def __enter__(self) -> Silencer:
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _hook(self, module: nn.Module, given: object, output: object) -> object:
        if not self.units:
            return None
        from services.model.capture.hooks import first_tensor

        tensor = first_tensor(self.layer, output)
        silenced = self._silenced(tensor)
        if isinstance(output, tuple | list):
            return type(output)(silenced if part is tensor else part for part in output)
        return silenced

    def _silenced(self, tensor: Tensor) -> Tensor:
        import torch

        if max(self.units) >= tensor.shape[self.axis]:
            raise BadConfig(f"{self.layer} has {tensor.shape[self.axis]} components", field="config")
        return tensor.index_fill(self.axis, torch.tensor(self.units, device=tensor.device), 0)


def suppress(model: nn.Module, told: JsonValue) -> None:
    """Keep components silent from now on.

    Parameters
    ----------
    told : list of {"layer": name, "axis": 1 or -1, "units": [...]}, as it stands in a model's config.

    Raises
    ------
    BadConfig : anything else, or a layer that the model does not have.
    """
    if not isinstance(told, list):
        raise BadConfig(f"{KEY} is a list of layer, axis and units", field="config")
    for one in told:
        if not isinstance(one, dict) or set(one) != {"layer", "axis", "units"} or one["axis"] not in (1, -1):
            raise BadConfig(f"{KEY} is a list of layer, axis and units", field="config")
        units = one["units"]
        if not isinstance(units, list) or not all(type(unit) is int and unit >= 0 for unit in units):
            raise BadConfig("units are numbers from 0", field="config")
        Silencer(model, str(one["layer"]), int(cast(int, one["axis"])), cast(list[int], units))


def with_suppressed(config: dict[str, JsonValue], layer: str, axis: int, units: Sequence[int]) -> dict[str, JsonValue]:
    """Config of a model with further components suppressed."""
    before = cast(list[Any], config.get(KEY, []))
    return {**config, KEY: [*before, {"layer": layer, "axis": axis, "units": sorted(units)}]}
