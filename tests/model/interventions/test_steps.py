"""What is declared is checked before anything runs."""

import pytest
import torch
from pydantic import ValidationError

from contracts.errors import UnknownLayer
from contracts.steering import (
    ComponentOutOfRange,
    ComponentsTarget,
    ComponentTarget,
    Condition,
    DegenerateDirection,
    DirectionTarget,
    Intervention,
    NoLayerNorm,
    NonFiniteSteering,
    Region,
    WeightedComponent,
    WidthMismatch,
)
from services.model.interventions import steps_of

WIDTHS = {"blocks.1": 3, "head": 2}


def declared(target, **more):
    return Intervention(target=target, change=more.pop("change", "add"), **more)


def resolve(*interventions, **more):
    return steps_of(interventions, widths=WIDTHS, norms={"blocks.1": 4.0}, **more)


def test_strengths_of_add_are_in_median_norms_and_those_of_ablate_are_shares():
    unit = ComponentTarget(layer="blocks.1", index=2, sign=-1)
    add, raw, ablate = resolve(
        declared(unit, strength=0.5), declared(unit, strength=0.5, unit="raw"), declared(unit, change="ablate")
    )
    assert (add.strength, raw.strength, ablate.strength) == (2.0, 0.5, 1.0)
    assert add.direction.tolist() == [0.0, 0.0, -1.0] and ablate.one_sided


def test_directions_are_divided_by_their_norm():
    (inline,) = resolve(declared(DirectionTarget(layer="blocks.1", vector=[3.0, 0.0, 4.0])))
    parts = [WeightedComponent(index=0, weight=3.0), WeightedComponent(index=1, sign=-1, weight=4.0)]
    (mixed,) = resolve(declared(ComponentsTarget(layer="blocks.1", components=parts)))
    (stored,) = resolve(
        declared(DirectionTarget(layer="blocks.1", artifact="a" * 64)),
        read=lambda target: torch.tensor([0.0, 5.0, 0.0]),
    )
    assert inline.direction.tolist() == pytest.approx([0.6, 0.0, 0.8])
    assert mixed.direction.tolist() == pytest.approx([0.6, -0.8, 0.0])
    assert stored.direction.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("intervention", "refusal", "field"),
    [
        (declared(ComponentTarget(layer="blocks.11", index=0)), UnknownLayer, "interventions.0.target.layer"),
        (declared(ComponentTarget(layer="head", index=2)), ComponentOutOfRange, "interventions.0.target.index"),
        (declared(DirectionTarget(layer="head", vector=[1.0])), WidthMismatch, "interventions.0.target"),
        (declared(DirectionTarget(layer="head", vector=[0.0, 1e-9])), DegenerateDirection, "interventions.0.target"),
        (declared(ComponentTarget(layer="head", index=0)), NoLayerNorm, "interventions.0.unit"),
        (
            declared(ComponentTarget(layer="blocks.1", index=0), condition=Condition(layer="head", index=5, above=0)),
            ComponentOutOfRange,
            "interventions.0.condition.index",
        ),
        (
            declared(ComponentTarget(layer="blocks.1", index=0), condition=Condition(layer="haed", index=0, above=0)),
            UnknownLayer,
            "interventions.0.condition.layer",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_by_name(intervention, refusal, field):
    with pytest.raises(refusal) as caught:
        resolve(intervention)
    assert caught.value.field == field


def test_an_unknown_layer_names_the_closest():
    with pytest.raises(UnknownLayer) as caught:
        resolve(declared(ComponentTarget(layer="blocks.11", index=0)))
    assert caught.value.facts["closest"] == ["blocks.1"]


def test_a_strength_that_overflows_in_the_layers_unit_is_refused():
    with pytest.raises(NonFiniteSteering, match="not finite in head"):
        steps_of([declared(ComponentTarget(layer="head", index=0), strength=1e6)], widths=WIDTHS, norms={"head": 1e306})


@pytest.mark.parametrize(
    "fields",
    [
        {"strength": float("nan")},
        {"strength": float("inf")},
        {"strength": 1e7},
        {"half_life": 0},
        {"change": "paint"},
        {"target": {"kind": "direction", "layer": "head"}},
        {"target": {"kind": "direction", "layer": "head", "vector": [1.0, float("nan")]}},
        {"places": {"kind": "region", "left": 0.5, "right": 0.5}},
        {"places": {"kind": "tokens", "at": [-1]}},
    ],
)
def test_what_makes_no_sense_anywhere_is_refused_by_the_contract(fields):
    sound = {"target": {"kind": "component", "layer": "head", "index": 0}, "change": "add", "strength": 1.0}
    Intervention.model_validate(sound)
    with pytest.raises(ValidationError):
        Intervention.model_validate(sound | fields)


def test_a_declaration_survives_json():
    target = DirectionTarget(layer="head", vector=[0.1 + 0.2, -1.0])
    one = declared(target, places=Region(top=0.25), condition=Condition(layer="head", index=1, above=-0.5), half_life=3)
    assert Intervention.model_validate_json(one.model_dump_json()) == one
