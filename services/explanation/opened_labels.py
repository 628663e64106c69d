"""Published labels as they are read: leaderboards, and what every scorer calls one component."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import numpy as np

from contracts.errors import UnknownLayer
from contracts.labels import (
    ComponentLabels,
    Label,
    LabelEvaluation,
    LabelSet,
    LayerLeaderboard,
    Leaderboard,
    ScorerLabels,
)
from services.explanation.components import measured
from services.explanation.labelling import INSUFFICIENT, NO_CONTRAST, STATUSES, SURE, UNSURE
from services.explanation.opened import Opened
from services.kit.arrays import load_arrays
from services.kit.blobs import Blobs

Arrays = dict[str, np.ndarray]
FIGURES = ("correlation", "low", "high", "auprc", "f1", "iou")
BEST_FIRST = (SURE, UNSURE, NO_CONTRAST, INSUFFICIENT)


Origin = Literal["vocabulary", "candidate", "formula"]


@dataclass(frozen=True)
class Words:
    """What the indices of labels point into; from place `known` on they are candidates.

    Parameters
    ----------
    proposed : row of the table of examples -> what was proposed for it. sha256 : of the names, if the set's differs.
    """

    names: Sequence[str]
    origin: Origin = "vocabulary"
    known: int | None = None
    sha256: str | None = None
    proposed: Mapping[str, list[str]] = field(default_factory=dict)

    def origin_of(self, place: int) -> Origin:
        """Where a name comes from."""
        return self.origin if self.known is None or place < self.known else "candidate"


class OpenedLabels:
    """A label set with its files.

    Parameters
    ----------
    labels : the record; blobs : role -> sha256 of each artifact's bytes; store : checks them when they are opened.
    """

    def __init__(self, labels: LabelSet, blobs: dict[str, str], store: Blobs) -> None:
        self.labels = labels
        self._blobs = blobs
        self._store = store

    def _path(self, role: str) -> Path:
        return self._store.open(self._blobs[role])

    def _record(self, role: str) -> dict[str, object]:
        return dict(json.loads(self._path(role).read_bytes()))

    def leaderboard(self) -> Leaderboard:
        """The scorers of every layer."""
        records = (self._record(f"leaderboard/{name}") for name in self.labels.layers)
        layers = [
            LayerLeaderboard.model_validate({key: value for key, value in record.items() if key != "formulas"})
            for record in records
        ]
        return Leaderboard(snapshot=self.labels.snapshot, labels=self.labels.id, layers=layers)

    def component(self, opened: Opened, layer: str, index: int, sign: int) -> ComponentLabels:
        """What every scorer calls a component.

        Raises
        ------
        UnknownLayer : the set does not cover the layer. UnknownComponent.
        """
        row = opened.tables(layer).row(layer, index, sign)
        if layer not in self.labels.layers:
            raise UnknownLayer(f"{self.labels.id} has no labels of {layer}", field="layer", closest=self.labels.layers)
        arrays, words = load_arrays(self._path(f"labels/{layer}")), self._words(layer)
        formulas = Words(cast(list[str], self._record(f"leaderboard/{layer}")["formulas"]), "formula")
        said = [
            _of_scorer(scorer, arrays, f"{number}/", row, formulas if scorer.startswith("invert") else words)
            for number, scorer in enumerate(self.labels.scorers)
        ]
        states = {STATUSES.index(one.status) for one in said}
        return ComponentLabels(
            snapshot=self.labels.snapshot,
            labels=self.labels.id,
            layer=layer,
            index=index,
            sign=1 if sign > 0 else -1,
            status=STATUSES[next(state for state in BEST_FIRST if state in states)],
            n_valid=int(arrays["n_valid"][row]),
            vocabulary_sha256=words.sha256 or self.labels.vocabulary.sha256,
            candidates=words.proposed.get(str(row), []),
            scorers=said,
        )

    def _words(self, layer: str) -> Words:
        """What scorers chose from: the set's names, and where candidates were asked for, the layer's."""
        if self.labels.candidates is None:
            return Words(cast(list[str], self._record("names")["names"]))
        record = self._record(f"names/{layer}")
        return Words(
            cast(list[str], record["names"]), known=cast(int, record["vocabulary"]), sha256=str(record["sha256"]),
            proposed=cast(dict[str, list[str]], record["proposed"]),
        )  # fmt: skip


def _of_scorer(scorer: str, arrays: Arrays, at: str, row: int, words: Words) -> ScorerLabels:
    pairs = zip(arrays[f"{at}index"][row].tolist(), arrays[f"{at}scores"][row].tolist(), strict=True)
    tests = {name: measured(arrays[f"{at}{name}"][row]) for name in ("p", "q") if f"{at}{name}" in arrays}
    return ScorerLabels(
        scorer=scorer,
        status=STATUSES[int(arrays[f"{at}status"][row])],
        labels=[
            Label(text=words.names[place], score=score, index=place, origin=words.origin_of(place))
            for place, score in pairs
            if place >= 0
        ],
        margin=float(arrays[f"{at}margin"][row]),
        evaluation=LabelEvaluation(
            **{name: measured(arrays[f"{at}{name}"][row]) for name in FIGURES},
            random_correlation=measured(arrays["random_correlation"][row]),
            **tests,
        ),
    )
