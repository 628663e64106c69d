"""Building an index: exact up to 50,000 rows, fp16 to a million, inverted lists above; recall is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.explanation.index.library import faiss, one_thread, searched

Floats = NDArray[np.float32]
EXACT_UP_TO = 50_000
FP16_UP_TO = 1_000_000
TOP = 20
RECALL_GATE = 0.99
EXTRA = 32
QUERIES = 32
PROBES = (8, 16, 32, 64, 128, 256, 512)


def kind_for(n: int) -> str:
    """Kind of index by number of rows."""
    if n <= EXACT_UP_TO:
        return "flat"
    return "fp16" if n <= FP16_UP_TO else "ivf-fp16"


def build_index(rows: Floats, *, kind: str | None = None) -> Any:
    """Build an inner-product index over unit rows [n, d] float32. Deterministic."""
    library = faiss()
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    n, d = rows.shape
    chosen = kind or kind_for(n)
    with one_thread():
        if chosen == "flat":
            index = library.IndexFlatIP(d)
        elif chosen == "fp16":
            index = library.IndexScalarQuantizer(d, library.ScalarQuantizer.QT_fp16, library.METRIC_INNER_PRODUCT)
            index.train(rows[: min(n, 10_000)])
        else:
            lists = int(4 * np.sqrt(n))
            index = library.index_factory(d, f"IVF{lists},SQfp16", library.METRIC_INNER_PRODUCT)
            index.train(rows[:: max(1, n // (64 * lists))])
        index.add(rows)
    return index


def recall(index: Any, rows: Floats, queries: Floats, *, k: int = TOP) -> float:
    """Share of the exact k best that a search of k + 32, re-scored from the float32 rows, finds.

    Rows whose exact score equals the k-th best count as found whichever of them was returned.
    """
    k = min(k, len(rows))
    hits = 0
    for start in range(0, len(queries), QUERIES):  # all scores of all queries would not fit at a million rows
        asked = np.ascontiguousarray(queries[start : start + QUERIES], dtype=np.float32)
        exact = asked @ rows.T
        kth = np.partition(exact, len(rows) - k, axis=1)[:, len(rows) - k]
        _, found = searched(index, asked, min(k + EXTRA, len(rows)))
        for query, ids in enumerate(found):
            scores = np.sort(exact[query, ids[ids >= 0]])[::-1][:k]
            hits += int((scores >= kth[query] - 1e-6).sum())
    return hits / (k * len(queries))


def tuned(index: Any, rows: Floats, queries: dict[str, Floats]) -> tuple[dict[str, float], int | None]:
    """Measure recall@20 for each kind of query; raise `nprobe` of inverted lists until the gate is passed.

    Returns
    -------
    (recall by kind, nprobe or None); no queries, no recall. A result below the gate tells the caller to fall back
    to an exact index.
    """
    if not hasattr(index, "nprobe"):
        return {kind: recall(index, rows, asked) for kind, asked in queries.items()}, None
    measured: dict[str, float] = {}
    for probes in PROBES:
        index.nprobe = probes
        measured = {kind: recall(index, rows, asked) for kind, asked in queries.items()}
        if min(measured.values()) >= RECALL_GATE:
            break
    return measured, int(index.nprobe)


def build_with_gate(rows: Floats, queries: dict[str, Floats]) -> tuple[Any, str, dict[str, float], int | None]:
    """Build the index for a size, and an exact one instead if the recall gate is not passed.

    Returns
    -------
    (index, kind, recall@20 by kind of query, nprobe or None).
    """
    kind = kind_for(len(rows))
    index = build_index(rows, kind=kind)
    measured, probes = tuned(index, rows, queries)
    if kind == "ivf-fp16" and min(measured.values()) < RECALL_GATE:
        kind, index = "fp16", build_index(rows, kind="fp16")
        measured, probes = tuned(index, rows, queries)
    return index, kind, measured, probes


def write_index(index: Any, path: Path) -> None:
    """Write an index to a file."""
    from services.kit.blobs import storage_full_is_typed

    data = faiss().serialize_index(index)
    with storage_full_is_typed():
        path.write_bytes(data.tobytes())


def read_index(path: Path) -> Any:
    """Open an index memory-mapped. Only files whose hash was checked are opened: a flipped byte loads silently."""
    library = faiss()
    return library.read_index(str(path), library.IO_FLAG_MMAP_IFC)
