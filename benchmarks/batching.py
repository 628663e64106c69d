"""Dynamic batching: 16 texts encoded by 16 callers at once, gathered, against one by one."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

from benchmarks.report import Report
from services.explanation.encoders.batched import OnlineEncoders
from services.explanation.encoders.registry import EncoderCache

CALLERS = 16
WORDS = (
    "dog",
    "cat",
    "car",
    "sea",
    "tree",
    "fur",
    "nose",
    "sky",
    "cup",
    "coin",
    "leaf",
    "lamp",
    "rock",
    "bird",
    "fish",
    "moon",
)


def main() -> int:
    """Exit with 1 if a goal is missed."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--full", action="store_true", help="the default")
    parser.add_argument("--encoder", default="imagenet-minilm")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # as `xsys serve` sets it: requests run side by side
    rounds = 5 if chosen.quick else 40
    cache = EncoderCache()
    single = cache.get(chosen.encoder)
    online = OnlineEncoders(cache.get).get(chosen.encoder)
    texts = [f"a photo of a {word}" for word in WORDS]
    alone = [single.encode_texts([text]) for text in texts]
    seconds: dict[str, list[float]] = {"one by one": [], "gathered": [], "one call": []}
    worst = 0.0
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda text: online.encode_texts([text]), texts))
        for _ in range(rounds):  # alternating, since the machine's speed drifts
            began = time.perf_counter()
            for text in texts:
                single.encode_texts([text])
            seconds["one by one"].append(time.perf_counter() - began)
            began = time.perf_counter()
            together = list(pool.map(lambda text: online.encode_texts([text]), texts))
            seconds["gathered"].append(time.perf_counter() - began)
            began = time.perf_counter()
            single.encode_texts(texts)
            seconds["one call"].append(time.perf_counter() - began)
            worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(alone, together, strict=True)))
    rate = {name: CALLERS / median(taken) for name, taken in seconds.items()}
    ratio = rate["gathered"] / rate["one by one"]
    report = Report()
    report.line(
        metric="batching.text_encodes", value=rate["gathered"], unit="texts/s", goal=">= 3 x one by one", ok=ratio >= 3,
        peer="one by one", peer_value=rate["one by one"], ratio=ratio, n=rounds * CALLERS,
    )  # fmt: skip
    report.line(
        metric="batching.ceiling", value=rate["one call"], unit="texts/s", goal="as measured", ok=True,
        peer="one by one", peer_value=rate["one by one"], ratio=rate["one call"] / rate["one by one"], n=rounds,
    )  # fmt: skip
    report.line(metric="batching.largest_difference", value=worst, unit="", goal="<= 1e-6", ok=worst <= 1e-6)
    size = sum(online.texts.batches) / len(online.texts.batches)
    report.line(metric="batching.mean_batch", value=size, unit="texts", n=len(online.texts.batches))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
