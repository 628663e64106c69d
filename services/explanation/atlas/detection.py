"""Scoring labels: whether one tells windows in which its latent fires from near windows in which it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.atlas import WindowMismatch
from services.explanation.atlas.scores import Tier, auroc, auroc_intervals, tiers
from services.explanation.atlas.statistics import Doubles, Floats

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
EACH, QUANTILES = 50, 10
FEWEST = 10


@dataclass(frozen=True)
class Trial:
    """Windows that judge a latent's label. windows : [n] rows; fires : [n] bool; documents : [n]."""

    windows: Ints
    fires: Bools
    documents: Ints


@dataclass(frozen=True)
class Detection:
    """How a label did. auroc, low, high : with its interval over documents; precision : P@10; tier."""

    auroc: float
    low: float
    high: float
    precision: float
    tier: Tier


def trial_of(
    codes: Floats, embeddings: Floats, documents: Ints, evidence: Ints, *, each: int = EACH, seed: int = 0
) -> Trial | None:
    """Choose up to 50 activating windows spread over 10 quantiles, and as many *hard* negatives.

    Parameters
    ----------
    codes : [N] of one latent. embeddings : [N, d] unit. documents : [N].
    evidence : [n] windows that made the label; their documents take no part.

    Returns
    -------
    Hard negatives are the silent windows nearest by cosine to the chosen activating ones, one for each in turn. None
    with fewer than ten of either kind.
    """
    usable = ~np.isin(documents, documents[evidence])
    active, silent = np.flatnonzero(usable & (codes > 0)), np.flatnonzero(usable & (codes <= 0))
    if len(active) < FEWEST or len(silent) < FEWEST:
        return None
    draw = np.random.default_rng(seed)
    ordered = active[np.argsort(codes[active], kind="stable")]
    parts = np.array_split(ordered, min(QUANTILES, len(ordered)))
    chosen = np.concatenate([draw.permutation(part)[: max(1, each // len(parts))] for part in parts])[:each]
    near = embeddings[chosen] @ embeddings[silent].T
    taken: list[int] = []
    free = np.ones(len(silent), bool)
    for row in near:
        if not free.any():
            break
        best = int(np.where(free, row, -np.inf).argmax())
        free[best] = False
        taken.append(int(silent[best]))
    windows = np.concatenate([chosen, np.array(taken, np.int64)])
    return Trial(windows, np.arange(len(windows)) < len(chosen), documents[windows])


def detect(trial: Trial, scores: Floats, *, seed: int = 0) -> Detection:
    """Judge a label by its own matcher's scores on the trial's windows, [n].

    Raises
    ------
    WindowMismatch : another number of scores than of windows.
    """
    if len(scores) != len(trial.windows):
        raise WindowMismatch(f"{len(scores)} scores for {len(trial.windows)} windows", field="scores")
    column, truth = np.asarray(scores, np.float64)[:, None], trial.fires[:, None]
    low, high = auroc_intervals(column, truth, trial.documents, seed=seed)[0]
    top = np.argsort(-column[:, 0], kind="stable")[:10]
    return Detection(
        float(auroc(column, truth)[0]), float(low), float(high), float(trial.fires[top].mean()),
        tiers(np.array([low]), np.array([True]))[0],
    )  # fmt: skip


def judge_labels(
    trials: Sequence[Trial | None], matcher: Callable[[int, Ints], Floats], labelled: Sequence[bool], *, seed: int = 0
) -> tuple[list[Detection | None], list[Detection | None]]:
    """Detection of every label, and of the same labels shuffled between latents (which must stay at .50 ± .02).

    Parameters
    ----------
    trials : of each latent, None where evidence is missing. matcher : (label's latent, windows) -> scores.
    labelled : whether the latent has a label.
    """
    named = [at for at, has in enumerate(labelled) if has]
    turned = dict(zip(named, _derangement(named, seed), strict=True))
    own: list[Detection | None] = []
    shuffled: list[Detection | None] = []
    for at, trial in enumerate(trials):
        if trial is None or not labelled[at]:
            own.append(None)
            shuffled.append(None)
            continue
        own.append(detect(trial, matcher(at, trial.windows), seed=seed))
        shuffled.append(detect(trial, matcher(turned[at], trial.windows), seed=seed) if len(named) > 1 else None)
    return own, shuffled


def _derangement(items: Sequence[int], seed: int) -> list[int]:
    """Each item's successor in a random circle: nobody keeps its own."""
    if not items:
        return []
    order = [items[at] for at in np.random.default_rng(seed).permutation(len(items))]
    after = {one: order[(place + 1) % len(order)] for place, one in enumerate(order)}
    return [after[one] for one in items]


def concept_list_labels(
    codes: Floats, embeddings: Floats, texts: Floats, evidence: Bools, *, top: int = 20
) -> tuple[Ints, Doubles, list[Ints]]:
    """Nearest entry of a fixed list for each latent, from its top windows.

    Parameters
    ----------
    codes : [N, m]. embeddings : [N, d] unit. texts : [V, d] unit, V >= 2. evidence : [N] windows that may make labels.

    Returns
    -------
    index [m] (-1 without five active windows), margin to the second [m], and the windows used, a list of m.

    The direction is the mean embedding of the top windows minus that of all evidence windows.
    """
    rows = np.flatnonzero(evidence)
    base = embeddings[rows].mean(axis=0, dtype=np.float64)
    index, margin = np.full(codes.shape[1], -1), np.full(codes.shape[1], np.nan)
    used: list[Ints] = []
    for latent in range(codes.shape[1]):
        column = codes[rows, latent]
        order = np.argsort(-column, kind="stable")[:top]
        chosen = rows[order[column[order] > 0]]
        used.append(chosen)
        if len(chosen) >= 5:
            direction = embeddings[chosen].mean(axis=0, dtype=np.float64) - base
            cosine = texts @ (direction / max(float(np.linalg.norm(direction)), 1e-12))
            best = np.argsort(-cosine, kind="stable")[:2]
            index[latent], margin[latent] = best[0], cosine[best[0]] - cosine[best[1]]
    return index, margin, used
