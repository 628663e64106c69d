"""Batches of activation rows in a seeded order, with a position that can be stored and gone on from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from contracts.errors import NonFiniteActivation
from contracts.sae import TooFewRows


@dataclass(frozen=True)
class Shard:
    """A matrix of activations that is read when its turn comes. rows : its length; read : -> [rows, d]."""

    rows: int
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Position:
    """Where a stream is: epoch, place in that epoch's order of shards, and row offset in the shuffled shard."""

    epoch: int = 0
    shard: int = 0
    row: int = 0


class Stream:
    """Endless batches; a row is seen once an epoch. What is left of a shard below one batch is dropped.

    Parameters
    ----------
    shards : activation matrices of equal width. batch : rows a step. seed : of the order of shards and rows.

    Raises
    ------
    TooFewRows : no shard has a whole batch. NonFiniteActivation : a row is NaN or infinite.
    """

    def __init__(self, shards: Sequence[Shard], *, batch: int, seed: int = 0, at: Position | None = None) -> None:
        self.shards, self.batch, self.seed = list(shards), batch, seed
        self.position = at or Position()
        largest = max((shard.rows for shard in self.shards), default=0)
        if largest < batch:
            raise TooFewRows(f"the largest shard has {largest} rows for a batch of {batch}", field="batch", n=largest)
        self._held: tuple[int, int, Tensor] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of one pass."""
        return sum(shard.rows // self.batch for shard in self.shards)

    def next(self) -> Tensor:
        """Return the next batch, [batch, d] float32, and move on."""
        at = self.position
        order = np.random.default_rng([self.seed, at.epoch]).permutation(len(self.shards))
        while self.shards[order[at.shard]].rows < at.row + self.batch:
            at = Position(at.epoch, at.shard + 1) if at.shard + 1 < len(order) else Position(at.epoch + 1)
            order = np.random.default_rng([self.seed, at.epoch]).permutation(len(self.shards))
        rows = self._rows(at.epoch, int(order[at.shard]))
        self.position = Position(at.epoch, at.shard, at.row + self.batch)
        return rows[at.row : at.row + self.batch]

    def _rows(self, epoch: int, shard: int) -> Tensor:
        """The shuffled rows of one shard; the last one used stays in memory."""
        if self._held is None or self._held[:2] != (epoch, shard):
            values = np.ascontiguousarray(self.shards[shard].read(), np.float32)
            finite = np.isfinite(values).all(axis=1)
            if not finite.all():
                row = int(np.flatnonzero(~finite)[0])
                raise NonFiniteActivation(f"row {row} of shard {shard} is not finite", field="x", window=row)
            order = np.random.default_rng([self.seed, epoch, shard]).permutation(len(values))
            self._held = (epoch, shard, torch.from_numpy(values[order]))
        return self._held[2]


def shards_of(matrix: np.ndarray, *, rows: int = 131_072) -> list[Shard]:
    """Cut a matrix in memory into shards of at most `rows`."""

    def cut(start: int) -> Shard:
        part = matrix[start : start + rows]
        return Shard(len(part), lambda: part)

    return [cut(start) for start in range(0, len(matrix), rows)]
