"""One layer's labels: every scorer on the probing samples, every label and control judged on the held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.labels.evaluation import HeldOut, Judged, judge, most_frequent, random_labels, unsure
from services.explanation.labels.intervals import Interval, difference_p, holm, mean_interval, paired_difference
from services.explanation.labels.invert import Found, explain, require_annotations
from services.explanation.labels.ranking import Ranked, nothing
from services.explanation.labels.scorers import Probe, Scorer, rank_names
from services.explanation.labels.splits import Split

STATUSES = ("ok", "unsure", "insufficient_evidence", "no_contrast")
SURE, UNSURE, INSUFFICIENT, NO_CONTRAST = range(4)
FIGURES = ("correlation", "auprc", "f1", "iou")
CONTROLS = ("random label", "shuffled labels", "most frequent label")


@dataclass(frozen=True)
class LayerLabels:
    """What labelling a layer needs.

    Parameters
    ----------
    probe : what scorers may see. activations : [N, C] of all samples (sign · a); embeddings : [N, d].
    labels : class of each sample or None, for INVERT. components : [C] index of each row (two signs share one).
    """

    probe: Probe
    split: Split
    activations: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    labels: Sequence[str | None]
    components: NDArray[np.int64]
    seed: int
    advance: Callable[[int], None]

    @property
    def held_out(self) -> HeldOut:
        """The samples that judge."""
        split = self.split
        return HeldOut(
            self.activations[split.tune], self.activations[split.held_out], split.groups[split.held_out], self.seed
        )

    def simulate(self, index: NDArray[np.integer]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Similarities of each component's name on the tune and on the held-out samples: [n, C] each."""
        chosen = self.probe.texts[np.maximum(index, 0)]
        return self.embeddings[self.split.tune] @ chosen.T, self.embeddings[self.split.held_out] @ chosen.T


@dataclass(frozen=True)
class Labelled:
    """What is stored of a layer: arrays per scorer number, and the leaderboard with INVERT's formulas."""

    arrays: dict[str, np.ndarray]
    record: dict[str, object]


def label_layer(layer: LayerLabels, scorers: Sequence[Scorer]) -> Labelled:
    """Rank names by every scorer, judge the first of each, and set up the leaderboard."""
    judge_by = layer.held_out
    evident = layer.probe.valid > 0
    control = random_labels(list(range(len(evident))), len(layer.probe.texts), seed=layer.seed)
    chance = judge(judge_by, *layer.simulate(control), evident)
    arrays: dict[str, np.ndarray] = {"random_correlation": chance.correlation, "random_index": control.astype(np.int32)}
    judged: dict[str, Judged] = {}
    doubtful: dict[str, int] = {}
    formulas: list[str] = []
    first: Ranked | None = None
    for number, scorer in enumerate(scorers):
        if scorer.name == "invert":
            ranked, outcome, more, formulas = _by_formula(layer, judge_by, int(scorer.parameters["length"]))
            arrays |= {f"{number}/{name}": column for name, column in more.items()}
        else:
            ranked = rank_names(scorer, layer.probe)
            first = first or ranked
            outcome = judge(judge_by, *layer.simulate(ranked.index[:, 0]), ranked.index[:, 0] >= 0)
        same = (ranked.index[:, 0] == control) & (scorer.name != "invert")
        status = _status(ranked, evident, unsure(outcome, chance, same))
        judged[scorer.written] = outcome
        doubtful[scorer.written] = int((status == UNSURE).sum())
        arrays |= {f"{number}/{name}": column for name, column in _columns(ranked, outcome, status).items()}
        layer.advance(0)
    controls = {CONTROLS[0]: chance} | (_controls(layer, judge_by, first) if first is not None else {})
    record = {
        "probe": len(layer.split.probe), "tune": len(layer.split.tune), "held_out": len(layer.split.held_out),
        "held_out_groups": len(np.unique(judge_by.groups)), "formulas": formulas,
        "rows": leaderboard(judged, controls, doubtful, layer.components, evident, seed=layer.seed),
    }  # fmt: skip
    return Labelled(arrays, record)


def _status(ranked: Ranked, evident: NDArray[np.bool_], doubtful: NDArray[np.bool_]) -> NDArray[np.uint8]:
    named = np.where(doubtful, UNSURE, SURE)
    return np.where(~evident, INSUFFICIENT, np.where(ranked.index[:, 0] < 0, NO_CONTRAST, named)).astype(np.uint8)


