"""Taking out what all pictures of a dataset share, so that cosines tell meanings apart in encoders that are narrow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Placed:
    """Components without the direction that all pictures share.

    Attributes
    ----------
    vectors : [P, d] float32 unit rows, orthogonal to that direction.
    ceiling : [P] float64, cosine of each with itself if its examples were drawn anew; may be negative for noise.
    """

    vectors: Floats
    ceiling: Doubles


def mean_direction(*banks: Floats) -> Floats:
    """Direction of the mean picture of one or more datasets.

    Parameters
    ----------
    banks : [R, d] unit mean vectors of random sets of each dataset's pictures.

    Returns
    -------
    [d] float32 unit vector; datasets count alike, whatever their sizes.
    """
    means = [bank.mean(axis=0, dtype=np.float64) for bank in banks]
    total = np.sum([mean / max(float(np.linalg.norm(mean)), 1e-12) for mean in means], axis=0)
    return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)


def without(direction: Floats, vectors: Floats) -> Floats:
    """Vectors without their part along a direction: [P, d] in and out, not normalised; a zero direction takes none."""
    return vectors - (vectors @ direction)[:, None] * direction


def unit_without(direction: Floats, vectors: Floats) -> Floats:
    """The same as unit rows; a row that lies along the direction becomes zero."""
    rest = without(direction, vectors)
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    return np.where(length > 1e-6, rest / np.maximum(length, 1e-6), 0).astype(np.float32)


def place(vectors: Floats, length: Floats, clarity: Floats, n_valid: NDArray[np.integer], direction: Floats) -> Placed:
    """Take a direction out of components.

    Parameters
    ----------
    vectors, length : [P, d] unit rows and [P], direction and length of each mean of n_valid unit embeddings.
    clarity : [P] mean pairwise cosine of the examples. direction : [d] unit, or zero.

    Returns
    -------
    Placed. With h the squared length of the mean's remainder, two draws of n examples have inner product
    h - (1 - clarity) / n in expectation (a little more, since the examples' spread along the direction is gone), so
    that the ceiling is 1 - (1 - clarity) / (n h); with no direction that is c / (c + (1 - c) / n).

    Source: ours; it is the first step of what removes the anisotropy of embeddings (arXiv 1702.01417).
    """
    rest = without(direction, vectors)
    squared = ((rest * length[:, None]).astype(np.float64) ** 2).sum(axis=1)
    noise = (1 - clarity.astype(np.float64)) / np.maximum(n_valid, 2)
    return Placed(unit_without(direction, vectors), 1 - noise / np.maximum(squared, 1e-12))
