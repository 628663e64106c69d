"""The components of a snapshot that have a vector, all layers in one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.measure import OK
from services.explanation.opened import Opened

COLUMNS = {"clarity": "clarity", "clarity_z": "clarity_z", "polysemanticity": "share", "redundancy": "redundancy"}


@dataclass(frozen=True)
class Together:
    """Components in the order of layers, then rows.

    Attributes
    ----------
    vectors : [P, d] float32 unit rows.
    layer : [P] int32, place of the layer in the snapshot. row : [P] int64 in the layer's tables.
    index, sign : [P] int32. length : [P] float32, of the mean before it was made a unit vector. n_valid : [P] int64.
    figures : the metrics by name, [P] float32, NaN where undefined.
    """

    vectors: NDArray[np.float32]
    layer: NDArray[np.int32]
    row: NDArray[np.int64]
    index: NDArray[np.int32]
    sign: NDArray[np.int32]
    length: NDArray[np.float32]
    n_valid: NDArray[np.int64]
    figures: dict[str, NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.vectors)


def together(opened: Opened, layers: list[str] | None = None) -> Together:
    """Put the components with a vector into one table; `layers` in the order given, default all.

    Raises
    ------
    UnknownLayer
    """
    pieces: dict[str, list[np.ndarray]] = {}
    for name in opened.layer_names if layers is None else layers:
        number, tables = opened.layer_number(name), opened.tables(name)
        good = np.flatnonzero(tables.vectors["state"] == OK)
        columns = {
            "vectors": tables.vectors["unit"][good],
            "layer": np.full(len(good), number, np.int32),
            "row": good,
            "index": tables.examples["index"][good].astype(np.int32),
            "sign": tables.examples["sign"][good].astype(np.int32),
            "n_valid": tables.examples["n_valid"][good].astype(np.int64),
            "length": tables.vectors["length"][good],
            **{name: tables.vectors[column][good].astype(np.float32) for name, column in COLUMNS.items()},
        }
        for name_of, column in columns.items():
            pieces.setdefault(name_of, []).append(column)
    joined = {name: np.concatenate(column) for name, column in pieces.items()}
    figures = {name: joined.pop(name) for name in COLUMNS}
    return Together(**joined, figures=figures)