def _columns(ranked: Ranked, outcome: Judged, status: NDArray[np.uint8]) -> dict[str, np.ndarray]:
    return {
        "scores": np.where(ranked.index >= 0, ranked.scores, 0), "index": ranked.index, "margin": ranked.margin,
        "status": status, **vars(outcome),
    }  # fmt: skip


def _controls(layer: LayerLabels, judge_by: HeldOut, ranked: Ranked) -> dict[str, Judged]:
    """The first scorer's labels given to other components, and its most frequent label given to all."""
    given, named = ranked.index[:, 0], ranked.index[:, 0] >= 0
    shuffled = given.copy()
    shuffled[named] = np.random.default_rng(layer.seed).permutation(given[named])
    same = np.full_like(given, most_frequent(given))
    return {
        name: judge(judge_by, *layer.simulate(index), named)
        for name, index in zip(CONTROLS[1:], (shuffled, same), strict=True)
    }


def _by_formula(
    layer: LayerLabels, judge_by: HeldOut, longest: int
) -> tuple[Ranked, Judged, dict[str, np.ndarray], list[str]]:
    """INVERT on the samples' classes: its formula is the label, its truth on held-out samples the simulation."""
    names = sorted({label for label in layer.labels if label})
    y = np.array([[label == name for name in names] for label in layer.labels], dtype=bool).reshape(-1, len(names))
    split, evident = layer.split, np.flatnonzero(layer.probe.valid > 0)
    require_annotations(y[split.probe])
    parts = (layer.activations[split.probe][:, evident], y[split.probe])
    others = (layer.activations[split.held_out][:, evident], y[split.held_out])
    found = explain(*parts, *others, longest=longest)
    ranked = nothing(len(layer.components))
    tune, truth = (np.zeros((len(part), len(layer.components)), np.float32) for part in (split.tune, split.held_out))
    more = {name: np.full(len(layer.components), np.nan) for name in ("p", "q")}
    formulas: list[str] = []
    for component, one in zip(evident, found, strict=True):
        if one is not None:
            ranked.index[component, 0], ranked.scores[component, 0] = len(formulas), one.auroc
            formulas.append(one.formula.text(names))
            tune[:, component] = one.formula.truth(y[split.tune])
            truth[:, component] = one.formula.truth(y[split.held_out])
            more["p"][component], more["q"][component] = _or_nan(one)
    return ranked, judge(judge_by, tune, truth, ranked.index[:, 0] >= 0), more, formulas


def _or_nan(found: Found) -> tuple[float, float]:
    return (np.nan if found.p is None else found.p, np.nan if found.q is None else found.q)


def leaderboard(
    judged: dict[str, Judged], controls: dict[str, Judged], doubtful: dict[str, int],
    components: NDArray[np.int64], evident: NDArray[np.bool_], *, seed: int,
) -> list[dict[str, object]]:  # fmt: skip
    """Rows of a layer: scorers by mean simulation correlation, each against the best, then the controls."""

    def mean_of(outcome: Judged) -> float:
        return float(np.nan_to_num(np.nanmean(outcome.correlation))) if np.isfinite(outcome.correlation).any() else -2.0

    order = sorted(judged, key=lambda name: (-mean_of(judged[name]), name))
    rows = [_row(name, judged[name], components, evident, seed, unsure=doubtful[name]) for name in order]
    best = judged[order[0]].correlation
    behind = [name for name in order[1:] if np.isfinite(judged[name].correlation - best).any()]
    corrected = holm(np.array([difference_p(judged[name].correlation, best, seed=seed) for name in behind]))
    for row in rows[1:]:
        if row["scorer"] in behind:
            name = str(row["scorer"])
            row["behind"] = _written(paired_difference(judged[name].correlation, best, seed=seed))
            row["p_behind"] = float(corrected[behind.index(name)])
    return rows + [_row(name, outcome, components, evident, seed, control=True) for name, outcome in controls.items()]


def _row(
    name: str, outcome: Judged, components: NDArray[np.int64], evident: NDArray[np.bool_], seed: int,
    *, unsure: int = 0, control: bool = False,
) -> dict[str, object]:  # fmt: skip
    labelled = int(np.isfinite(outcome.correlation).sum())
    figures = {
        figure: _written(mean_interval(getattr(outcome, figure), groups=components, seed=seed)) for figure in FIGURES
    }
    return {
        "scorer": name, "control": control, **figures, "labelled": labelled, "unlabelled": len(evident) - labelled,
        "unsure": unsure,
    }  # fmt: skip


def _written(interval: Interval | None) -> dict[str, float | int] | None:
    return None if interval is None else dict(vars(interval))
