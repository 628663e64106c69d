"""The profiles stage: what one representation's concepts are, how stable, and where they lie on a map."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import numpy as np

from contracts.alignment import Concept, ConceptExample, Representation
from services.explanation.alignments.inputs import Found, Points, points_of, seeds_of, usable
from services.explanation.concepts.layout import concept_map, typical_points
from services.explanation.concepts.memberships import Memberships, SeedAveraged, one_hot
from services.explanation.concepts.quality import most_typical_seed, stability
from services.explanation.concepts.rand_index import compare, mean_self_alignment
from services.kit.pictures import Manifest
from services.kit.stages import Work

PAIRS = 200_000


def profile(work: Work) -> None:
    """Describe one representation; `typical` is the seed whose concepts are shown and matched."""
    spec = cast(dict[str, Any], work.spec)
    place, grid = int(spec["place"]), int(spec["grid"])
    seeds = seeds_of(work, place, int(spec["seeds"]))
    points = points_of(work, place, int(spec["shards"]), preprocess=str(spec["preprocess"]))
    typical = most_typical_seed([found.labels for found in seeds])
    shown = seeds[typical]
    labels = Manifest.load(work.path("manifest"), work.blobs).labels()
    concepts = _concepts(points, seeds, typical, labels, grid) if usable(seeds) else []
    finite = shown.dimension[np.isfinite(shown.dimension)]
    told = Representation(
        place=place, model=str(spec["model"]), layer=str(spec["layer"]), width=points.features.shape[1],
        state="ok" if usable(seeds) else "no_concepts",
        advice=next((str(found.facts["advice"]) for found in seeds if "advice" in found.facts), None),
        concepts=len(concepts),
        noise_share=_fact(shown, "noise_share"), noise_mass=_fact(shown, "noise_mass"),
        validity=_fact(shown, "validity"), trustworthiness=_fact(shown, "trustworthiness"),
        dimension=float(np.median(finite)) if len(finite) else None,
        **(_against(points, seeds, labels) if usable(seeds) else NOTHING),
    )  # fmt: skip
    work.emit_record(
        "profile",
        {
            "typical": typical,
            "points": len(points.features),
            "representation": told.model_dump(mode="json"),
            "concepts": [concept.model_dump(mode="json") for concept in concepts],
        },
    )
    work.advance(1)


NOTHING = {"ceiling": None, "label_alignment": None, "position_alignment": None}


def _fact(found: Found, name: str) -> float | None:
    value = found.facts.get(name)
    return None if value is None else float(cast(float, value))


def _against(points: Points, seeds: list[Found], labels: list[str | None]) -> dict[str, float | None]:
    """Ceiling between seeds, and alignment with the labels of the samples and with the positions of the points."""
    agreement = SeedAveraged([Memberships.of(found.values) for found in seeds])
    several = len(np.unique(points.sample)) < len(points.sample)

    def with_partition(of: np.ndarray) -> float | None:
        hard = one_hot(of)
        if hard.shape[1] < 2:
            return None
        found = compare(
            agreement, Memberships(hard), group=points.sample, pairs=PAIRS, across_groups=several, interval=False
        )
        return found.aci

    names = {name: number for number, name in enumerate(sorted({label for label in labels if label is not None}))}
    of_sample = np.array([-1 if label is None else names[label] for label in labels])
    return {
        "ceiling": mean_self_alignment([found.values for found in seeds], pairs=PAIRS),
        "label_alignment": with_partition(of_sample[points.sample]),
        "position_alignment": with_partition(points.cell),
    }


def _concepts(points: Points, seeds: list[Found], typical: int, labels: list[str | None], grid: int) -> list[Concept]:
    shown = seeds[typical]
    places = concept_map(shown.values)
    kept = stability([found.labels for found in seeds])[typical] if len(seeds) > 1 else None
    concepts = []
    for index in range(shown.values.shape[1]):
        members = np.flatnonzero(shown.labels == index)
        named = Counter(label for s in points.sample[members] if (label := labels[s]) is not None)
        label, count = named.most_common(1)[0] if named else (None, 0)
        concepts.append(
            Concept(
                index=index,
                prevalence=float(shown.values[:, index].mean(dtype=np.float64)),
                members=len(members),
                samples=len(np.unique(points.sample[members])),
                few_samples=bool(shown.few_samples[index]),
                dimension=_finite(shown.dimension[index]),
                stability=None if kept is None or index >= len(kept) else _finite(kept[index]),
                label=label,
                label_share=count / len(members) if label is not None else None,
                x=float(places[index, 0]),
                y=float(places[index, 1]),
                examples=_examples(points, shown.values[:, index], labels, grid),
            )
        )
    return concepts


def _examples(points: Points, membership: np.ndarray, labels: list[str | None], grid: int) -> list[ConceptExample]:
    rows = typical_points(points.features, membership, points.sample)
    return [
        ConceptExample(
            sample=int(points.sample[row]),
            label=labels[int(points.sample[row])],
            membership=float(membership[row]),
            row=_share(int(points.cell[row]) // grid, grid, whole=points.cell[row] < 0),
            column=_share(int(points.cell[row]) % grid, grid, whole=points.cell[row] < 0),
        )
        for row in rows
    ]


def _share(step: int, grid: int, *, whole: bool) -> float:
    return 0.5 if whole else (step + 0.5) / grid


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
