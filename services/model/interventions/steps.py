"""From declared interventions to tensors: everything that can be refused without running the model is refused here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

from contracts.errors import UnknownLayer
from contracts.steering import (
    NEUTRAL,
    AllPlaces,
    Change,
    ComponentOutOfRange,
    ComponentsTarget,
    ComponentTarget,
    Condition,
    DegenerateDirection,
    DifferenceTarget,
    DirectionTarget,
    DirectionUnavailable,
    Intervention,
    NoLayerNorm,
    NonFiniteSteering,
    Places,
    WidthMismatch,
)

SHORTEST = 1e-8
EVERYWHERE = AllPlaces()
WITH_UNIT = frozenset({"add", "set", "clamp"})
Derived = DirectionTarget | DifferenceTarget  # what has to be fetched or computed
Read = Callable[[Derived], Tensor]


@dataclass(frozen=True)
class Step:
    """One intervention, ready to run.

    Parameters
    ----------
    direction : [d] float32, norm 1.
    strength : in raw activations for add, set and clamp, a factor for scale and ablate.
    one_sided : scale and ablate change only activations on the direction's positive side.
    """

    layer: str
    direction: Tensor
    change: Change
    strength: float
    places: Places = EVERYWHERE
    half_life: float | None = None
    condition: Condition | None = None
    one_sided: bool = False
    keep_norm: bool = False

    @property
    def neutral(self) -> bool:
        """Whether nothing would change: such a step is not run at all, so that outputs keep every bit."""
        return self.strength == NEUTRAL.get(self.change)


def unit_vector(vector: Tensor, *, field: str = "target") -> Tensor:
    """Divide a direction by its norm.

    Parameters
    ----------
    vector : [d], any floating dtype.

    Returns
    -------
    [d] float32, norm 1.

    Raises
    ------
    DegenerateDirection : the norm is below 1e-8 or not finite.
    """
    norm = float(torch.linalg.vector_norm(vector.double()))
    if not math.isfinite(norm) or norm < SHORTEST:
        raise DegenerateDirection(f"the direction has the norm {norm:g}", field=field)
    return (vector.double() / norm).float()


EVERYWHERE = AllPlaces()


def steps_of(
    interventions: Sequence[Intervention],
    *,
    widths: Mapping[str, int],
    norms: Mapping[str, float] | None = None,
    read: Read | None = None,
    places: Places = EVERYWHERE,
) -> list[Step]:
    """Resolve declared interventions.

    Parameters
    ----------
    widths : number of components of every layer that may be steered or read, by name.
    norms : median norm of the activations by layer, for strengths in that unit; see `median_norms`.
    places : of interventions that name none.
    read : fetches stored directions and computes differences, [d]; without it only inline vectors are taken.

    Raises
    ------
    UnknownLayer : with the closest names. ComponentOutOfRange, WidthMismatch, DegenerateDirection : the target does
    not fit. DirectionUnavailable : no `read`. NoLayerNorm : a strength in norms of a layer whose
    norm is not given or zero.
    """
    placed = [each if each.places else each.model_copy(update={"places": places}) for each in interventions]
    return [_step(each, number, widths, norms or {}, read) for number, each in enumerate(placed)]


def _step(
    each: Intervention, number: int, widths: Mapping[str, int], norms: Mapping[str, float], read: Read | None
) -> Step:
    field = f"interventions.{number}"
    layer, target = each.target.layer, each.target
    _require_layer(layer, widths, f"{field}.target.layer")
    if each.condition is not None:
        _require_layer(each.condition.layer, widths, f"{field}.condition.layer")
        _require_index(each.condition.index, each.condition.layer, widths, f"{field}.condition.index")
    direction = _direction(target, widths, read, f"{field}.target")
    strength = each.strength
    if each.change in WITH_UNIT and each.unit == "norm":
        strength *= _norm(layer, norms, f"{field}.unit")
    if not math.isfinite(strength):
        raise NonFiniteSteering(f"the strength {each.strength:g} is not finite in {layer}", field=f"{field}.strength")
    sided = isinstance(target, ComponentTarget) and target.sign is not None
    return Step(
        layer,
        direction,
        each.change,
        strength,
        each.places or AllPlaces(),
        each.half_life,
        each.condition,
        sided,
        each.keep_norm,
    )  # fmt: skip


def _direction(
    target: ComponentTarget | ComponentsTarget | Derived, widths: Mapping[str, int], read: Read | None, field: str
) -> Tensor:  # fmt: skip
    width = widths[target.layer]
    if isinstance(target, Derived):
        inline = target.vector if isinstance(target, DirectionTarget) else None
        vector = torch.tensor(inline) if inline is not None else _fetched(target, read, field)
        if vector.shape != (width,):
            raise WidthMismatch(
                f"{target.layer} has {width} components, and the direction has the shape {list(vector.shape)}",
                field=field, width=width,
            )  # fmt: skip
        return unit_vector(vector, field=field)
    vector = torch.zeros(width)
    if isinstance(target, ComponentTarget):
        _require_index(target.index, target.layer, widths, f"{field}.index")
        vector[target.index] = float(target.sign or 1)
        return vector
    for part in target.components:
        _require_index(part.index, target.layer, widths, f"{field}.components")
        vector[part.index] += part.sign * part.weight
    return unit_vector(vector, field=field)


def _fetched(target: Derived, read: Read | None, field: str) -> Tensor:
    if read is None:
        raise DirectionUnavailable("stored and derived directions cannot be fetched here", field=field)
    return read(target)


def _norm(layer: str, norms: Mapping[str, float], field: str) -> float:
    norm = norms.get(layer, 0.0)
    if not math.isfinite(norm) or norm <= 0:
        raise NoLayerNorm(f"the median norm of {layer} is not known, or it is zero", field=field, layer=layer)
    return norm


def _require_layer(name: str, widths: Mapping[str, int], field: str) -> None:
    if name not in widths:
        closest = get_close_matches(name, widths, n=3, cutoff=0.3)
        raise UnknownLayer(f"the model has no layer {name}", field=field, closest=[*closest])


def _require_index(index: int, layer: str, widths: Mapping[str, int], field: str) -> None:
    if index >= widths[layer]:
        raise ComponentOutOfRange(
            f"{layer} has {widths[layer]} components, not a number {index}", field=field, width=widths[layer]
        )
