"""The alignments stage: one representation against all that come after it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from contracts.alignment import Alignment
from services.explanation.alignments.inputs import Found, Points, points_of, require_same_keys, seeds_of, usable
from services.explanation.concepts.memberships import Agreement, Memberships, SeedAveraged, with_noise_column
from services.explanation.concepts.rand_index import GlobalAlignment, align, compare, crisp_alignment
from services.explanation.concepts.scalars import ScalarMeasures, scalar_measures
from services.kit.stages import Work

PAIRS = 200_000
SCALAR_POINTS = 1000
SMALLEST_CEILING = 0.1


def align_row(work: Work) -> None:
    """Align representation `place` with each of `others`: corrected index with interval, and the scalar measures."""
    spec = cast(dict[str, Any], work.spec)
    place, shards, seeds = int(spec["place"]), int(spec["shards"]), int(spec["seeds"])
    how = str(spec["preprocess"])
    ours, points = seeds_of(work, place, seeds), points_of(work, place, shards, preprocess=how)
    mine = work.record(f"profiles/{place}")
    rows = []
    for other in cast(list[int], spec["others"]):
        theirs, others_points = seeds_of(work, other, seeds), points_of(work, other, shards, preprocess=how)
        require_same_keys(points, others_points)
        concepts = (
            concept_measures(ours, theirs, points, mine, work.record(f"profiles/{other}"))
            if usable(ours) and usable(theirs)
            else NOTHING
        )
        scalars = scalar_measures(points.features, others_points.features, points=SCALAR_POINTS)
        told = Alignment(ours=place, theirs=other, **concepts, **told_scalars(scalars))
        rows.append(told.model_dump(mode="json"))
        work.advance(1)
    work.emit_record("alignments", {"alignments": rows})


NOTHING: dict[str, Any] = {
    **dict.fromkeys(("aci", "low", "high", "gri", "gri_error", "chance", "relative", "crisp", "coverage")),
    "modes": {},
}


def concept_measures(
    ours: list[Found], theirs: list[Found], points: Points, mine: dict[str, Any], yours: dict[str, Any]
) -> dict[str, Any]:
    """The concept-based figures of one pair of representations, averaged over seeds where the formulas allow it."""
    several = len(np.unique(points.sample)) < len(points.sample)

    def between(one: Agreement, other: Agreement, *, interval: bool) -> GlobalAlignment:
        return compare(one, other, group=points.sample, pairs=PAIRS, across_groups=several, interval=interval)

    main = between(_averaged(ours), _averaged(theirs), interval=True)
    noisy = between(_averaged(ours, noise=True), _averaged(theirs, noise=True), interval=False)
    one, other = ours[int(mine["typical"])], theirs[int(yours["typical"])]
    covered = align(
        one.values, other.values, mode="exclude", group=points.sample, pairs=PAIRS, across_groups=several,
        interval=False,
    )  # fmt: skip
    ceilings = [side["representation"]["ceiling"] for side in (mine, yours)]
    low, high = main.interval or (None, None)
    return {
        "aci": main.aci,
        "low": low,
        "high": high,
        "gri": main.gri,
        "gri_error": main.error,
        "chance": main.chance,
        "relative": relative_to_ceilings(main.aci, ceilings),
        "crisp": crisp_alignment(one.labels, other.labels).aci,
        "modes": {"asis": main.aci, "noise_column": noisy.aci, "exclude": covered.aci if covered else None},
        "coverage": covered.coverage if covered else None,
    }


def relative_to_ceilings(aci: float | None, ceilings: list[float | None]) -> float | None:
    """The index divided by the geometric mean of the ceilings; None below 0.1, where seeds decide more than models."""
    known = [ceiling for ceiling in ceilings if ceiling is not None and ceiling >= SMALLEST_CEILING]
    return None if aci is None or len(known) < 2 else aci / float(np.sqrt(known[0] * known[1]))


def _averaged(seeds: list[Found], *, noise: bool = False) -> SeedAveraged:
    values = (with_noise_column(found.values) if noise else found.values for found in seeds)
    return SeedAveraged([Memberships(matrix) for matrix in values])


def told_scalars(found: ScalarMeasures) -> dict[str, float | None]:
    """The scalar measures under the contract's names; `mutual_knn` is the one corrected for chance."""
    return {
        "cka": found.cka,
        "cka_unbiased": found.cka_unbiased,
        "svcca": found.svcca,
        "rsa": found.rsa,
        "mutual_knn": found.mutual_knn_corrected,
        "cknna": found.cknna,
    }
