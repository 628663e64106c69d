"""Offline work of comparisons: find concepts, describe them, align representations, match concepts, publish."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from contracts.errors import NoConcepts
from services.explanation.alignments.inputs import points_of
from services.explanation.alignments.measures import align_row
from services.explanation.alignments.pairs import match_pair
from services.explanation.alignments.profiles import profile
from services.explanation.alignments.publish import publish_comparison_part
from services.explanation.concepts.discovery.registry import discovery
from services.explanation.concepts.quality import quality
from services.kit.stages import StageFunction, Work


def alignment_stages() -> tuple[StageFunction, ...]:
    """The stages of comparisons, in the order in which a job runs them; features come from the model service."""
    return (
        StageFunction("concepts", 2, find_concepts),
        StageFunction("profiles", 1, profile),
        StageFunction("alignments", 1, align_row),
        StageFunction("matches", 1, match_pair),
        StageFunction("publish-comparison", 1, publish_comparison_part),
    )


def find_concepts(work: Work) -> None:
    """Find the concepts of one representation with one seed; finding none is a result and not a failure."""
    spec = cast(dict[str, Any], work.spec)
    seed = int(spec["seed"])
    points = points_of(work, int(spec["place"]), int(spec["shards"]), preprocess=str(spec["preprocess"]))
    n = len(points.features)
    method = discovery(str(spec["method"]), spec["parameters"])
    try:
        found = method.fit(points.features, seed=seed)
    except NoConcepts as none:
        empty = {
            "values": np.zeros((n, 0), np.float32), "labels": np.full(n, -1, np.int32),
            "dimension": np.zeros(0), "few_samples": np.zeros(0, bool),
        }  # fmt: skip
        work.emit_arrays("concepts", empty, {"state": "no_concepts", "advice": f"{none.detail}. {none.remedy}"})
        work.advance(1)
        return
    measured = quality(points.features, found, group=points.sample, seed=seed)
    arrays = {
        "values": found.values, "labels": found.labels,
        "dimension": measured.dimension, "few_samples": measured.few_samples,
    }  # fmt: skip
    facts = {
        "state": "ok", "noise_share": measured.noise_share, "noise_mass": measured.mean_noise_mass,
        "validity": measured.validity, "trustworthiness": measured.trustworthiness, **dict(found.facts),
    }  # fmt: skip
    work.emit_arrays("concepts", arrays, facts)
    work.advance(1)
