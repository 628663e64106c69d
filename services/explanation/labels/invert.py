"""INVERT: the name, or short logical formula of names, that best separates a component's activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from contracts.errors import MissingAnnotations
from services.explanation.semantics.significance import q_values

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
BEAM = 10
LONGEST = 3
FEWEST = 5
LARGEST_SHARE = 0.5
BLOCK = 256


@dataclass(frozen=True)
class Formula:
    """A conjunction or disjunction chain of concepts, read from left to right.

    Attributes
    ----------
    terms : (operator, concept, negated) each; the operator of the first is empty.
    """

    terms: tuple[tuple[str, int, bool], ...]

    def truth(self, annotations: Bools) -> Bools:
        """On which samples it holds: [N] bool from annotations [N, K]."""
        held = np.zeros(len(annotations), dtype=bool)
        for operator, concept, negated in self.terms:
            atom = annotations[:, concept] ^ negated
            held = (held & atom) if operator == "AND" else (held | atom)
        return held

    def text(self, names: list[str]) -> str:
        """Write it out: `(dog AND NOT water) OR cat`."""
        written = ""
        for place, (operator, concept, negated) in enumerate(self.terms):
            atom = f"NOT {names[concept]}" if negated else names[concept]
            if place == 0:
                written = atom
            else:
                inner = f"({written})" if place > 1 and operator != self.terms[place - 1][0] else written
                written = f"{inner} {operator} {atom}"
        return written

    def key(self) -> tuple[frozenset[tuple[int, bool]], tuple[str, ...]]:
        """Equal for formulas of at most two terms that differ in order only."""
        return frozenset((concept, negated) for _, concept, negated in self.terms), tuple(o for o, _, _ in self.terms)


@dataclass(frozen=True)
class Found:
    """The formula of one component, with its evidence on samples that it was not searched on.

    Attributes
    ----------
    auroc : on the searched samples. held_out_auroc, p, q : on the others; None where undefined.
    """

    formula: Formula
    auroc: float
    held_out_auroc: float | None
    p: float | None
    q: float | None = None


def require_annotations(annotations: Bools | None) -> Bools:
    """Refuse to search without labelled samples."""
    if annotations is None or not annotations.any():
        raise MissingAnnotations("no sample has a label", field="scorers")
    return annotations


def aurocs(activations: NDArray[np.floating], annotations: Bools) -> Floats:
    """AUROC of every column of activations for every concept: [C, K] float64, ties by midranks; NaN where undefined.

    AUC_ck = (R_cᵀ Y_k - n_k (n_k + 1) / 2) / (n_k (N - n_k)), one product for all pairs.

    Source: INVERT (NeurIPS 2023); the product is ours.
    """
    y = annotations.astype(np.float64)
    held, n = y.sum(axis=0), len(y)
    made = np.empty((activations.shape[1], y.shape[1]))
    for start in range(0, activations.shape[1], BLOCK):
        ranks = rankdata(activations[:, start : start + BLOCK], axis=0)
        made[start : start + BLOCK] = _auroc(ranks.T @ y, held, n)
    return made


def _auroc(rank_sums: Floats, held: Floats, n: int) -> Floats:
    pairs = held * (n - held)
    return np.where(pairs > 0, (rank_sums - held * (held + 1) / 2) / np.where(pairs > 0, pairs, 1), np.nan)


def search(
    activations: NDArray[np.floating], annotations: Bools, *, longest: int = LONGEST, beam: int = BEAM, atoms: int = 200
) -> list[tuple[Formula, float] | None]:
    """Find each component's best formula by beam search.

    Parameters
    ----------
    activations : [N, C]; annotations : [N, K] bool. longest : at most so many concepts, 1 to 3.
    beam : formulas kept per length. atoms : concepts tried, pre-ranked by |AUC - 0.5|.

    Returns
    -------
    The formula with the largest AUROC, of those true on at least 5 samples and at most half of them; None where
    there is none. Of equal ones, the shorter.
    """
    y = require_annotations(annotations)
    single = aurocs(activations, y)
    return [
        _best(rankdata(activations[:, component]), single[component], y, longest, beam, atoms)
        for component in range(activations.shape[1])
    ]


def _best(ranks: Floats, single: Floats, y: Bools, longest: int, beam: int, atoms: int) -> tuple[Formula, float] | None:
    usable = np.flatnonzero(np.isfinite(single))
    chosen = usable[np.argsort(-np.abs(single[usable] - 0.5), kind="stable")[:atoms]]
    table = y[:, chosen].astype(np.float64)
    n, total, rank_total = len(y), table.sum(axis=0), ranks @ table
    everything = float(ranks.sum())
    level: list[tuple[float, Formula]] = []
    for negated in (False, True):
        held = n - total if negated else total
        auc = _auroc(everything - rank_total if negated else rank_total, held, n)
        level += [(a, Formula((("", int(c), negated),))) for a, c in _allowed(auc, held, n, chosen)]
    best: tuple[float, Formula] | None = None
    for length in range(1, longest + 1):
        level = _front(level, beam)
        if level and (best is None or level[0][0] > best[0] + 1e-12):
            best = level[0]
        if length == longest:
            break
        level = [grown for _, formula in level for grown in _grown(formula, ranks, table, chosen, y, rank_total, total)]
    return None if best is None else (best[1], float(best[0]))


def _front(level: list[tuple[float, Formula]], beam: int) -> list[tuple[float, Formula]]:
    kept: dict[object, tuple[float, Formula]] = {}
    for auc, formula in sorted(level, key=lambda pair: (-pair[0], pair[1].terms)):
        kept.setdefault(formula.key(), (auc, formula))
        if len(kept) == beam:
            break
    return list(kept.values())


def _allowed(auc: Floats, held: Floats, n: int, concepts: NDArray[np.int64]) -> list[tuple[float, int]]:
    good = np.isfinite(auc) & (held >= min(FEWEST, n)) & (held <= LARGEST_SHARE * n)
    return [(float(auc[place]), int(concepts[place])) for place in np.flatnonzero(good)]


def _grown(
    formula: Formula, ranks: Floats, table: Floats, concepts: NDArray[np.int64], y: Bools, rank_total: Floats,
    total: Floats,
) -> list[tuple[float, Formula]]:  # fmt: skip
    """All formulas with one more concept: every combination follows from the products with `formula AND concept`."""
    truth = formula.truth(y).astype(np.float64)
    both, both_ranks = truth @ table, (ranks * truth) @ table
    n, held, held_ranks, everything = len(y), truth.sum(), float(ranks @ truth), float(ranks.sum())
    used = {concept for _, concept, _ in formula.terms}
    counts = {
        ("AND", False): (both, both_ranks),
        ("AND", True): (held - both, held_ranks - both_ranks),
        ("OR", False): (held + total - both, held_ranks + rank_total - both_ranks),
        ("OR", True): (n - total + both, everything - rank_total + both_ranks),
    }
    return [
        (auc, Formula((*formula.terms, (operator, concept, negated))))
        for (operator, negated), (true, true_ranks) in counts.items()
        for auc, concept in _allowed(_auroc(true_ranks, true, n), true, n, concepts)
        if concept not in used
    ]


def significance(column: NDArray[np.floating], truth: Bools) -> tuple[float, float] | None:
    """AUROC and one-sided p of the Mann-Whitney test with tie correction; None where all or no sample is true."""
    n, held = len(truth), int(truth.sum())
    if held in (0, n):
        return None
    ranks = rankdata(column)
    u = float(ranks[truth].sum()) - held * (held + 1) / 2
    _, ties = np.unique(column, return_counts=True)
    spread = held * (n - held) / 12 * ((n + 1) - float((ties.astype(np.float64) ** 3 - ties).sum()) / (n * (n - 1)))
    auroc = u / (held * (n - held))
    if spread <= 0:
        return auroc, 1.0
    return auroc, float(norm.sf((u - held * (n - held) / 2 - 0.5) / np.sqrt(spread)))


def explain(
    activations: NDArray[np.floating], annotations: Bools, held_out: NDArray[np.floating], held_out_annotations: Bools,
    *, longest: int = LONGEST,
) -> list[Found | None]:  # fmt: skip
    """Search on one set of samples and judge on another; q is corrected over the components (Benjamini, Hochberg)."""
    found: list[Found | None] = []
    for component, outcome in enumerate(search(activations, annotations, longest=longest)):
        if outcome is None:
            found.append(None)
            continue
        formula, auc = outcome
        judged = significance(held_out[:, component], formula.truth(held_out_annotations))
        found.append(Found(formula, auc, *(judged or (None, None))))
    tested = [place for place, one in enumerate(found) if one is not None and one.p is not None]
    if tested:
        q = q_values(np.array([found[place].p for place in tested]))  # type: ignore[union-attr]
        for place, value in zip(tested, q, strict=True):
            one = found[place]
            if one is not None:
                found[place] = Found(one.formula, one.auroc, one.held_out_auroc, one.p, float(value))
    return found
