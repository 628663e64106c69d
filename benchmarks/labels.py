"""Label scorers on constructed data with a confounded context, shared mining beside masked products, throughput."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Report
from services.explanation.labels.cache import NeighbourCache, masked_products, mine_negatives
from services.explanation.labels.information import rank_by_information
from services.explanation.labels.intervals import paired_difference
from services.explanation.labels.ranking import rank_by_product
from services.explanation.labels.scorers import Probe, rank_names, scorer_named

Floats = np.ndarray
D, SAMPLES, NAMES, NEURONS = 512, 20_000, 3_000, 300
FIRST_CONTEXT, LAST_CONTEXT = 300, 500
SCORERS = (
    "mean", "weighted_mean", "centred_mean", "wpmi", "softwpmi", "csp:gamma=0.25", "csp:gamma=0.5", "csp:gamma=0.75",
    "csp", "csp:unit=true", "csp:negatives=random", "mean_diff", "mean_diff:negatives=random", "orthogonal", "subspace",
    "subspace:k=3", "subspace:k=10", "lda",
)  # fmt: skip
QUICK_SCORERS = ("mean", "softwpmi", "csp", "csp:negatives=random", "mean_diff")
GOALS: dict[tuple[str, float], tuple[str, Callable[[float], bool]]] = {
    **{("csp", c): (">= 85 %", lambda x: x >= 85) for c in (1.5, 2.0)},
    **{("mean", c): ("<= 5 %", lambda x: x <= 5) for c in (1.5, 2.0)},
    ("softwpmi", 1.5): (">= 65 %", lambda x: x >= 65),
    ("softwpmi", 2.0): (">= 60 %", lambda x: x >= 60),
}


def unit(rows: Floats) -> Floats:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class World:
    """Samples, activations and texts of one draw; neuron c reacts to name c."""

    embeddings: Floats
    activations: Floats
    texts: Floats


def confounded(strength: float, seed: int) -> World:
    """Each target has a fixed partner that is in the picture with probability 0.9, `strength` times as visible."""
    draw = np.random.default_rng(seed)
    words = unit(draw.normal(size=(NAMES, D)))
    mean_text, mean_image = unit(draw.normal(size=(2, D)))
    partner = draw.integers(FIRST_CONTEXT, LAST_CONTEXT, NEURONS)
    target = draw.integers(0, NEURONS, SAMPLES)
    other = draw.integers(FIRST_CONTEXT, NAMES, SAMPLES)
    context = np.where(draw.random(SAMPLES) < 0.9, partner[target], other)
    rows = words[target] + np.float32(strength) * words[context] + 2 * mean_image
    for _ in range(2):
        rows += 0.5 * words[draw.integers(0, NAMES, SAMPLES)]
    rows += 0.9 * draw.normal(size=(SAMPLES, D)).astype(np.float32) / np.float32(np.sqrt(D))
    activations = 0.3 * draw.normal(size=(SAMPLES, NEURONS)).astype(np.float32)
    activations[np.arange(SAMPLES), target] += 3
    return World(unit(rows), np.maximum(activations, 0), unit(words + 1.5 * mean_text))


def mechanisms(report: Report, *, strengths: tuple[float, ...], seeds: int, scorers: tuple[str, ...]) -> None:
    """Share of neurons whose first name is right, and what CSP gains over the plain mean on the same neurons."""
    for strength in strengths:
        right: dict[str, list[Floats]] = {name: [] for name in scorers}
        for seed in range(seeds):
            world = confounded(strength, seed)
            probe = Probe(
                world.embeddings, world.activations, np.full(NEURONS, 100), 30, world.texts, world.texts, seed=seed
            )
            for name in scorers:
                right[name].append(rank_names(scorer_named(name), probe).index[:, 0] == np.arange(NEURONS))
        for name, found in right.items():
            value = 100 * float(np.mean(found))
            goal, met = GOALS.get((name, strength), (None, None))
            report.line(
                metric=f"right names, context {strength:g}: {name}", value=value, unit="%", goal=goal,
                ok=None if met is None else met(value), n=NEURONS * seeds,
            )  # fmt: skip
        gain = paired_difference(*(100.0 * np.concatenate(right[name]) for name in ("csp", "mean")))
        if gain is not None:
            report.line(
                metric=f"right names, context {strength:g}: CSP less mean, paired", value=gain.value, unit="points",
                goal="interval above 0" if strength >= 1.5 else None, ok=gain.low > 0 if strength >= 1.5 else None,
                n=gain.n, interval=(gain.low, gain.high),
            )  # fmt: skip


def mining(report: Report, *, samples: int, components: int, timed: int) -> None:
    """The shared cache beside a masked product for each component, on correlated activations."""
    draw = np.random.default_rng(0)
    embeddings = unit(draw.normal(size=(samples, 64)) @ draw.normal(size=(64, D)) + draw.normal(size=(samples, D)))
    activations = embeddings @ unit(draw.normal(size=(components, D))).T
    thresholds = activations.mean(axis=0)
    positives = np.argpartition(-activations, 30, axis=0)[:30].T.astype(np.int64)
    begun = time.perf_counter()
    cache = NeighbourCache.build(embeddings, positives, k=1024 if samples >= 50_000 else 256)
    built = time.perf_counter() - begun
    begun = time.perf_counter()
    mined = mine_negatives(cache, embeddings, positives, activations, thresholds)
    walked = time.perf_counter() - begun
    begun = time.perf_counter()
    expected = [masked_products(embeddings, positives[c], activations[:, c] < thresholds[c]) for c in range(timed)]
    peer = (time.perf_counter() - begun) * components / timed
    wrong = sum(int((a != b).sum()) for a, b in zip(mined.ids[:timed], expected, strict=True))
    size, scaled = f"{components} x 30 positives, {samples:,} samples", f"masked products ({timed} timed, scaled)"
    for what, ours, factor in (("with the build", built + walked, 3), ("on an existing cache", walked, 50)):
        report.line(
            metric=f"mining {size}, {what}", value=ours, unit="s", goal=f">= {factor}x", ok=peer / ours >= factor,
            peer=scaled, peer_value=peer, ratio=peer / ours, n=components,
        )  # fmt: skip
    report.line(
        metric="pairs that differ from masked products", value=float(wrong), unit="1", goal="0", ok=wrong == 0,
        n=30 * timed,
    )  # fmt: skip


def throughput(report: Report, *, components: int, informed: int, samples: int, names: int = 21_841) -> None:
    """Components labelled per second: scores and the five best of all names."""
    draw = np.random.default_rng(0)
    vectors, texts = unit(draw.normal(size=(components, D))), unit(draw.normal(size=(names, D)))
    embeddings = unit(draw.normal(size=(samples, D)))
    begun = time.perf_counter()
    rank_by_product(vectors, texts)
    rate = components / (time.perf_counter() - begun)
    report.line(
        metric=f"mean-type scorers, {components:,} x {names:,} names", value=rate, unit="components/s", goal=">= 500",
        ok=rate >= 500, n=components,
    )  # fmt: skip
    best = draw.integers(0, samples, (informed, 100))
    rank_by_information(embeddings, best[:2], texts[:2])  # compiles its loop
    begun = time.perf_counter()
    rank_by_information(embeddings, best, texts)
    rate = informed / (time.perf_counter() - begun)
    report.line(
        metric=f"softWPMI, {informed:,} x {names:,} names x {samples:,} samples", value=rate, unit="components/s",
        goal=">= 400", ok=rate >= 400, n=informed,
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report.line(metric="peak memory of this run", value=peak, unit="GiB", goal="<= 4", ok=peak <= 4)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labels", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    quick, report = parser.parse_args().quick, Report()
    mining(report, samples=50_000, components=2048, timed=8 if quick else 128)
    throughput(
        report, components=1000 if quick else 10_000, informed=1000 if quick else 10_000,
        samples=5000 if quick else 50_000,
    )  # fmt: skip
    strengths = (1.5,) if quick else (0.5, 1.0, 1.5, 2.0)
    mechanisms(report, strengths=strengths, seeds=1 if quick else 2, scorers=QUICK_SCORERS if quick else SCORERS)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
