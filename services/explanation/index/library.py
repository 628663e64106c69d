"""The one import of faiss: after torch, one thread a search, and with limits on what a file may claim."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LOOP_LIMIT = 10**7
BYTE_LIMIT = 64 << 30


@cache
def faiss() -> ModuleType:
    """Import faiss once. torch comes first: both bring an OpenMP runtime, and this order is the tested one."""
    import torch  # noqa: F401

    # isort: split
    import faiss as library

    library.set_deserialization_loop_limit(LOOP_LIMIT)
    library.set_deserialization_vector_byte_limit(BYTE_LIMIT)
    return library


@contextmanager
def one_thread() -> Iterator[None]:
    """Let FAISS compute with one thread, and give the calling thread its number back.

    Two threads on a busy host made a single query four times slower. torch shares the OpenMP runtime: a number left
    behind would change the last bits of whatever this thread computes next.
    """
    library = faiss()
    before = library.omp_get_max_threads()
    library.omp_set_num_threads(1)
    try:
        yield
    finally:
        library.omp_set_num_threads(before)


def searched(index: Any, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    """Values and rows of an index's k best for each query [Q, d]: [Q, k] each, -1 where there are fewer. One thread."""
    with one_thread():
        values, rows = index.search(np.ascontiguousarray(queries, np.float32), k)
    return values, rows


def exact_nearest(
    rows: Floats, queries: Floats, k: int, *, metric: str, block: int = 4096
) -> tuple[Floats, NDArray[np.int64]]:
    """The k best of rows [n, d] for each query [Q, d], by trying all: values and numbers, [Q, k] each.

    Offline work: as many threads as torch has in the calling thread.

    Parameters
    ----------
    metric : `inner` product, largest first, or `squared` Euclidean distance, smallest first.
    block : queries at once.
    """
    index = (faiss().IndexFlatIP if metric == "inner" else faiss().IndexFlatL2)(rows.shape[1])
    index.add(np.ascontiguousarray(rows, np.float32))
    found = [
        index.search(np.ascontiguousarray(queries[start : start + block], np.float32), k)
        for start in range(0, len(queries), block)
    ]
    if not found:
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
    values, numbers = zip(*found, strict=True)
    return np.concatenate(values), np.concatenate(numbers)
