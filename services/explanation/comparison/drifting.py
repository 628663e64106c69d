"""Two states of one network: their layers by name, what became of every component, and the answer made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.comparison import DriftRow, LayerDrift, NothingToAlign, SnapshotDrift
from contracts.snapshots import Example
from services.explanation.comparison.centring import mean_direction, place, unit_without
from services.explanation.comparison.compare import require_one_encoder, same_samples
from services.explanation.comparison.drift import ABSENT, FATES, KEPT, UNDECIDED, Drift, State, drift_of
from services.explanation.components import measured
from services.explanation.measure import OK
from services.explanation.opened import Opened
from services.explanation.search import examples_at, reference_of

FIGURES = ("cosine", "relative", "overlap", "scale", "clarity_change")
SHOWN = 4


@dataclass(frozen=True)
class Drifted:
    """The drift of every layer that two snapshots share, by name; `unaligned` layers are in one of them or differ."""

    old: Opened
    new: Opened
    layers: dict[str, Drift]
    unaligned: list[str]
    threshold: float

    def answer(self, k: int) -> SnapshotDrift:
        """The contract's answer, with the `k` most changed components."""
        return SnapshotDrift(
            old=self.old.snapshot.id,
            new=self.new.snapshot.id,
            same_dataset=same_samples(self.old, self.new),
            threshold=self.threshold,
            layers=[_layer(name, drift) for name, drift in self.layers.items()],
            unaligned=self.unaligned,
            rows=[self.row(layer, number, SHOWN) for layer, number in self.most_changed()[:k]],
        )

    def most_changed(self) -> list[tuple[str, int]]:
        """Changed, lost and gained components, the least relative similarity first, then lost, then gained."""
        found: list[tuple[int, float, int, str, int]] = []
        for number, (name, drift) in enumerate(self.layers.items()):
            rows = np.flatnonzero(~np.isin(drift.fate, (KEPT, UNDECIDED, ABSENT)))
            relative = np.nan_to_num(drift.relative[rows], nan=0.0)
            found += [
                (int(drift.fate[row]), float(value), number, name, int(row))
                for row, value in zip(rows, relative, strict=True)
            ]
        return [(name, row) for _, _, _, name, row in sorted(found)]

    def row(self, layer: str, row: int, examples: int) -> DriftRow:
        """One component, with its examples before and after."""
        drift = self.layers[layer]
        nearest = int(drift.nearest[row])
        moved = nearest >= 0 and nearest != row
        return DriftRow(
            component=reference_of(self.new, layer, row),
            fate=FATES[int(drift.fate[row])],
            **{name: measured(getattr(drift, name)[row]) for name in FIGURES},
            moved_to=reference_of(self.new, layer, nearest) if moved else None,
            moved_cosine=measured(drift.nearest_cosine[row]) if moved else None,
            before=_examples(self.old, layer, row, examples),
            after=_examples(self.new, layer, row, examples),
        )


def _examples(opened: Opened, layer: str, row: int, most: int) -> list[Example]:
    table = opened.tables(layer).examples
    return examples_at(opened, table, row, np.arange(min(most, int(table["n_valid"][row]))))


def _layer(name: str, drift: Drift) -> LayerDrift:
    fates = Counter(FATES[number] for number in drift.fate.tolist())
    return LayerDrift(
        layer=name,
        components=len(drift.fate),
        **{figure: _mean(getattr(drift, figure)) for figure in FIGURES},
        fates={fate: fates[fate] for fate in FATES},
    )


def _mean(values: NDArray[np.floating]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if len(finite) else None


def drifted(old: Opened, new: Opened, layer: str | None, threshold: float) -> Drifted:
    """Compare component i with component i, in each layer that both have in one width.

    Raises
    ------
    DifferentEncoders; UnknownLayer : the named layer is not in the old snapshot; NothingToAlign
    """
    require_one_encoder(old, new)
    wanted = old.layer_names if layer is None else [old.layer_names[old.layer_number(layer)]]
    shapes = {one.name: (one.width, one.signed) for one in new.snapshot.layers}
    same = [
        one.name
        for one in old.snapshot.layers
        if one.name in wanted and shapes.get(one.name) == (one.width, one.signed)
    ]
    if not same:
        raise NothingToAlign(
            f"{old.snapshot.name} and {new.snapshot.name} share no layer of one width", field="layer",
            old=list(wanted), new=list(new.layer_names),
        )  # fmt: skip
    every = dict.fromkeys([*wanted, *(new.layer_names if layer is None else [])])
    identical = same_samples(old, new)
    direction = mean_direction(old.banks[-1], new.banks[-1])
    bank = unit_without(direction, new.banks[-1])
    layers = {}
    for name in same:
        states = [_state(opened, name, direction) for opened in (old, new)]
        layers[name] = drift_of(states[0], states[1], bank, threshold=threshold, same_samples=identical)
    return Drifted(old, new, layers, [name for name in every if name not in layers], threshold)


def _state(opened: Opened, layer: str, direction: NDArray[np.float32]) -> State:
    tables = opened.tables(layer)
    examples, vectors = tables.examples, tables.vectors
    n_valid = examples["n_valid"].astype(np.int64)
    clarity = np.nan_to_num(vectors["clarity"])
    placed = place(vectors["unit"], vectors["length"], clarity, n_valid, direction)
    return State(
        vectors=vectors["unit"],
        centred=placed.vectors,
        ceiling=placed.ceiling,
        good=vectors["state"] == OK,
        ids=examples["ids"],
        values=examples["values"],
        n_valid=n_valid,
        clarity=vectors["clarity"],
    )
