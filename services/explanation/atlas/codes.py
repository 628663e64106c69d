"""Stored codes of an autoencoder: sparse rows, read as columns or as one dense matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from services.kit.arrays import facts_of, load_arrays


@dataclass(frozen=True)
class Codes:
    """Codes of all samples. columns : [N, m] sparse by column. held_out : [N] bool, rows not trained on."""

    columns: csc_matrix
    held_out: NDArray[np.bool_]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the `codes` artifact of a measured autoencoder."""
        arrays, shape = load_arrays(path), facts_of(path)["shape"]
        rows = csr_matrix((arrays["values"], arrays["latents"], arrays["starts"]), shape=tuple(shape))  # type: ignore[arg-type]
        return cls(rows.tocsc(), arrays["held_out"].astype(bool))

    def column(self, latent: int) -> NDArray[np.float32]:
        """Codes of one latent on all samples: [N] float32."""
        return self.columns[:, [latent]].toarray()[:, 0].astype(np.float32)

    def dense(self) -> NDArray[np.float32]:
        """All codes: [N, m] float32."""
        return self.columns.toarray().astype(np.float32)
