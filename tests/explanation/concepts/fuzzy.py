"""Fuzzy clusterings for the tests of alignment."""

from __future__ import annotations

import numpy as np

P = np.array([[1, 0], [0.8, 0.2], [0.2, 0.6], [0, 1]])
Q = np.array([[0.9, 0.1, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 0.4]])


def fuzzy(n: int, k: int, *, seed: int, noise: float = 0.0, sharpness: float = 6.0) -> np.ndarray:
    """Random memberships [n, k] float64; a share `noise` of the rows has no membership at all."""
    draw = np.random.default_rng(seed)
    logits = sharpness * draw.random((n, k))
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    values *= draw.uniform(0.6, 1, n)[:, None] / values.sum(axis=1, keepdims=True)
    values[draw.random(n) < noise] = 0
    return values


def double_loop(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Concept distances by their definition, a sum over all pairs of points."""
    n = len(ours)
    upper = np.triu_indices(n, 1)
    a = np.abs(ours[:, None] - ours[None])[upper]
    b = np.abs(theirs[:, None] - theirs[None])[upper]
    return np.array([[np.abs(x - y).sum() / (n * (n - 1)) for y in b.T] for x in a.T])
