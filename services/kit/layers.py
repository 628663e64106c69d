"""Choosing layers of a registered model: names to catalogue entries, with the closest names when one is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from pydantic import JsonValue

from contracts.errors import UnknownLayer, UnknownPooling
from contracts.model import Layer, LayerKind, Model

MAPS = {"max", "mean", "sum", "abs-max"}
TOKENS = {"token-mean", "token-max", "token-absmax"}
FITTING: dict[LayerKind, set[str]] = {
    LayerKind.MAP: MAPS,
    LayerKind.MAP_LAST: MAPS,
    LayerKind.TOKENS: TOKENS | {"token:P"},
    LayerKind.VECTOR: {"identity"},
}


def resolve_layers(model: Model, names: Sequence[str], pooling: Mapping[str, str]) -> list[Layer]:
    """Look the named layers up in a model's catalogue, with the pooling that was asked for.

    Raises
    ------
    UnknownLayer : not in the catalogue, or an override for a layer that was not asked for; names the closest.
    UnknownPooling : does not fit the layer's kind.
    """
    catalogue = {layer.name: layer for layer in model.layers}
    for name in names:
        _require(name, catalogue, "layers")
    for name in pooling:
        _require(name, {wanted: catalogue[wanted] for wanted in names}, "pooling")
    return [_pooled(catalogue[name], pooling.get(name)) for name in dict.fromkeys(names)]


def _require(name: str, catalogue: Mapping[str, Layer], field: str) -> None:
    if name not in catalogue:
        closest = get_close_matches(name, catalogue, n=3, cutoff=0.0)
        raise UnknownLayer(f"there is no layer {name}", field=field, closest=list(closest))


def _pooled(layer: Layer, pooling: str | None) -> Layer:
    if pooling is None:
        return layer
    fitting = FITTING[layer.kind]
    if ("token:P" if pooling.startswith("token:") else pooling) not in fitting:
        raise UnknownPooling(
            f"{pooling} does not fit {layer.name}, which puts out {layer.kind}",
            field="pooling",
            fitting=list[JsonValue](sorted(fitting)),
        )
    return layer.model_copy(update={"pooling": pooling})


def require_maxima(layers: Sequence[Layer]) -> None:
    """Refuse layers whose maxima have no place, for crops by receptive field. Raises `UnknownPooling`."""
    for layer in layers:
        if layer.kind is not LayerKind.MAP or layer.pooling != "max":
            raise UnknownPooling(
                f"a receptive field needs the place of a maximum: {layer.name} puts out {layer.kind} and is pooled by "
                f"{layer.pooling}", field="crop", fitting=["max"],
            )  # fmt: skip
