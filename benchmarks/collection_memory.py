"""Memory of the activation stage above the loaded model, each dataset size in a process of its own."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.report import Report

LIMIT = 1.5 * 2**30
FLAT = 0.05
SHARD = 64
STATM = Path("/proc/self/statm")
PAGE = 4096


def resident() -> int:
    """Bytes that this process has in memory."""
    return int(STATM.read_text().split()[1]) * PAGE


class Watch:
    """The largest resident size while the block ran, looked at every 2 ms."""

    def __enter__(self) -> Watch:
        self.begun = self.peak = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.002):
            self.peak = max(self.peak, resident())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def dataset(blobs, count: int) -> str:
    """Store crops and their manifest; sha256 of the manifest."""
    from benchmarks.collection import crops
    from contracts.data import Sample
    from services.kit.pictures import Entry, Place, decode_picture, write_manifest

    pictures = list(crops(count))
    pack, entries, offset = blobs.put(b"".join(pictures)), [], 0
    for index, data in enumerate(pictures):
        width, height = decode_picture(data).size
        place = Place(pack, offset, len(data))
        sample = Sample(
            index=index, name=f"{index}.png", sha256=hashlib.sha256(data).hexdigest(), width=width, height=height
        )
        entries.append(Entry(sample, place, place))
        offset += len(data)
    path = blobs.temporary("manifest")
    write_manifest(path, entries)
    return blobs.keep(path)


def run(count: int, home: Path) -> int:
    """Run the stage over all shards of a dataset; peak bytes above the loaded model."""
    from safetensors.torch import save_file

    from benchmarks.collection import NAME, subject
    from contracts.model import ModelRef, Precision
    from services.kit.blobs import Blobs
    from services.kit.db import Database
    from services.kit.keys import sha256_of
    from services.kit.settings import Settings
    from services.kit.stages import Work
    from services.model.service import Models
    from services.model.stages import collect_activations

    blobs = Blobs(home / "blobs")
    manifest = dataset(blobs, count)
    model = subject()
    path = blobs.temporary("weights")
    save_file({name: part.contiguous().clone() for name, part in model.model.state_dict().items()}, path)
    ref = ModelRef(
        id="m_bench", name="bench", architecture=NAME, weights_sha256=blobs.keep(path),
        preprocessing=model.built.preprocessing, preprocess_sha256="0" * 64, model_sha256=sha256_of("bench"),
    )  # fmt: skip
    layers = [layer.model_dump(mode="json") for layer in model.layers]
    names = frozenset(layer.name for layer in model.layers)
    del model
    models = Models(Database(f"sqlite:///{home}/x.sqlite"), blobs, Settings(home=home))
    with models.loaded(ref, Precision.FP32), Watch() as watch:
        for start in range(0, count, SHARD):
            spec = {
                "model": ref.model_dump(mode="json"), "layers": layers, "precision": "fp32", "batch": 32,
                "start": start, "stop": min(start + SHARD, count),
            }  # fmt: skip
            collect_activations(Work("w", spec, {"manifest": manifest}, names, blobs, lambda units: None), models)
    return watch.peak - watch.begun


def peak(count: int) -> int:
    """Peak bytes of one run over `count` pictures, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.collection_memory", str(count)]
    return int(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def measure_memory(report: Report, sizes: Sequence[int], runs: int) -> None:
    """Report the median peak of each size and how far apart they are; a single run's peak moves by 10 % by itself."""
    peaks = []
    for count in sizes:
        found = sorted(peak(count) for _ in range(runs))
        peaks.append(statistics.median(found))
        report.line(
            metric="peak memory of the activation stage above the loaded model", value=peaks[-1], unit="B",
            goal=f"<= {LIMIT:.0f}", ok=found[-1] <= LIMIT, n=count, interval=(found[0], found[-1]),
        )  # fmt: skip
    growth = peaks[-1] / peaks[0] - 1
    judged = runs >= 3
    report.line(
        metric=f"its growth from {sizes[0]} to {sizes[-1]} pictures", value=growth, unit="share",
        goal=f"<= {FLAT}" if judged else None, ok=growth <= FLAT if judged else None, n=runs,
    )  # fmt: skip


def main() -> int:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as home:
        print(run(int(sys.argv[1]), Path(home)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
