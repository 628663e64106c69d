"""One vector per component from its positives and their paired negatives; its cosine with a name is the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InvalidRequest

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Weighting = Literal["raw", "none", "squared", "sqrt", "log1p"]
NONE = -1
SMALLEST_CONTRAST = 1e-6
SMALLEST_WEIGHT = 1e-8
BLOCK = 256


@dataclass(frozen=True)
class Pairs:
    """Positives of some components and, beside each, its negative.

    Attributes
    ----------
    positives, negatives : [C, m, d] float32 unit rows, zeros where there is none.
    cosines : [C, m] float32, the inner product of each pair; 0 without a negative.
    activations : [C, m] float32, in the component's own direction (sign · a).
    present : [C, m] bool, which positives exist. paired : [C, m] bool, which have a negative.
    centre : [d] float32, the mean embedding of the dataset.
    """

    positives: Floats
    negatives: Floats
    cosines: Floats
    activations: Floats
    present: Bools
    paired: Bools
    centre: Floats

    @classmethod
    def gather(cls, embeddings: Floats, ids: Ints, activations: Floats, negatives: Ints, centre: Floats) -> Pairs:
        """Take the rows of `ids` and `negatives` [C, m] (-1 = none) from embeddings [N, d]."""
        present, paired = ids != NONE, (negatives != NONE) & (ids != NONE)
        one = embeddings[np.maximum(ids, 0)] * present[..., None]
        other = embeddings[np.maximum(negatives, 0)] * paired[..., None]
        cosines = np.einsum("cmd,cmd->cm", one, other)
        return cls(one, other, cosines, activations.astype(np.float32), present, paired, centre)


def weights_of(activations: Floats, present: Bools, weighting: Weighting = "raw") -> tuple[Floats, Bools]:
    """Shares of the positives: [C, m] float32 that sum to 1, and [C] where all were 0 and equal shares stand in.

    w = g(max(a, 0)) / Σ g, with g raw, squared, sqrt, log1p, or 1 for `none`.
    """
    positive = np.maximum(activations, 0) * present
    shape = {
        "raw": lambda a: a, "none": lambda a: present.astype(np.float32), "squared": np.square, "sqrt": np.sqrt,
        "log1p": np.log1p,
    }[weighting]  # fmt: skip
    raw = shape(positive).astype(np.float32) * present
    total = raw.sum(axis=1, keepdims=True)
    flagged = total[:, 0] <= SMALLEST_WEIGHT
    equal = present / np.maximum(present.sum(axis=1, keepdims=True), 1)
    return np.where(flagged[:, None], equal, raw / (total + SMALLEST_WEIGHT)).astype(np.float32), flagged


def _mean(rows: Floats, which: Bools) -> Floats:
    return rows.sum(axis=1) / np.maximum(which.sum(axis=1, keepdims=True), 1)


def mean(pairs: Pairs) -> Floats:
    """μ⁺, the labelling of SemanticLens."""
    return _mean(pairs.positives, pairs.present)


def weighted_mean(pairs: Pairs, *, weighting: Weighting = "raw") -> Floats:
    """Σ w_i e_i; equals CSP at γ = 0."""
    weights, _ = weights_of(pairs.activations, pairs.present, weighting)
    return np.einsum("cm,cmd->cd", weights, pairs.positives)


def centred_mean(pairs: Pairs) -> Floats:
    """μ⁺ less the mean of all samples."""
    return mean(pairs) - pairs.centre


def residuals(pairs: Pairs, gamma: float) -> Floats:
    """r_i = e_i - γ s_i e_n(i): [C, m, d]; its square norm is 1 - (2γ - γ²) s_i²."""
    if not 0 <= gamma <= 1:
        raise InvalidRequest(f"gamma is {gamma}; it lies between 0 and 1", field="gamma")
    return pairs.positives - (np.float32(gamma) * pairs.cosines)[..., None] * pairs.negatives


def csp(pairs: Pairs, *, gamma: float = 1.0, unit: bool = False, weighting: Weighting = "raw") -> Floats:
    """Σ w_i r_i over the residuals; `unit` gives each residual length 1.

    Source: Contrastive Semantic Projection (arXiv 2604.22477), its reference code; `unit` is ours: without it the
    closest pairs, which tell most, weigh least.
    """
    rows = residuals(pairs, gamma)
    if unit:
        rows = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.float32(1e-12))
    weights, _ = weights_of(pairs.activations, pairs.present, weighting)
    return np.einsum("cm,cmd->cd", weights, rows)


def mean_diff(pairs: Pairs, *, strength: float = 1.0) -> Floats:
    """μ⁺ - λ μ⁻ over the paired negatives."""
    return mean(pairs) - np.float32(strength) * _mean(pairs.negatives, pairs.paired)


def orthogonal(pairs: Pairs) -> Floats:
    """μ⁺ less its projection onto μ⁻."""
    positive, negative = mean(pairs), _mean(pairs.negatives, pairs.paired)
    negative = negative / np.maximum(np.linalg.norm(negative, axis=1, keepdims=True), np.float32(1e-12))
    return positive - (positive * negative).sum(axis=1, keepdims=True) * negative


def subspace(pairs: Pairs, *, k: int = 1) -> Floats:
    """μ⁺ less its projection onto the first k right singular vectors of the (uncentred) negatives; 1 <= k <= 10."""
    if not 1 <= k <= 10:
        raise InvalidRequest(f"k is {k}; a subspace of 1 to 10 directions is projected out", field="k")
    positive = mean(pairs)
    _, lengths, basis = np.linalg.svd(pairs.negatives, full_matrices=False)
    basis = (basis * (lengths > 1e-6 * np.maximum(lengths[:, :1], 1e-12))[..., None])[:, :k]
    return positive - np.einsum("ck,ckd->cd", np.einsum("ckd,cd->ck", basis, positive), basis)


def lda(pairs: Pairs, *, ridge: float = 0.1) -> Floats:
    """(Σ_w + λI)⁻¹ (μ⁺ - μ⁻), Σ_w the pooled covariance with 2m - 2 degrees of freedom, λ = ridge · tr(Σ_w) / d.

    Solved in the span of the samples (Woodbury): with X the centred rows over √dof,
    (λI + XᵀX)⁻¹ y = (y - Xᵀ (λI + XXᵀ)⁻¹ X y) / λ.
    """
    if ridge <= 0:
        raise InvalidRequest(f"ridge is {ridge}; it must be above 0", field="ridge")
    mu, nu = mean(pairs), _mean(pairs.negatives, pairs.paired)
    one = (pairs.positives - mu[:, None]) * pairs.present[..., None]
    other = (pairs.negatives - nu[:, None]) * pairs.paired[..., None]
    freedom = np.maximum(pairs.present.sum(axis=1) + pairs.paired.sum(axis=1) - 2, 1)
    rows = np.concatenate([one, other], axis=1).astype(np.float64) / np.sqrt(freedom)[:, None, None]
    width = rows.shape[2]
    penalty = np.maximum(ridge * np.square(rows).sum(axis=(1, 2)) / width, 1e-12)
    difference = (mu - nu).astype(np.float64)
    gram = rows @ rows.transpose(0, 2, 1) + penalty[:, None, None] * np.eye(rows.shape[1])
    inner = np.linalg.solve(gram, np.einsum("cmd,cd->cm", rows, difference)[..., None])[..., 0]
    solved = (difference - np.einsum("cm,cmd->cd", inner, rows)) / penalty[:, None]
    return (solved / np.maximum(np.linalg.norm(solved, axis=1, keepdims=True), 1e-300)).astype(np.float32)


VECTORS: dict[str, Callable[..., Floats]] = {
    "mean": mean, "weighted_mean": weighted_mean, "centred_mean": centred_mean, "csp": csp, "mean_diff": mean_diff,
    "orthogonal": orthogonal, "subspace": subspace, "lda": lda,
}  # fmt: skip
CONTRASTIVE = frozenset({"csp", "mean_diff", "orthogonal", "subspace", "lda"})


def concept_vectors(
    name: str,
    embeddings: Floats,
    ids: Ints,
    activations: Floats,
    negatives: Ints,
    *,
    centre: Floats,
    **parameters: float | int | bool | str,
) -> tuple[Floats, Bools]:
    """Compute the unit concept vectors of all components, in blocks.

    Parameters
    ----------
    name : a key of `VECTORS`; parameters : its keyword arguments.
    embeddings : [N, d] float32 unit rows; ids, negatives : [C, m] int64, -1 = none; activations : [C, m].
    centre : [d] mean embedding.

    Returns
    -------
    [C, d] float32 unit rows, zero where there is no contrast, and [C] bool: whether there is one.
    """
    made = np.zeros((len(ids), embeddings.shape[1]), np.float32)
    good = np.zeros(len(ids), dtype=bool)
    for start in range(0, len(ids), BLOCK):
        part = slice(start, start + BLOCK)
        pairs = Pairs.gather(embeddings, ids[part], activations[part], negatives[part], centre)
        rows = VECTORS[name](pairs, **parameters)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        good[part] = (length[:, 0] >= SMALLEST_CONTRAST) & pairs.present.any(axis=1)
        if name in CONTRASTIVE:
            good[part] &= pairs.paired.any(axis=1)
        made[part] = np.where(good[part, None], rows / np.maximum(length, 1e-30), 0)
    return made, good
