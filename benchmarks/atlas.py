"""Atlas-Alignment on constructed data, and the speed of a training step of a sparse autoencoder."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch

from benchmarks.report import Report
from services.explanation.atlas.scores import auroc, average_precision
from services.explanation.atlas.statistics import collect
from services.explanation.atlas.translators import fitted, lens
from services.explanation.atlas.writing import covariance_directions, difference_of_means, write_directions
from services.model.sae.stream import Stream, shards_of
from services.model.sae.training import Recipe, begin

TOKENS, RATE, WIDTH = 16, 0.02, 64


def constructed(n: int, concepts: int, pool: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pooled subject activations [n, WIDTH], codes of the half that the atlas knows, and the true write directions."""
    draw = np.random.default_rng(seed)
    true = draw.normal(size=(concepts, WIDTH))
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    codes = np.zeros((n, TOKENS, concepts), np.float32)
    fired = draw.random(codes.shape) < RATE / TOKENS * 2
    codes[fired] = draw.uniform(0.5, 2, int(fired.sum()))
    tokens = codes @ true.astype(np.float32) + 0.05 * draw.normal(size=(n, TOKENS, WIDTH)).astype(np.float32)
    x = tokens.max(axis=1) if pool == "max" else tokens.mean(axis=1)
    known = concepts // 2
    return x, codes[:, :, :known].max(axis=1), true[:known]


def translators(report: Report, *, n: int, concepts: int, pool: str) -> None:
    """AUROC and AP of each map on fresh windows, and cosines of directions with the planted ones."""
    x, c, true = constructed(n + 1000, concepts, pool, 0)
    training, test = slice(0, n), slice(n, None)
    stats = collect(x[training], c[training])
    y = c[test] > 0
    made = [*fitted(stats, ["cov", "op", "op_ctr", "ridge"]), lens(x[training], c[training])]
    reached = {}
    for one in made:
        scores = one.read(x[test])
        reached[one.name] = float(np.nanmean(auroc(scores, y)))
        ap = float(np.nanmean(average_precision(scores, y)))
        report.line(
            metric=f"{pool}-pooled, N={n}: AUROC of {one.name}", value=reached[one.name], unit="1", n=c.shape[1]
        )
        report.line(metric=f"{pool}-pooled, N={n}: AP of {one.name}", value=ap, unit="1", n=c.shape[1])
    worst = min(reached, key=lambda name: reached[name])
    report.line(
        metric=f"{pool}-pooled, N={n}: lens reads worst",
        value=reached["lens"],
        unit="1",
        goal="last",
        ok=worst == "lens",
    )

    def cosine(rows: np.ndarray) -> float:
        return float(np.mean((rows * true).sum(axis=1) / np.maximum(np.linalg.norm(rows, axis=1), 1e-12)))

    latents = range(c.shape[1])
    written, plain = cosine(write_directions(stats, latents)), cosine(covariance_directions(stats, latents))
    means = cosine(np.stack([difference_of_means(x[training], c[training][:, j] > 0) for j in latents]))
    report.line(
        metric=f"{pool}-pooled, N={n}: cosine of the write map", value=written, unit="1", peer="difference of means",
        peer_value=means, goal="above it", ok=written > means,
    )  # fmt: skip
    report.line(metric=f"{pool}-pooled, N={n}: cosine of the covariance map", value=plain, unit="1")


def speed(report: Report, *, width: int, latents: int, batch: int, steps: int) -> None:
    """Rows a CPU second of the whole step beside that of a plain one's five dense products, in turns, one thread."""
    torch.set_num_threads(1)
    rows = np.random.default_rng(0).normal(size=(4 * batch, width)).astype(np.float32)
    stream = Stream(shards_of(rows), batch=batch)
    trainer = begin(stream, Recipe(latents=latents, k=32, batch=batch, steps=10_000))
    x, encoder = torch.from_numpy(rows[:batch]), torch.randn(latents, width)
    z = x @ encoder.T
    ours, bare = [], []
    for _ in range(steps):
        start = time.process_time()
        trainer.train(stream.next())
        ours.append(time.process_time() - start)
        start = time.process_time()
        x @ encoder.T
        for _ in range(2):
            z @ encoder
        for _ in range(2):
            z.T @ x
        bare.append(time.process_time() - start)
    mine, theirs = batch / float(np.median(ours)), batch / float(np.median(bare))
    report.line(
        metric=f"SAE training, d={width}, m={latents}, k=32", value=mine, unit="rows/CPU s", n=steps,
        ratio=mine / theirs, peer="five dense products of a plain step", peer_value=theirs,
        goal=">= 0.8x", ok=mine >= 0.8 * theirs,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    report = Report()
    for pool in ("max", "mean"):
        for n in (1000,) if quick else (1000, 6000):
            translators(report, n=n, concepts=128 if quick else 512, pool=pool)
    speed(report, width=576, latents=2048 if quick else 4096, batch=512 if quick else 1024, steps=5 if quick else 20)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
