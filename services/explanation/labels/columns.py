"""Scorers that compare a component's whole column of activations with a name's column of similarities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.explanation.labels.ranking import BEST, Ranked, best_of, merged, nothing, rank_by_product

Floats = NDArray[np.float32]
NAMES = 512
TOP_SHARE = 0.05
PERMUTATIONS = 5
SMALLEST_NORM = 1e-3


def rank_by_cosine(activations: Floats, embeddings: Floats, texts: Floats, *, names: int = BEST) -> Ranked:
    """Rank names by the cosine of A_·c and S_·t, without making S: A_cᵀS_t = (A_cᵀE) u_t and ‖S_t‖² = u_tᵀEᵀE u_t.

    Parameters
    ----------
    activations : [N, C] float32; embeddings : [N, d]; texts : [T, d].

    Source: CLIP-Dissect (ICLR 2023), similarity `cos`.
    """
    gram = embeddings.T @ embeddings
    lengths = np.sqrt(np.maximum(np.einsum("td,td->t", texts @ gram, texts), 1e-12))
    columns = np.maximum(np.linalg.norm(activations, axis=0), 1e-12)
    return rank_by_product((activations.T @ embeddings) / columns[:, None], texts / lengths[:, None], names=names)


def rank_by_cubed_cosine(activations: Floats, embeddings: Floats, texts: Floats, *, names: int = BEST) -> Ranked:
    """Rank names by the cosine of centred, cubed columns; lengths below 1e-3 count as 1e-3.

    Source: CLIP-Dissect (ICLR 2023), similarity `cos_cubed`.
    """
    ranked, left = nothing(activations.shape[1], names), _cubed(activations).T
    for start in range(0, len(texts), NAMES):
        right = _cubed(embeddings @ texts[start : start + NAMES].T)
        ranked = merged(ranked, best_of(left @ right, names=names, first=start))
    return ranked


def _cubed(columns: Floats) -> Floats:
    cubed = (columns - columns.mean(axis=0)) ** 3
    return cubed / np.maximum(np.linalg.norm(cubed, axis=0), SMALLEST_NORM)


def rank_by_reordering(
    activations: Floats, embeddings: Floats, texts: Floats, *, names: int = BEST, seed: int = 0
) -> Ranked:
    """Rank names by how well they order a component's top 5 % of samples.

    score = - mean |a_(i) - a_(rank of i by S)|³ / (the same for five random orders) / (mean S)^½ over those samples.

    Source: CLIP-Dissect (ICLR 2023), similarity `rank_reorder`; a mean similarity <= 0, whose root is undefined, counts
    as the worst score.
    """
    top = max(2, int(len(activations) * TOP_SHARE))
    pieces = []
    for component in range(activations.shape[1]):
        column = activations[:, component]
        ids = np.lexsort((np.arange(len(column)), -column))[:top]
        target = column[ids].astype(np.float64)
        ascending = target[::-1]
        draw = np.random.default_rng([seed, component])
        chance = np.mean([np.abs(ascending - draw.permutation(ascending)) ** 3 for _ in range(PERMUTATIONS)])
        row = np.empty(len(texts))
        for start in range(0, len(texts), NAMES):
            similarities = embeddings[ids] @ texts[start : start + NAMES].T
            order = similarities.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
            error = (np.abs(target[:, None] - ascending[order]) ** 3).mean(axis=0) / max(chance, 1e-12)
            level = similarities.mean(axis=0)
            row[start : start + NAMES] = np.where(level > 0, -error / np.sqrt(np.maximum(level, 1e-12)), -np.inf)
        pieces.append(best_of(row[None].astype(np.float32), names=names))
    if not pieces:
        return nothing(0, names)
    return Ranked(np.concatenate([piece.scores for piece in pieces]), np.concatenate([p.index for p in pieces]))
