"""The publish stage of a comparison: all figures in one record, and its row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import numpy as np

from contracts.alignment import Alignment, Comparison, ComparisonRequest, LayerOrderScore, Representation
from contracts.data import DatasetRef
from contracts.model import ModelRef
from services.explanation.alignments.repository import publish_comparison
from services.explanation.concepts.layer_order import layer_order
from services.kit.stages import Work

ORDERED_BY = ("aci", "gri", "crisp", "cka", "cka_unbiased", "svcca", "rsa", "mutual_knn", "cknna")
SMALLEST_ORDER = 3


def publish_comparison_part(work: Work) -> None:
    """Write the comparison's record, and its row in the transaction that publishes this part."""
    spec = cast(dict[str, Any], work.spec)
    request = ComparisonRequest.model_validate(spec["request"])
    models = [ModelRef.model_validate(model) for model in spec["models"]]
    profiles = [work.record(f"profiles/{place}") for place in range(int(spec["places"]))]
    representations = [Representation.model_validate(told["representation"]) for told in profiles]
    rows = [work.record(role) for role in sorted(work.inputs) if role.startswith("alignments/")]
    alignments = [Alignment.model_validate(row) for told in rows for row in cast(list[Any], told["alignments"])]
    alignments.sort(key=lambda row: (row.ours, row.theirs))
    key = work.keys["comparison"]
    comparison = Comparison(
        id=f"c_{key[:16]}",
        name=request.name or f"{models[0].name[:30]} {len(representations)} layers {key[:6]}",
        dataset=DatasetRef.model_validate(spec["dataset"]),
        models=models,
        request=request,
        points=int(cast(int, profiles[0]["points"])),
        representations=representations,
        alignments=alignments,
        matched=[(int(a), int(b)) for a, b in spec["matched"]],
        layer_order=orders(request, representations, alignments),
        lineage=key,
        created_at=datetime.now(UTC),
    )
    # the bytes must be the same for everybody who computes this: name and time are the row's, not the record's
    facts = comparison.model_dump(mode="json", exclude={"created_at": True, "name": True, "request": {"name"}})
    roles = {role: work.keys[role] for role in work.inputs}
    work.emit_record("comparison", {"comparison": facts, "artifacts": roles})
    work.when_published(lambda db: publish_comparison(db, work.workspace, comparison, roles))
    work.result = comparison.id
    work.advance(1)


def orders(
    request: ComparisonRequest, representations: list[Representation], alignments: list[Alignment]
) -> list[LayerOrderScore]:
    """Layer-order sanity scores of each side with three layers or more, by each measure defined on all its pairs."""
    by_pair = {(row.ours, row.theirs): row for row in alignments}
    scores = []
    stop = 0
    for side in request.sides:
        start, stop = stop, stop + len(dict.fromkeys(side.layers))
        places = list(range(start, stop))
        if len(places) < SMALLEST_ORDER:
            continue
        found = {}
        for name in ORDERED_BY:
            matrix = np.full((len(places), len(places)), np.nan)
            for i, a in enumerate(places):
                for j, b in enumerate(places[i + 1 :], start=i + 1):
                    value = getattr(by_pair[a, b], name)
                    matrix[i, j] = matrix[j, i] = np.nan if value is None else value
            if np.isfinite(matrix[np.triu_indices(len(places), 1)]).all():
                found[name] = layer_order(matrix).score
        scores.append(
            LayerOrderScore(
                model=representations[start].model, layers=len(places), chance=2 / len(places), scores=found
            )
        )
    return scores
