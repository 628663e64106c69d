"""An index generation as it is searched: the index, its rows, and which component each row is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CorruptArtifact
from services.explanation.index.builder import EXTRA, read_index
from services.explanation.index.library import searched
from services.kit.arrays import load_arrays

Floats = NDArray[np.float32]
ROUNDING = 1e-4  # more than fp16 rows and float32 sums change a cosine
CHUNK = 4096


@dataclass(frozen=True)
class Filters:
    """What hits have to fulfil; None means anything."""

    layers: frozenset[int] | None = None
    min_clarity: float | None = None
    without: int | None = None

    @property
    def narrow(self) -> bool:
        """Whether more than a few rows may be filtered out."""
        return self.layers is not None or self.min_clarity is not None


class Generation:
    """An opened, immutable index generation. Searches may run in parallel.

    Attributes
    ----------
    rows : [P, d] float32 unit rows, one per prototype, in component order.
    columns : [P] each. layer, row, prototype: what each row is; component: numbered over all layers; size: number of
        examples; clarity; {text,image}_{median,spread}: for z against unrelated queries.

    Raises
    ------
    CorruptArtifact : index and rows are not of one build.
    """

    def __init__(self, index_path: Path, rows_path: Path, *, kind: str, nprobe: int | None) -> None:
        arrays = load_arrays(rows_path)
        self.rows: Floats = arrays.pop("rows")
        self.columns = arrays
        self.kind = kind
        self._index: Any = read_index(index_path)
        if (self._index.ntotal, self._index.d) != self.rows.shape:
            raise CorruptArtifact(f"the index holds {self._index.ntotal} rows, the table {len(self.rows)}")
        if nprobe is not None:
            self._index.nprobe = nprobe

    def __len__(self) -> int:
        return len(self.rows)

    def nearest(self, query: Floats, k: int, filters: Filters) -> tuple[NDArray[np.int64], Floats]:
        """The k components nearest to a query, best first, ties in component order.

        A component's score is the largest of its prototypes'. The index proposes and the float32 rows decide; where
        layers or clarity are filtered, all matching rows are scored.

        Parameters
        ----------
        query : [d] float32 unit vector.

        Returns
        -------
        (row numbers [<= k], scores [<= k] float32).
        """
        if filters.narrow or 2 * k + EXTRA >= len(self):
            rows = np.flatnonzero(self._matching(filters))
            return self._best(query, rows, self._scores(query, rows), k)
        asked, wanted = np.ascontiguousarray(query[None], dtype=np.float32), 2 * k + EXTRA
        while True:
            near, found = searched(self._index, asked, wanted)
            there = found[0] >= 0
            rows = np.sort(found[0][there])
            if filters.without is not None:
                rows = rows[self.columns["component"][rows] != filters.without]
            hits, scores = self._best(query, rows, self._scores(query, rows), k)
            beaten = len(hits) == k and scores[-1] > near[0][there][-1] + ROUNDING  # nothing left out can be a tie
            if beaten or wanted == len(self) or not there.all():
                return hits, scores
            wanted = min(2 * wanted, len(self))

    def _matching(self, filters: Filters) -> NDArray[np.bool_]:
        mask = np.ones(len(self), dtype=bool)
        if filters.layers is not None:
            mask &= np.isin(self.columns["layer"], list(filters.layers))
        if filters.min_clarity is not None:
            mask &= self.columns["clarity"] >= filters.min_clarity
        if filters.without is not None:
            mask &= self.columns["component"] != filters.without
        return mask

    def _scores(self, query: Floats, rows: NDArray[np.int64]) -> Floats:
        """Scores of ascending rows; a layer's rows lie together, and then nothing is copied."""
        if not len(rows):
            return np.zeros(0, np.float32)
        low, high = int(rows[0]), int(rows[-1]) + 1
        if 4 * len(rows) > high - low:
            together: Floats = (self.rows[low:high] @ query)[rows - low]
            return together
        apart: Floats = self.rows[rows] @ query
        return apart

    def _best(self, query: Floats, rows: NDArray[np.int64], scores: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Best row of each component; rows come in component order, so a stable sort breaks ties by component.

        BLAS rounds equal rows differently in different places, which would break ties by chance: the candidates are
        scored again in float64 and rounded once.
        """
        if len(rows) > 8 * k:
            last = len(scores) - 4 * k  # 3 prototypes at most share a component
            kept = scores >= np.partition(scores, last)[last] - ROUNDING
            rows = rows[kept]
        exact = self._exact(query, rows)
        order = np.argsort(-exact, kind="stable")
        _, first = np.unique(self.columns["component"][rows[order]], return_index=True)
        chosen = order[np.sort(first)[:k]]
        return rows[chosen], exact[chosen]

    def _exact(self, query: Floats, rows: NDArray[np.int64]) -> Floats:
        wide, scores = query.astype(np.float64), np.empty(len(rows), np.float32)
        for start in range(0, len(rows), CHUNK):
            block = self.rows[rows[start : start + CHUNK]].astype(np.float64)
            scores[start : start + CHUNK] = np.einsum("pd,d->p", block, wide)
        return scores
