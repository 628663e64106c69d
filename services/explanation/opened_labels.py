"""Published labels as they are read: leaderboards, and what every scorer calls one component."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

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
        arrays, names = load_arrays(self._path(f"labels/{layer}")), self._record("names")["names"]
        formulas = self._record(f"leaderboard/{layer}")["formulas"]
        said = [
            _of_scorer(scorer, arrays, f"{number}/", row, formulas if scorer.startswith("invert") else names)
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
            vocabulary_sha256=self.labels.vocabulary.sha256,
            scorers=said,
        )


def _of_scorer(scorer: str, arrays: Arrays, at: str, row: int, names: object) -> ScorerLabels:
    known = list(names) if isinstance(names, list) else []
    origin: Literal["formula", "vocabulary"] = "formula" if scorer.startswith("invert") else "vocabulary"
    pairs = zip(arrays[f"{at}index"][row].tolist(), arrays[f"{at}scores"][row].tolist(), strict=True)
    tests = {name: measured(arrays[f"{at}{name}"][row]) for name in ("p", "q") if f"{at}{name}" in arrays}
    return ScorerLabels(
        scorer=scorer,
        status=STATUSES[int(arrays[f"{at}status"][row])],
        labels=[
            Label(text=known[place], score=score, index=place, origin=origin) for place, score in pairs if place >= 0
        ],
        margin=float(arrays[f"{at}margin"][row]),
        evaluation=LabelEvaluation(
            **{name: measured(arrays[f"{at}{name}"][row]) for name in FIGURES},
            random_correlation=measured(arrays["random_correlation"][row]),
            **tests,
        ),
    )
