"""Search through an alignment: text to subject units, units to labels, windows to concepts, two atlases compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.atlas import NoMatchingConcept
from services.explanation.atlas.scores import Bools, Ints, auroc
from services.explanation.atlas.statistics import Doubles, Floats
from services.explanation.atlas.translators import Translator

LATENTS, TEMPERATURE = 8, 0.05
AGREED = 0.6
LEAST_COSINE = 0.25
HIT = 0.8


@dataclass(frozen=True)
class LatentMatch:
    """Atlas latents chosen by a text. latents : [m] ids, best first; cosine : [m]; weight : [m], sums to 1."""

    latents: Ints
    cosine: Doubles
    weight: Doubles


def match_labels(
    query: Floats,
    labels: Floats,
    trusted: Bools,
    names: Sequence[str],
    *,
    m: int = LATENTS,
    least: float = LEAST_COSINE,
) -> LatentMatch:
    """The m trusted latents whose labels are nearest to a text.

    Parameters
    ----------
    query : [d] unit. labels : [d_c, d] unit rows, zero for unlabelled latents. trusted : [d_c] verified or weak.
    names : [d_c] label texts. least : smallest cosine that counts as a match; the default is of MiniLM sentences.

    Raises
    ------
    NoMatchingConcept : no trusted label is near enough; `nearest` names the closest labels of any tier.
    """
    cosine = labels.astype(np.float64) @ query.astype(np.float64)
    usable = np.flatnonzero(trusted & (cosine >= least))
    if not len(usable):
        nearest = [names[one] for one in np.argsort(-cosine, kind="stable")[:5]]
        raise NoMatchingConcept("no trusted label is near this text", field="query", nearest=nearest)
    chosen = usable[np.argsort(-cosine[usable], kind="stable")[:m]]
    weight = np.exp((cosine[chosen] - cosine[chosen].max()) / TEMPERATURE)
    return LatentMatch(chosen, cosine[chosen], weight / weight.sum())


def units_for(match: LatentMatch, translator: Translator) -> Doubles:
    """Score of each subject unit: Σ_j w_j T_ij / ‖T_:,j‖; [d_s] float64."""
    return translator.columns()[:, match.latents] @ match.weight


def standardised_rows(translator: Translator, shuffled: Sequence[Translator]) -> Doubles:
    """z_ij = T_ij / sd of column j over fits on permuted pairs: [d_s, d_c]; columns without spread are 0.

    It makes latents of different scale comparable for one unit.
    """
    spread = np.sqrt(np.mean([one.matrix.var(axis=0) for one in shuffled], axis=0))
    return np.where(spread > 0, translator.matrix / np.where(spread > 0, spread, 1), 0)


def concepts_of(z: Floats, trusted: Bools, *, k: int = 10) -> tuple[Ints, Doubles]:
    """Trusted latents of one unit by z: (ids [k], percentile among all latents [k] in 0-100)."""
    order = np.argsort(-z, kind="stable")
    percentile = np.empty(len(z))
    percentile[order] = 100 * (1 - np.arange(len(z)) / max(len(z) - 1, 1))
    chosen = np.array([one for one in order if trusted[one]][:k], np.int64)
    return chosen, percentile[chosen]


def localise(tokens: Floats, translator: Translator, latents: Sequence[int]) -> Doubles:
    """Where in a text concepts are: token activations [t, d_s] -> [t, len(latents)] predicted codes."""
    return translator.read(tokens)[:, list(latents)]


def agreement(one: Floats, other: Floats, *, least: float = AGREED) -> tuple[Doubles, Bools]:
    """Whether two atlases name a unit alike: unit label embeddings [d_s, d] twice -> (cosine [d_s], agreed [d_s])."""
    cosine = (one.astype(np.float64) * other.astype(np.float64)).sum(axis=1)
    return cosine, cosine >= least


def ranked_hits(ranking: Ints, activations: Floats, positive: Bools) -> tuple[float, float]:
    """P@len(ranking) and nDCG@10 of latents found for a concept.

    Parameters
    ----------
    ranking : [k] latents, best first. activations : [N, d_c] codes of the concept's texts and of others.
    positive : [N] which texts are of the concept. A hit separates them with AUROC >= .8.
    """
    hits = auroc(activations[:, ranking], np.repeat(positive[:, None], len(ranking), axis=1)) >= HIT
    every = auroc(activations, np.repeat(positive[:, None], activations.shape[1], axis=1)) >= HIT
    gains = 1 / np.log2(np.arange(2, 12))
    best = gains[: min(int(every.sum()), 10)].sum()
    reached = (hits[:10] * gains[: len(hits[:10])]).sum()
    return float(hits.mean()), float(reached / best) if best else 0.0
