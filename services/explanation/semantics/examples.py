"""Concept examples: the samples on which a component is most (or least) active, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import NonFiniteActivation

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
EMPTY = -1
DEAD_TOLERANCE = 1e-6


class TopK:
    """The k largest values of each component with the samples they came from.

    The order is total: value descending, then sample id ascending. It does not depend on how samples are divided into
    batches or in which order batches arrive. Values are compared in float32; bfloat16 would invent ties.

    Parameters
    ----------
    components, k : C and k.
    largest : False collects the k smallest instead (ordered ascending, ties by id ascending).
    positions : whether positions are carried along.
    groups, most : [N] int64 group number of every sample, and how many examples one group may give a component.

    Attributes
    ----------
    values : [C, k] float32, -inf where there are fewer than k samples (+inf for smallest).
    ids : [C, k] int64, -1 there.
    positions : [C, k] int32 or None.

    Source: SemanticLens (arXiv 2501.05398), concept examples; the total order is ours. With a limit per group the
    result is the greedy one, which still does not depend on batches: whoever is beaten within a batch, by a full list
    or by a full group, is beaten by the same samples in the whole (the sets allowed form a matroid).
    """

    def __init__(
        self,
        components: int,
        k: int,
        *,
        largest: bool = True,
        positions: bool = False,
        groups: Ints | None = None,
        most: int | None = None,
    ) -> None:
        self._sign = np.float32(1 if largest else -1)
        self._best = np.full((components, k), -np.inf, dtype=np.float32)
        self.ids = np.full((components, k), EMPTY, dtype=np.int64)
        self.positions = np.full((components, k), EMPTY, dtype=np.int32) if positions else None
        self._groups = groups if most is not None else None
        self._most = most or 0

    @property
    def values(self) -> Floats:
        """The kept values with their own sign."""
        return self._best * self._sign

    def update(self, values: Floats, ids: Ints, positions: NDArray[np.int32] | None = None) -> None:
        """Take a batch into account.

        Parameters
        ----------
        values : [B, C] float32; ids : [B] int64, distinct, never seen before; positions : [B, C] int32.

        Raises
        ------
        NonFiniteActivation : names component and sample.
        """
        if not np.isfinite(values).all():
            row, channel = np.argwhere(~np.isfinite(values))[0]
            raise NonFiniteActivation(
                f"component {channel} is not finite on sample {ids[row]}", channel=int(channel), sample=int(ids[row])
            )
        signed = values.T * self._sign  # [C, B]
        hopeful = np.flatnonzero((signed >= self._best[:, -1:]).any(axis=1))  # most components keep what they have
        if len(hopeful):
            of = None if positions is None else positions.T[hopeful]
            self._merge(hopeful, signed[hopeful], np.broadcast_to(ids, (len(hopeful), len(ids))), of)

    def merge(self, other: TopK) -> None:
        """Take another collection over other samples of the same components into account."""
        self.take(other.values, other.ids, other.positions)

    def take(self, values: Floats, ids: Ints, positions: NDArray[np.int32] | None = None) -> None:
        """Take kept values [C, k'] with their ids (and positions), as another collection had them, into account."""
        self._merge(np.arange(len(self.ids)), values * self._sign, ids, positions)

    def _merge(self, rows: Ints, values: Floats, ids: Ints, positions: NDArray[np.int32] | None) -> None:
        k = self.ids.shape[1]
        candidates = np.concatenate([self._best[rows], values], axis=1)
        names = np.concatenate([self.ids[rows], ids], axis=1)
        if self._groups is not None:
            surplus = self._surplus(candidates, names)
            candidates, names = np.where(surplus, np.float32(-np.inf), candidates), np.where(surplus, EMPTY, names)
        order = np.lexsort((names, -candidates), axis=1)[:, :k]
        self._best[rows] = np.take_along_axis(candidates, order, axis=1)
        self.ids[rows] = np.take_along_axis(names, order, axis=1)
        if self.positions is not None and positions is not None:
            places = np.concatenate([self.positions[rows], positions], axis=1)
            self.positions[rows] = np.where(
                self.ids[rows] == EMPTY, np.int32(EMPTY), np.take_along_axis(places, order, axis=1)
            )

    def _surplus(self, candidates: Floats, names: Ints) -> NDArray[np.bool_]:
        """[R, M] candidates that better ones of their own group leave no place for."""
        if self._groups is None:
            return np.zeros(names.shape, dtype=bool)
        of = np.where(names == EMPTY, EMPTY, self._groups[names])
        order = np.lexsort((names, -candidates, of), axis=1)
        ordered = np.take_along_axis(of, order, axis=1)
        begins = np.ones(ordered.shape, dtype=bool)
        begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        places = np.arange(ordered.shape[1])
        rank = places - np.maximum.accumulate(np.where(begins, places, 0), axis=1)
        surplus = np.empty(of.shape, dtype=bool)
        np.put_along_axis(surplus, order, (rank >= self._most) & (ordered != EMPTY), axis=1)
        return surplus


@dataclass
class Spread:
    """Running minimum, maximum and mean of each component.

    Attributes
    ----------
    minimum, maximum, total : [C]; total in float64.
    """

    minimum: Floats
    maximum: Floats
    total: NDArray[np.float64]
    n: int = 0

    @classmethod
    def of(cls, components: int) -> Spread:
        """Start with nothing seen."""
        return cls(
            np.full(components, np.inf, np.float32), np.full(components, -np.inf, np.float32), np.zeros(components)
        )

    def update(self, values: Floats) -> None:
        """Take a batch [B, C] into account."""
        self.minimum = np.minimum(self.minimum, values.min(axis=0))
        self.maximum = np.maximum(self.maximum, values.max(axis=0))
        self.total += values.sum(axis=0, dtype=np.float64)
        self.n += len(values)

    def merge(self, other: Spread) -> None:
        """Take what was seen of other samples into account."""
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)
        self.total = self.total + other.total
        self.n += other.n

    @property
    def mean(self) -> Floats:
        """[C] float32."""
        return (self.total / max(self.n, 1)).astype(np.float32)

    @property
    def dead(self) -> NDArray[np.bool_]:
        """[C] whether activations do not vary: max - min <= 1e-6 * max(1, max|a|). Such a component is never scored."""
        largest = np.maximum(np.abs(self.minimum), np.abs(self.maximum))
        span = self.maximum.astype(np.float64) - self.minimum  # may not be a float32
        dead: NDArray[np.bool_] = span <= DEAD_TOLERANCE * np.maximum(1.0, largest)
        return dead


def evidence(values: Floats, ids: Ints, mean: Floats, *, sign: int, signed: bool) -> NDArray[np.int32]:
    """Count the examples that are evidence of what a component reacts to.

    Parameters
    ----------
    values : [C, k] activations (their own sign) of the component's examples; ids : [C, k], -1 = empty.
    mean : [C] mean activation over the dataset.
    sign : +1 or -1, the side of a signed component.
    signed : whether the layer takes both signs.

    Returns
    -------
    [C] int32. Unsigned layers count examples above 0, signed ones those strictly beyond the mean on their side.
    Examples are sorted, so the valid ones are the first.
    """
    valid = (values - mean[:, None]) * sign > 0 if signed else values > 0
    return (valid & (ids != EMPTY)).sum(axis=1).astype(np.int32)
