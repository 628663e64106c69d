"""Factories of installed packages, for modules that no model zoo has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.errors import UnknownArchitecture
from contracts.model import Preprocessing
from services.model.adapters.port import IMAGENET_MEAN, IMAGENET_STD, Built
from services.model.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor

GROUP = "xsys.models"


class EntryPoints:
    """`entry_point:NAME` in the group `xsys.models`, or `entry_point:package.module:function`.

    The second form runs whatever function is named, so only callers who may name paths on the server may use it. Both
    call code that is installed here; nothing is fetched. A factory takes the config as keyword arguments and returns a
    module, or a `Built` to declare its preprocessing and layout.
    """

    def names(self) -> Sequence[str]:
        return sorted(point.name for point in entry_points(group=GROUP))

    def build(self, name: str, config: Mapping[str, JsonValue]) -> Built:
        from torch import nn

        made = self._factory(name)(**config)
        if isinstance(made, Built):
            return made
        if not isinstance(made, nn.Module):
            raise BadConfig(f"{name} returned {type(made).__name__}, no module", field="architecture")
        return Built(made, Preprocessing(resize=256, crop=224, mean=IMAGENET_MEAN, std=IMAGENET_STD))

    def _factory(self, name: str):
        if ":" not in name:
            return next(point for point in entry_points(group=GROUP) if point.name == name).load()
        module, _, function = name.partition(":")
        try:
            return getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise UnknownArchitecture(f"{name} cannot be imported: {error}", field="architecture") from error

    def pick(self, layer: str, output: object) -> Tensor:
        from services.model.capture.hooks import first_tensor

        return first_tensor(layer, output)
