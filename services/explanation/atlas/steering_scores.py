"""Judging steered text without a language model: concept, fluency, relevance, faithfulness, the window of α."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from contracts.atlas import JudgeLeak, TooFewPositives
from contracts.errors import InsufficientEvidence
from services.explanation.atlas.statistics import Doubles, Floats
from services.explanation.atlas.term_labels import words_of
from services.explanation.labels.label_metrics import faithfulness_of_steering
from services.kit.keys import sha256_of
from services.kit.repetition import repetition

FALSE_POSITIVES = (0.01, 0.001)
LEAST_DISTINCT, MOST_REPEATED = 0.5, 0.2
BUCKETS = 4096


def bag_of_words(texts: Sequence[str], *, buckets: int = BUCKETS) -> NDArray[np.float64]:
    """Hashed words of each text, rows of unit length: [n, buckets]."""
    rows = np.zeros((len(texts), buckets))
    for number, text in enumerate(texts):
        for word in words_of(text):
            rows[number, zlib.crc32(word.encode()) % buckets] += 1
    rows = np.log1p(rows)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def logistic(
    features: Floats, truth: NDArray[np.bool_], *, ridge: float = 1e-3, steps: int = 50
) -> tuple[Doubles, float]:
    """Logistic regression by Newton's method in the dual: weights [d] and bias, deterministic.

    Classes are weighted to equal mass. features : [n, d]; truth : [n] bool with both classes.
    """
    x = np.asarray(features, np.float64)
    n = len(x)
    kernel = x @ x.T + 1.0
    weight = np.where(truth, 0.5 / truth.mean(), 0.5 / (1 - truth.mean())) / n
    alpha = np.zeros(n)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(kernel @ alpha, -30, 30)))
        curve = np.maximum(weight * p * (1 - p), 1e-12)
        target = kernel @ alpha + weight * (truth - p) / curve
        moved = np.linalg.solve(kernel + ridge * np.diag(1 / curve), target)
        done = float(np.abs(moved - alpha).max()) < 1e-10 * max(1.0, float(np.abs(moved).max()))
        alpha = moved
        if done:
            break
    return x.T @ alpha, float(alpha.sum())


@dataclass(frozen=True)
class ConceptJudge:
    """Two logistic classifiers, words and sentence embeddings; both must fire. Scores 0, 1 or 2.

    Attributes
    ----------
    words, meaning : (weights, bias) of each. cuts : [2, 2], its thresholds τ₁ and τ₂ at 1 % and .1 % false positives
    on unsteered text. concept_sha256 : of the texts it was trained on.
    """

    words: tuple[Doubles, float]
    meaning: tuple[Doubles, float]
    cuts: Doubles
    concept_sha256: str

    @classmethod
    def train(
        cls, concept: Sequence[str], others: Sequence[str], unsteered: Sequence[str], *,
        embed: Mapping[str, Floats], chosen_by: Sequence[str],
    ) -> Self:  # fmt: skip
        """Train on texts of a concept against others, and set the thresholds on unsteered text.

        Parameters
        ----------
        embed : text -> [d] unit embedding, of all texts. chosen_by : words of the labels, logit lenses and top tokens
        that selected the latents; none of them may be in the concept's texts.

        Raises
        ------
        JudgeLeak : a word of `chosen_by` is in a training text of the concept. TooFewPositives : fewer than ten texts
        of either kind. InsufficientEvidence : fewer than 100 unsteered texts, which give no 1 % quantile.
        """
        overlap = leaked_words(concept, chosen_by)
        if overlap:
            raise JudgeLeak(
                f"{len(overlap)} words chose the latents and train the judge", field="texts", overlap=list(overlap)
            )
        if min(len(concept), len(others)) < 10:
            raise TooFewPositives(f"{len(concept)} texts of the concept, {len(others)} others", field="texts")
        if len(unsteered) < 100:
            raise InsufficientEvidence(f"{len(unsteered)} unsteered texts give no 1 % quantile", field="unsteered")
        texts = [*concept, *others]
        truth = np.arange(len(texts)) < len(concept)
        parts = (logistic(bag_of_words(texts), truth), logistic(np.stack([embed[text] for text in texts]), truth))
        plain = (bag_of_words(unsteered), np.stack([embed[text] for text in unsteered]))
        levels = [1 - share for share in FALSE_POSITIVES]
        cuts = np.stack([np.quantile(x @ w + b, levels) for (w, b), x in zip(parts, plain, strict=True)])
        return cls(*parts, np.maximum(cuts, 0.0), sha256_of(sorted(concept)))

    def scores(self, texts: Sequence[str], embed: Mapping[str, Floats]) -> NDArray[np.int64]:
        """0, 1 or 2 of each text: both classifiers above τ₁, above τ₂. A threshold never lies below p = .5."""
        features = (bag_of_words(texts), np.stack([embed[text] for text in texts]))
        found = []
        for (weights, bias), cuts, x in zip((self.words, self.meaning), self.cuts, features, strict=True):
            logits = x @ weights + bias
            found.append((logits > cuts[0]).astype(np.int64) + (logits > cuts[1]))
        return np.minimum(*found)


def leaked_words(texts: Sequence[str], chosen_by: Sequence[str]) -> list[str]:
    """Words of at least three letters that are in the texts and among those that chose the latents, sorted."""
    used = {word for text in texts for word in words_of(text)}
    chose = {word for text in chosen_by for word in words_of(text)}
    return sorted(word for word in used & chose if len(word) > 2)


def fluency(texts: Sequence[str], perplexity: Floats, unsteered: Floats) -> NDArray[np.int64]:
    """0, 1 or 2: perplexity up to the .9 quantile of unsteered text is 2, up to three times it 1; loops get at most 1.

    Parameters
    ----------
    perplexity : [n] of the continuations under the unsteered model. unsteered : [r] of its own continuations, r >= 10.

    Raises
    ------
    InsufficientEvidence : fewer than ten unsteered continuations.
    """
    if len(unsteered) < 10:
        raise InsufficientEvidence(f"{len(unsteered)} unsteered continuations", field="unsteered")
    cut = float(np.quantile(unsteered, 0.9))
    found = np.where(perplexity <= cut, 2, np.where(perplexity <= 3 * cut, 1, 0))
    for at, text in enumerate(texts):
        distinct, repeated = repetition(text)
        if distinct < LEAST_DISTINCT or repeated > MOST_REPEATED:
            found[at] = min(int(found[at]), 1)
    return found.astype(np.int64)


def relevance(cosine: Floats, unsteered: Floats) -> NDArray[np.int64]:
    """0, 1 or 2: cosine of prompt and text at or above the .10, else the .01 quantile of unsteered text."""
    high, low = np.quantile(unsteered, [0.1, 0.01])
    return np.where(cosine >= high, 2, np.where(cosine >= low, 1, 0)).astype(np.int64)


def total(*scores: Floats) -> Doubles:
    """Harmonic mean of scores in 0-2; 0 where any is 0: [n] each -> [n]."""
    stacked = np.stack([np.asarray(one, np.float64) for one in scores])
    safe = np.where(stacked > 0, stacked, 1)
    return np.where((stacked > 0).all(axis=0), len(stacked) / (1 / safe).sum(axis=0), 0.0)


@dataclass(frozen=True)
class Faithfulness:
    """FADE-type F on prompts that did not choose α. value : None where p₂(0) = 1. alpha : chosen on the first half."""

    value: float | None
    alpha: float
    base: float
    reached: float


def faithfulness(clearly: Mapping[float, NDArray[np.bool_]], tune: NDArray[np.bool_]) -> Faithfulness:
    """F = max(p₂(α) - p₂(0), 0) / (1 - p₂(0)), α chosen on `tune` prompts and reported on the others.

    Parameters
    ----------
    clearly : α -> [prompts] whether the concept was rated 2; 0 must be among them. tune : [prompts].

    Raises
    ------
    InsufficientEvidence : α = 0 is missing, or one half is empty.
    """
    if 0.0 not in clearly or tune.all() or not tune.any():
        raise InsufficientEvidence("F needs α = 0 and two halves of prompts", field="alpha")
    chosen = faithfulness_of_steering({alpha: float(hits[tune].mean()) for alpha, hits in clearly.items()})
    alpha = 0.0 if chosen is None else chosen[1]
    base, reached = float(clearly[0.0][~tune].mean()), float(clearly[alpha][~tune].mean())
    value = None if base >= 1 else max(0.0, reached - base) / (1 - base)
    return Faithfulness(value, alpha, base, reached)


@dataclass(frozen=True)
class AlphaWindow:
    """The α at which steering works: concept rate at least base + half of the best gain, mean fluency at least 1."""

    low: float
    high: float
    log2_width: float


def alpha_window(alphas: Floats, rate: Floats, fluent: Floats, base: float) -> AlphaWindow | None:
    """Edges of the longest run of working α, None where there is none - which is a result.

    Parameters
    ----------
    alphas : [A] > 0, ascending. rate : [A] concept rate. fluent : [A] mean fluency. base : rate at α = 0.
    """
    gain = float(np.max(rate)) - base
    works = (np.asarray(rate) >= base + gain / 2) & (np.asarray(fluent) >= 1) & (gain > 0)
    best: tuple[int, int] | None = None
    start: int | None = None
    for at, good in enumerate([*works, False]):
        if good and start is None:
            start = at
        elif not good and start is not None:
            if best is None or at - start > best[1] - best[0]:
                best = (start, at)
            start = None
    if best is None:
        return None
    low, high = float(alphas[best[0]]), float(alphas[best[1] - 1])
    return AlphaWindow(low, high, float(np.log2(high / low)))


def pareto(concept: Floats, fluent: Floats) -> NDArray[np.bool_]:
    """Which settings are not beaten in both concept and fluency: [n] bool. Equal settings are all kept."""
    one, two = np.asarray(concept, np.float64), np.asarray(fluent, np.float64)
    better = (one[None] >= one[:, None]) & (two[None] >= two[:, None])
    strictly = (one[None] > one[:, None]) | (two[None] > two[:, None])
    return ~(better & strictly).any(axis=1)
