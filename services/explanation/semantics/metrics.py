"""Interpretability metrics: clarity, polysemanticity, redundancy, each with what chance would give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.explanation.errors import TooFewExamples
from services.explanation.semantics.clusters import gram, split_in_two
from services.explanation.semantics.embeddings import require_unit_rows

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
NEAREST_NULLS = 60
BLOCK = 2048


def clarity(examples: Floats) -> Doubles:
    """Mean pairwise cosine of each component's concept examples.

    Parameters
    ----------
    examples : [C, n, d] float32 or float64; unit rows along d (within 1e-3); n >= 2.

    Returns
    -------
    [C] float64, dimensionless, in [-1/(n-1), 1]. It grows with the encoder's anisotropy: show it beside its z-score.

    Raises
    ------
    TooFewExamples, NotUnitNorm : the latter also for float16 stores not re-normalised after reading.

    Source: SemanticLens (arXiv 2501.05398); closed form through the norm of the mean, O(C n d), no n x n matrix.
    """
    n = examples.shape[1]
    if n < 2:
        raise TooFewExamples(f"{n} example(s) a component; a pairwise mean needs 2", field="examples")
    require_unit_rows(examples)
    mean = examples.mean(axis=1, dtype=np.float64)
    return ((mean**2).sum(axis=-1) - 1 / n) * n / (n - 1)


def polysemanticity(examples: Floats, *, seed: int = 0) -> Doubles:
    """Share of the examples' spread that the best split in two explains.

    Parameters
    ----------
    examples : [C, n, d] unit rows, n >= 2.

    Returns
    -------
    [C] float64 in [0, 1]; near 1 where the examples form two tight groups. Compare by `split_z`: the share of one
    diffuse group falls with d and n.

    Source: ours, in place of the reference's 1 - cos of two k-means centres (`poly_reference`).
    """
    _require_two(examples)
    return split_in_two(gram(examples), seed=seed).share


def poly_reference(examples: Floats, *, seed: int = 123) -> Doubles:
    """1 - cosine of the two cluster means, the measure that SemanticLens publishes.

    Parameters
    ----------
    examples : [C, n, d] unit rows, n >= 2.

    Returns
    -------
    [C] float64 in [0, 2]. Where a cluster has fewer than two members: 1 - mean cosine of the mean to the first ten
    examples.

    Source: SemanticLens 0.2.1, `polysemanticity_score`, with our 2-means; equal to 1e-6 on clustered data.
    """
    _require_two(examples)
    split = split_in_two(gram(examples), seed=seed)
    sizes = split.second.sum(axis=1)
    lonely = (sizes < 2) | (examples.shape[1] - sizes < 2)
    mean = examples.mean(axis=1, dtype=np.float64)
    first = examples[:, :10].astype(np.float64)
    length = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    near = (first @ (mean / length)[:, :, None])[..., 0].mean(axis=1)
    return np.where(lonely, 1 - near, 1 - split.cosine)


def redundancy(vectors: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Cosine of each component's nearest other component, and which one that is.

    Parameters
    ----------
    vectors : [C, d] unit rows, C >= 2.

    Returns
    -------
    ([C] float32, [C] int64). The component itself is excluded by its index; equal vectors have redundancy 1. The
    mean over components is SemanticLens' scalar. A maximum over C - 1 grows with C: compare layers of equal width.

    Source: SemanticLens (arXiv 2501.05398), computed in blocks so that no C x C matrix exists.
    """
    c = len(vectors)
    if c < 2:
        raise TooFewExamples(f"{c} component(s); the nearest other one needs 2", field="vectors")
    largest, partner = np.empty(c, np.float32), np.empty(c, np.int64)
    for start in range(0, c, BLOCK):
        block = vectors[start : start + BLOCK] @ vectors.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        partner[start : start + len(block)] = block.argmax(axis=1)
        largest[start : start + len(block)] = block[rows, partner[start : start + len(block)]]
    return largest, partner


def standardised(values: Doubles, at: Doubles, null_at: Doubles, null_values: Doubles) -> Doubles:
    """Robust z of values against the null sets whose clarity is nearest.

    Parameters
    ----------
    values, at : [C] shares of the components, and their clarities.
    null_at, null_values : [S] clarities and shares of null sets of one topic.

    Returns
    -------
    [C] float64, (value - median) / (1.4826 MAD) over the 60 null sets of nearest clarity; NaN where MAD is 0.
    """
    take = min(NEAREST_NULLS, len(null_at))
    distance = np.abs(null_at[None, :] - np.asarray(at)[:, None])  # [C, S]
    near = null_values[np.argpartition(distance, take - 1, axis=1)[:, :take]]  # [C, take]
    median = np.median(near, axis=1)
    spread = 1.4826 * np.median(np.abs(near - median[:, None]), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, (values - median) / spread, np.nan)


def _require_two(examples: Floats) -> None:
    if examples.shape[1] < 2:
        raise TooFewExamples(f"{examples.shape[1]} example(s) a component; a split needs 2", field="examples")
