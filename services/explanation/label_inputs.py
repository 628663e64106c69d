"""What labelling reads of a snapshot's artifacts."""

from __future__ import annotations

import numpy as np

from services.explanation.collect import BLOCK
from services.explanation.labels.splits import Split
from services.explanation.measure import FEWEST_EXAMPLES, OK
from services.kit.arrays import load_arrays
from services.kit.stages import Work

Arrays = dict[str, np.ndarray]


def columns_of(work: Work, table: Arrays, rows: slice = slice(None)) -> np.ndarray:
    """Activations of some rows of the table of examples, each in its own direction (sign · a): [N, C] float32.

    Only the blocks of columns that hold them are read.
    """
    index, sign = table["index"][rows], table["sign"][rows]
    blocks = np.unique(index // BLOCK)
    kept = load_arrays(work.path("columns"), [f"block_{block:05d}" for block in blocks])
    columns = np.concatenate([kept[name] for name in sorted(kept)], axis=1)
    place = np.searchsorted(blocks, index // BLOCK) * BLOCK + index % BLOCK  # only the last block is narrower
    return columns[:, place].astype(np.float32) * sign.astype(np.float32)


def evidence_in(activations: np.ndarray, split: Split, state: np.ndarray, *, signed: bool) -> np.ndarray:
    """[C] how many probing samples are evidence; 0 for components without enough of it."""
    base = activations.mean(axis=0) if signed else np.zeros(activations.shape[1], np.float32)
    found = (activations[split.probe] > base).sum(axis=0)
    return np.where((state == OK) & (found >= FEWEST_EXAMPLES), found, 0).astype(np.int64)
