"""The one import of faiss: after torch, with one thread per online query, and with limits on what a file may claim."""

from __future__ import annotations

from functools import cache
from types import ModuleType

LOOP_LIMIT = 10**7
BYTE_LIMIT = 64 << 30


@cache
def faiss() -> ModuleType:
    """Import faiss once. torch comes first: both bring an OpenMP runtime, and this order is the tested one."""
    import torch  # noqa: F401

    # isort: split
    import faiss as library

    library.omp_set_num_threads(1)  # two threads on a busy host made a single query four times slower
    library.set_deserialization_loop_limit(LOOP_LIMIT)
    library.set_deserialization_vector_byte_limit(BYTE_LIMIT)
    return library
