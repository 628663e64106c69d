"""Which points a layer can give: checked when a comparison is planned, and again where the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.alignment import PointsPlan
from contracts.errors import InvalidRequest, UnknownPooling
from contracts.model import Layer, LayerKind


def points_per_sample(plan: PointsPlan) -> int:
    """How many points one sample gives."""
    return plan.per_sample if plan.tokens == "spatial" else 1


def require_fitting(layers: Sequence[Layer], plan: PointsPlan, *, special_tokens: int | None = None) -> None:
    """Refuse layers that have no such points, before anything is computed.

    Raises
    ------
    UnknownPooling : places or a class token of a layer that puts out one vector; a class token of a map.
    InvalidRequest : more points per sample than the grid has cells.
    """
    if plan.tokens == "spatial" and plan.per_sample > plan.grid**2:
        raise InvalidRequest(
            f"{plan.per_sample} points of a grid of {plan.grid**2} cells", field="points.per_sample", most=plan.grid**2
        )
    for layer in layers:
        if plan.tokens == "spatial" and layer.kind is LayerKind.VECTOR:
            raise UnknownPooling(f"{layer.name} puts out one vector, it has no places", field="points.tokens")
        if plan.tokens == "cls" and (layer.kind is not LayerKind.TOKENS or special_tokens == 0):
            raise UnknownPooling(f"{layer.name} has no class token", field="points.tokens")
