"""A build of 10 million samples x 20,000 components: planned, and its spans merged with memory that stays flat.

The spans' files are synthetic: the largest of 131,072 exponential draws are drawn as order statistics, so that a span's
file is what the stage would have written, without 2.6 billion activations. The merge is the stage's own code. A sort of
everything that the files hold says whether it is exact.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.collection_memory import Watch
from benchmarks.report import Report
from contracts.data import Dataset, DatasetRef
from contracts.model import Layer, LayerKind, Model, ModelRef, Preprocessing
from contracts.snapshots import Encoder, SnapshotRequest
from orchestration.pipelines.snapshot import LOWEST, SPAN, SnapshotPlanner
from services.explanation.partials import Collection
from services.kit.arrays import load_arrays, load_rows, save_arrays
from services.kit.stages import JobPlan, StageFunction, StageRegistry

SHARD, K = 4096, 30
STAGES = ("activations", "partials", "examples", "embeddings", "nulls", "vectors", "index", "publish")
HASH = "0" * 64
FLAT = 1.05
CHECKED = 500


def layer_of(width: int) -> Layer:
    """A layer of so many channels."""
    return Layer(name="wide", kind=LayerKind.MAP, module="Conv2d", width=width, signed=False, pooling="max")


def plan(samples: int, width: int) -> JobPlan:
    """The snapshot's plan, without any data."""
    half, now = (0.5, 0.5, 0.5), datetime(2026, 1, 1, tzinfo=UTC)
    model = ModelRef(
        id="m_1", name="net", architecture="timm:x", weights_sha256=HASH, preprocess_sha256=HASH, model_sha256=HASH,
        preprocessing=Preprocessing(resize=8, crop=8, mean=half, std=half),
    )  # fmt: skip
    dataset = DatasetRef(id="d_1", name="pets", content_sha256=HASH, order_sha256=HASH, n=samples)
    return SnapshotPlanner(
        SnapshotRequest(model="net", dataset="pets", layers=["wide"], shard=SHARD, k=K),
        model=Model(ref=model, layers=[layer_of(width)], parameters=1, lineage=HASH, created_at=now),
        dataset=Dataset(
            ref=dataset, source="folder", labels=[], n_captions=0, n_groups=0, n_duplicates=0, n_rejected=0,
            lineage=HASH, created_at=now,
        ),
        encoder=Encoder(name="e", fingerprint=HASH, width=5, text=True, null="template", note=""),
        registry=StageRegistry(tuple(StageFunction(name, 1, lambda work: None) for name in STAGES)),
        numerics={"threads": 2},
    ).plan()  # fmt: skip


def span_file(path: Path, generator: np.random.Generator, start: int, n: int, width: int) -> None:
    """What the stage writes for a span of `n` samples: order statistics by Renyi's representation, distinct ids."""
    steps = generator.standard_exponential((width, K), dtype=np.float32) / np.arange(n, n - K, -1, dtype=np.float32)
    lowest = np.cumsum(steps[:, :LOWEST], axis=1, dtype=np.float32)
    gaps = generator.standard_exponential((width, K), dtype=np.float32) / np.arange(1, K + 1, dtype=np.float32)
    top = np.float32(math.log(n)) + np.cumsum(gaps[:, ::-1], axis=1, dtype=np.float32)[:, ::-1]  # largest first
    ids = start + (generator.integers(n, size=(width, 1)) + 7919 * np.arange(K + LOWEST)) % n
    arrays = {
        "top/0": top, "top_ids/0": ids[:, :K], "bottom/0": lowest, "bottom_ids/0": ids[:, K:],
        "minimum": lowest[:, 0], "maximum": top[:, 0], "total": generator.normal(n, n**0.5, width),
        "n": np.array([n], np.int64),
    }  # fmt: skip
    save_arrays(path, arrays)


def exact(files: list[Path], collection: Collection, components: np.ndarray) -> bool:
    """Whether the merged examples are those of a float64 sort of everything that the files hold."""
    top = collection.sides[0].top
    for component in components.tolist():
        values = np.concatenate([load_rows(path, "top/0", component, component + 1)[0] for path in files]).astype(
            np.float64
        )
        ids = np.concatenate([load_rows(path, "top_ids/0", component, component + 1)[0] for path in files])
        order = np.lexsort((ids, -values))[:K]
        if not (
            np.array_equal(ids[order], top.ids[component]) and np.array_equal(values[order], top.values[component])
        ):
            return False
    return True


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 components")
    parser.add_argument("--full", action="store_true", help="the default: 20,000 components")
    chosen = parser.parse_args()
    samples, width = 10_000_000, 2_000 if chosen.quick else 20_000
    report = Report()
    began = time.perf_counter()
    with Watch() as watch:
        stages = {stage.stage: stage for stage in plan(samples, width).stages}
    spans = stages["partials"].parts
    report.line(metric="scale_out.planning", value=time.perf_counter() - began, unit="s", n=sum(
        len(stage.parts) for stage in stages.values()))  # fmt: skip
    report.line(metric="scale_out.planning_memory", value=(watch.peak - watch.begun) / 2**20, unit="MiB")
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        files = []
        for part in spans:
            files.append(Path(folder) / f"{len(files):05d}")
            start = int(part.spec["start"])  # type: ignore[arg-type]
            span_file(files[-1], generator, start, min(SPAN * SHARD, samples - start), width)
        merge(report, files, width, samples, generator)
    return report.exit_code


def merge(report: Report, files: list[Path], width: int, samples: int, generator: np.random.Generator) -> None:
    """Merge all files, look at the memory in the first tenth and in the last, and check the result."""
    collection = Collection.begin(layer_of(width), K, LOWEST, placed=False, groups=None, most=None)
    peaks, began = [], time.perf_counter()
    collection.merge(load_arrays(files[0]))  # what the first merge allocates is there from now on
    for path in files[1:]:
        with Watch() as watch:
            collection.merge(load_arrays(path))
        peaks.append(watch.peak)
    seconds = time.perf_counter() - began
    tenth = max(len(peaks) // 10, 1)
    growth = max(peaks[-tenth:]) / max(peaks[:tenth])
    report.line(metric="scale_out.merge", value=seconds, unit="s", n=len(files))
    report.line(metric="scale_out.merge_peak", value=max(peaks) / 2**20, unit="MiB", n=len(files))
    report.line(
        metric="scale_out.merge_growth", value=growth, unit="x", goal=f"<= {FLAT}", ok=growth <= FLAT, n=len(files)
    )
    whole = collection.spread.n == samples and exact(files, collection, generator.integers(width, size=CHECKED))
    report.line(
        metric="scale_out.exact", value=float(whole), unit="1", goal="as a sort of everything", ok=whole, n=CHECKED
    )
    backwards = Collection.begin(layer_of(width), K, LOWEST, placed=False, groups=None, most=None)
    for path in reversed(files):
        backwards.merge(load_arrays(path))
    same = all(np.array_equal(a, b) for a, b in zip(
        collection.arrays().values(), backwards.arrays().values(), strict=True) if a.dtype != np.float64)  # fmt: skip
    report.line(metric="scale_out.any_order", value=float(same), unit="1", goal="equal examples backwards", ok=same)


if __name__ == "__main__":
    sys.exit(main())
