"""The port of all discovery methods: features in, memberships and labels out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from contracts.errors import NoConcepts
from services.explanation.concepts.memberships import noise_mass
from services.explanation.concepts.neighbours import Neighbours


@dataclass(frozen=True)
class Concepts:
    """The concepts of one representation.

    Parameters
    ----------
    values : [n, k] float32 memberships, rows summing to at most 1. What is missing to 1 is noise.
    labels : [n] int32, the concept of each point, -1 for noise. Not always the largest membership: low membership and
        being labelled noise are different things.
    embedding : [n, m] float32 in which the clusters were found, or None.
    facts : figures of the run, such as how many rows had to be repaired.
    """

    values: np.ndarray
    labels: np.ndarray
    embedding: np.ndarray | None = None
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def k(self) -> int:
        """Number of concepts."""
        return self.values.shape[1]

    @property
    def noise_share(self) -> float:
        """Share of points that are labelled noise."""
        return float((self.labels < 0).mean())

    @property
    def mean_noise_mass(self) -> float:
        """Mean membership that is missing to 1."""
        return float(noise_mass(self.values).mean())

    @property
    def prevalence(self) -> np.ndarray:
        """Mean membership of each concept: [k] float64."""
        return self.values.mean(axis=0, dtype=np.float64)


class Discovery(Protocol):
    """A way of finding concepts. Implementations are frozen dataclasses, so that their fields are the parameters."""

    method: ClassVar[str]

    def fit(self, features: np.ndarray, *, seed: int = 0, neighbours: Neighbours | None = None) -> Concepts:
        """Find concepts.

        Parameters
        ----------
        features : [n, d] float32.
        seed : same seed, same bytes, on one machine with one set of library versions.
        neighbours : computed before on the same features; methods without a graph ignore it.

        Raises
        ------
        NoConcepts : fewer than two were found. TooFewPoints, ConstantFeatures, InvalidRequest : unusable features.
        """
        ...


def require_concepts(found: int, method: str, advice: str) -> None:
    """Refuse a run that found fewer than two concepts.

    Raises
    ------
    NoConcepts : with what to change.
    """
    if found < 2:
        raise NoConcepts(f"{method} found {found} concepts; {advice}", field="method", method=method, found=found)


def row_normalised(values: np.ndarray) -> np.ndarray:
    """Rows summing to 1, rows of zeros left as they are: [n, k] float32.

    Rounding to float32 can push a sum above 1; such rows are scaled back.
    """
    total = values.sum(axis=1, keepdims=True)
    shares = (values / np.where(total > 0, total, 1)).astype(np.float32)
    over = shares.sum(axis=1, keepdims=True, dtype=np.float64)
    return (shares / np.maximum(over, 1)).astype(np.float32)
