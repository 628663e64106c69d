"""What a label set says about its candidates."""

from __future__ import annotations

from typing import cast

from contracts.labels import CandidateFigures, LabelRequest, LayerCandidates
from services.explanation.candidates.wording import prompt_for
from services.kit.stages import Work

FIGURES = ("asked", "unanswered", "added")


def candidate_figures(work: Work) -> CandidateFigures | None:
    """Gather them from the layers' vocabularies; None without candidates."""
    plan = LabelRequest.model_validate(work.spec["request"]).candidates
    if plan is None:
        return None
    layers = []
    for name in cast(list[str], work.spec["layers"]):
        record = work.record(f"names/{name}")
        found = {figure: cast(int, record[figure]) for figure in FIGURES}
        names = cast(list[str], record["names"])
        layers.append(LayerCandidates(layer=name, n=len(names), vocabulary_sha256=str(record["sha256"]), **found))
    model = cast(dict[str, str], work.spec["model"])
    return CandidateFigures.model_validate(
        {**model, "prompt": prompt_for(plan.grid, plan.names), "grid": plan.grid, "canvas": plan.canvas,
         "layers": layers}
    )  # fmt: skip
