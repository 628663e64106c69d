"""The parts of candidate generation in a plan of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from contracts.labels import CandidateRequest
from services.explanation.candidates.port import VisionModel
from services.explanation.candidates.stages import COMPONENTS
from services.explanation.candidates.wording import prompt_for
from services.kit.stages import PartPlan, StagePlan

Params = dict[str, JsonValue]
Key = Callable[[str, list[str], Params, str], str]


@dataclass(frozen=True)
class Offered:
    """The parts of one layer: questions for 64 components each, then the vocabulary that takes the answers in."""

    questions: tuple[PartPlan, ...]
    union: PartPlan


def told_of(model: VisionModel) -> Params:
    """What parts and records say about the model."""
    return {"adapter": model.adapter, "model": model.name, "fingerprint": model.fingerprint}


def offer(
    plan: CandidateRequest, told: Params, spec: Params, *, seen: Mapping[str, str], words: Mapping[str, str], key: Key
) -> Offered:
    """Plan the candidates of one layer.

    Parameters
    ----------
    told : of the model, see `told_of`. spec : of the layer's parts, with `layer`.
    seen : artifacts of the snapshot that decide which pictures are shown; words : `names` and `texts` to add to.
    key : (stage, inputs, params, output) -> key; it holds the seed of the split into probing and held-out samples.
    """
    layer = cast(dict[str, JsonValue], spec["layer"])
    rows = cast(int, layer["width"]) * (2 if layer["signed"] else 1)
    prompt = prompt_for(plan.grid, plan.names)
    params: Params = {**plan.model_dump(mode="json"), **told, "prompt": prompt, "layer": layer["name"]}
    questions = []
    for start in range(0, rows, COMPONENTS):
        place: Params = {"start": start, "stop": min(start + COMPONENTS, rows)}
        made = {"candidates": key("candidates", list(seen.values()), {**params, **place}, "candidates")}
        part = PartPlan({**spec, "model": told, **place}, seen, made, units=min(COMPONENTS, rows - start))
        questions.append(part)
    inputs = {**words, **{f"candidates/{n:05d}": part.outputs["candidates"] for n, part in enumerate(questions)}}
    united = {name: key("candidate-names", list(inputs.values()), {}, name) for name in ("names", "texts")}
    return Offered(tuple(questions), PartPlan(spec, inputs, united))


def candidate_stages_of(offered: list[Offered]) -> tuple[StagePlan, ...]:
    """The two stages that stand before labelling, none without candidates."""
    if not offered:
        return ()
    questions = tuple(part for one in offered for part in one.questions)
    return (
        StagePlan("candidates", questions, unit="components", title="ask for candidates"),
        StagePlan("candidate-names", tuple(one.union for one in offered), title="embed candidates"),
    )
