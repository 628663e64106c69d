"""How far to trust an alignment: figures on test windows beside controls that must fail."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix

from contracts.atlas import WindowMismatch
from contracts.errors import InsufficientEvidence
from services.explanation.atlas.scores import (
    BINS,
    DRAWS,
    Bools,
    Ints,
    Tier,
    Truth,
    auroc,
    auroc_intervals,
    average_precision,
    tiers,
    truth_of,
)
from services.explanation.atlas.statistics import Doubles, Floats, collect
from services.explanation.atlas.translators import ridges

BUCKETS = 2**15
SHUFFLES = 5
PARTS = (0.6, 0.2, 0.2)
Read = Callable[[Floats], Doubles]
Fit = Callable[[Floats, Floats], Read]


@dataclass(frozen=True)
class Windows:
    """Shared windows of both models with their documents; split by document.

    Attributes
    ----------
    x : [N, d_s]; c : [N, d_c]. documents : [N] int64. tokens : [N] int64, the subject's token count of each window.
    """

    x: Floats
    c: Floats
    documents: Ints
    tokens: Ints

    def __post_init__(self) -> None:
        lengths = {"atlas": len(self.c), "documents": len(self.documents), "tokens": len(self.tokens)}
        for side, length in lengths.items():
            if length != len(self.x):
                raise WindowMismatch(f"{len(self.x)} windows of the subject, {length} of {side}", field=side)

    def at(self, rows: Ints) -> Windows:
        """Return the windows of these rows."""
        return Windows(self.x[rows], self.c[rows], self.documents[rows], self.tokens[rows])


def split_documents(documents: Ints, *, seed: int = 0) -> tuple[Ints, Ints, Ints]:
    """Rows of training, validation and test windows, 60/20/20 by document; no document is in two of them.

    Raises
    ------
    InsufficientEvidence : fewer than five documents.
    """
    names = np.unique(documents)
    if len(names) < 5:
        raise InsufficientEvidence(f"{len(names)} documents; five are needed to split", field="documents")
    order = np.random.default_rng(seed).permutation(names)
    edges = np.cumsum([max(1, round(share * len(names))) for share in PARTS[:2]])
    parts = np.split(order, edges)
    return tuple(np.flatnonzero(np.isin(documents, part)) for part in parts)  # type: ignore[return-value]


def hashed_tokens(token_ids: Sequence[Sequence[int] | Sequence[str]], *, buckets: int = BUCKETS) -> NDArray[np.float32]:
    """Bag of tokens of each window, hashed: [N, buckets] float32 log(1 + count); buckets never hit are dropped.

    The hash is CRC-32 of the token's text, so it is the same in every process.
    """
    rows = [np.array([zlib.crc32(str(token).encode()) % buckets for token in window], np.int64) for window in token_ids]
    used = np.unique(np.concatenate([*rows, np.zeros(0, np.int64)]))
    bag = np.zeros((len(rows), len(used)), np.float32)
    for number, row in enumerate(rows):
        np.add.at(bag[number], np.searchsorted(used, row), 1)
    return np.log1p(bag)


@dataclass(frozen=True)
class Figures:
    """AUROC and average precision of each latent on test windows; NaN where evidence is missing."""

    auroc: Doubles
    ap: Doubles

    def summary(self, evident: Bools) -> dict[str, float]:
        """Mean, median and quartiles of the AUROC and the mean AP over latents with evidence."""
        kept = self.auroc[evident]
        low, middle, high = np.quantile(kept, [0.25, 0.5, 0.75])
        return {
            "auroc": float(kept.mean()), "auroc_median": float(middle), "auroc_q1": float(low),
            "auroc_q3": float(high), "ap": float(self.ap[evident].mean()),
        }  # fmt: skip


def figures_of(scores: Floats, truth: Truth) -> Figures:
    """Judge predicted codes [N_test, d_c], or one score for all latents [N_test, 1]."""
    wide = np.broadcast_to(scores, truth.y.shape)
    kept = truth.evident
    one, other = np.full(len(kept), np.nan), np.full(len(kept), np.nan)
    if kept.any():
        one[kept], other[kept] = (
            auroc(wide[:, kept], truth.y[:, kept]),
            average_precision(wide[:, kept], truth.y[:, kept]),
        )
    return Figures(one, other)


@dataclass(frozen=True)
class TrustReport:
    """An alignment's figures and controls.

    Attributes
    ----------
    figures, intervals : the translator's, [d_c] and [d_c, 2]. tiers : [d_c]. truth : what was to be predicted.
    controls : `shuffled`, `length`, `lexical` (None without tokens), each beside the translator.
    gain : [d_c] AUROC minus the lexical AUROC; NaN without tokens.
    """

    figures: Figures
    intervals: Doubles
    tiers: list[Tier]
    truth: Truth
    controls: dict[str, Figures]
    gain: Doubles

    def summary(self) -> dict[str, dict[str, float]]:
        """Means of the translator and of each control, and the base rate that a random AP reaches."""
        evident = self.truth.evident
        rows = {"translator": self.figures.summary(evident)}
        rows |= {name: control.summary(evident) for name, control in self.controls.items()}
        rows["base"] = {"auroc": 0.5, "ap": float(self.truth.y[:, evident].mean())}
        return rows

    def by_frequency(self) -> list[dict[str, float]]:
        """Mean AUROC and AP of latents in frequency bins .5-1, 1-5 and 5-30 %."""
        rows = []
        for low, high in BINS:
            kept = self.truth.evident & ~self.truth.by_threshold & (self.truth.rate >= low) & (self.truth.rate <= high)
            if kept.any():
                figures = self.figures.summary(kept)
                rows.append({"low": low, "high": high, "n": float(kept.sum()), **figures})
        return rows


def judge(
    fit: Fit, training: Windows, test: Windows, *, tokens: tuple[Floats, Floats] | None = None,
    shuffles: int = SHUFFLES, draws: int = DRAWS, seed: int = 0, beat: Callable[[], None] = lambda: None,
) -> TrustReport:  # fmt: skip
    """Fit on training windows, judge on test windows, and run the controls.

    Parameters
    ----------
    fit : (x, c) -> a function from activations to predicted codes; called once, and once per shuffle.
    tokens : hashed bags of the subject's tokens on training and test windows; None: no lexical control.
    beat : called now and then, as a sign of life.

    Returns
    -------
    The translator's figures with document-bootstrap intervals, tiers, and the controls: `shuffled` (codes permuted
    over the training windows, refitted; AUROC must be .50 ± .02), `length` (tokens in the window), `lexical`.

    Raises
    ------
    WindowMismatch : a document is in both halves. InsufficientEvidence : no latent has 20 + 10 positives.
    """
    shared = np.intersect1d(training.documents, test.documents)
    if len(shared):
        raise WindowMismatch(f"{len(shared)} documents are in training and test", field="documents")
    truth = truth_of(training.c, test.c)
    if not truth.evident.any():
        raise InsufficientEvidence("no latent has 20 training and 10 test positives", field="windows")
    scores = fit(training.x, training.c)(test.x)
    figures = figures_of(scores, truth)
    kept = np.flatnonzero(truth.evident)
    bounds = np.full((len(truth.evident), 2), np.nan)
    bounds[kept] = auroc_intervals(scores[:, kept], truth.y[:, kept], test.documents, draws=draws, seed=seed, beat=beat)
    controls = {
        "shuffled": _shuffled(fit, training, test, truth, shuffles, seed),
        "length": figures_of(test.tokens[:, None].astype(np.float64), truth),
    }
    gain = np.full(len(truth.evident), np.nan)
    if tokens is not None:
        controls["lexical"] = figures_of(lexical_scores(*tokens, training.c), truth)
        gain = figures.auroc - controls["lexical"].auroc
    return TrustReport(figures, bounds, tiers(bounds[:, 0], truth.evident), truth, controls, gain)


def _shuffled(fit: Fit, training: Windows, test: Windows, truth: Truth, times: int, seed: int) -> Figures:
    """Mean figures over refits on permuted pairs."""
    draw = np.random.default_rng([seed, 1])
    found = []
    for _ in range(times):
        scores = fit(training.x, training.c[draw.permutation(len(training.c))])(test.x)
        found.append(figures_of(scores, truth))
    return Figures(np.mean([one.auroc for one in found], axis=0), np.mean([one.ap for one in found], axis=0))


def lexical_scores(training: Floats, test: Floats, codes: Floats, *, rho: float = 1.0) -> Doubles:
    """What token identity alone predicts: dual ridge from hashed bags [N, buckets] to codes; -> [N_test, d_c]."""
    mean, target = training.mean(axis=0), codes - codes.mean(axis=0)
    left, right = (training - mean).astype(np.float64), (test - mean).astype(np.float64)
    if left.shape[1] <= len(left):
        return ridges(collect(left, codes, second_moment=False), [rho])[0].read(right)
    kernel = left @ left.T
    damped = kernel + rho * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    return right @ (left.T @ np.linalg.solve(damped, target.astype(np.float64)))


def lexical_scores_sparse(training: csr_matrix, test: csr_matrix, codes: Floats, *, rho: float = 1.0) -> Doubles:
    """The same from sparse bags [N, buckets], in the dual: centred kernels without a dense bag; -> [N_test, d_c]."""
    mean = np.asarray(training.mean(axis=0), np.float64)  # [1, buckets]
    length = float((mean**2).sum())
    own = np.asarray(training @ mean.T)  # [N, 1]
    other = np.asarray(test @ mean.T)
    kernel = (training @ training.T).toarray().astype(np.float64) - own - own.T + length
    across = (test @ training.T).toarray().astype(np.float64) - other - own.T + length
    damped = kernel + rho * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    target = (codes - codes.mean(axis=0)).astype(np.float64)
    return across @ cho_solve(cho_factor(damped, overwrite_a=True), target)
