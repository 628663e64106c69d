"""Metrics beside the reference package: time, agreement, what they detect; and whether z keeps its promise."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from benchmarks.report import Report
from services.explanation.semantics.clusters import gram, split_in_two
from services.explanation.semantics.embeddings import Embeddings
from services.explanation.semantics.metrics import clarity, poly_reference, polysemanticity, standardised
from services.explanation.semantics.nulls import background_moments, bank_moments, random_set_bank, split_null
from services.explanation.semantics.significance import q_values, tail_shares
from services.explanation.semantics.vectors import memberships
from services.kit.arrays import save_arrays

COMPONENTS, EXAMPLES, WIDTH = 2048, 30, 384
PEER = "semanticlens 0.2.1"
TOPICS, WORDS, PICTURES, UNITS, D = 200, 1000, 20_000, 2000, 256  # of the constructed data
Floats = np.ndarray


def reference() -> ModuleType:
    """The package's scores. The file alone is loaded: the package itself imports crop code that wants zennit."""
    path = importlib.metadata.distribution("semanticlens").locate_file("semanticlens/scores.py")
    spec = importlib.util.spec_from_file_location("semanticlens_scores", str(path))
    if spec is None or spec.loader is None:
        raise SystemExit("pip install --no-deps semanticlens==0.2.1")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unit(rows: Floats) -> Floats:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def clustered(components: int, draw: np.random.Generator) -> Floats:
    """Examples of components with two meanings: [C, 30, 384] unit rows."""
    centres = unit(draw.normal(size=(components, 2, WIDTH)))
    second = np.arange(EXAMPLES)[None, :] < draw.integers(4, 16, components)[:, None]
    means = np.where(second[..., None], centres[:, 1:], centres[:, :1])
    return unit(means + 0.5 * draw.normal(size=means.shape) / np.sqrt(WIDTH))


def timing_and_agreement(report: Report, peer: ModuleType, *, timed: int, rounds: int) -> None:
    draw = np.random.default_rng(0)
    examples = clustered(COMPONENTS, draw)
    given = torch.from_numpy(examples)
    polysemanticity(examples[:64]), peer.polysemanticity_score(given[:2])
    pairs = [
        (
            seconds(lambda: polysemanticity(examples)),
            seconds(lambda: peer.polysemanticity_score(given[:timed])) * COMPONENTS / timed,
        )
        for _ in range(rounds)
    ]
    ours, theirs = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
    ratio = statistics.median(b / a for a, b in pairs)
    report.line(
        metric=f"polysemanticity of {COMPONENTS} x {EXAMPLES} x {WIDTH} (peer: {timed} timed, scaled)", value=ours,
        unit="s", goal="<= 2.5 s and >= 10x", ok=ours <= 2.5 and ratio >= 10, peer=PEER, peer_value=theirs,
        ratio=ratio, n=rounds, interval=(min(a for a, _ in pairs), max(a for a, _ in pairs)),
    )  # fmt: skip
    apart = float(np.abs(clarity(examples) - peer.clarity_score(given).numpy()).max())
    report.line(
        metric="clarity, largest difference from the package", value=apart, unit="1", goal="<= 1e-6", ok=apart <= 1e-6,
        peer=PEER, n=COMPONENTS,
    )  # fmt: skip
    theirs_poly = peer.polysemanticity_score(given[:timed]).numpy()
    apart = float(np.abs(poly_reference(examples[:timed]) - theirs_poly).max())
    report.line(
        metric="poly_reference, largest difference from the package on clustered examples", value=apart, unit="1",
        goal="<= 1e-6", ok=apart <= 1e-6, peer=PEER, n=timed,
    )  # fmt: skip


def stored(rows: Floats, folder: Path) -> Embeddings:
    path = folder / f"{time.monotonic_ns()}.safetensors"
    save_arrays(path, {"unit": rows.astype(np.float16)})
    return Embeddings([path])


def detection(report: Report, peer: ModuleType, folder: Path, *, components: int, noises: tuple[float, ...]) -> None:
    """Components made of 1 to 4 detectors; the task is to tell those with several topics among their examples."""
    share, z, decided, theirs = [], [], [], []
    for number, noise in enumerate(noises):
        draw = np.random.default_rng(number)
        of, strength = np.arange(PICTURES) % TOPICS, draw.uniform(0.6, 1.4, PICTURES)
        word = unit(draw.normal(size=(TOPICS + WORDS, D)))
        other = word[draw.integers(0, len(word), PICTURES)]
        rows = unit(strength[:, None] * word[of] + 0.4 * other + noise * _noise(draw, (PICTURES, D)))
        embeddings = stored(rows, folder)
        nulls = {size: split_null(embeddings, size, draw) for size in (10, 15, 20, EXAMPLES)}
        ids = np.stack([_several(component % 4 + 1, of, strength, draw) for component in range(components)])
        truth = np.array([(np.bincount(of[one]) >= 3).sum() >= 2 for one in ids])
        examples = rows[ids]
        grams, clear, null = gram(examples), clarity(examples), nulls[EXAMPLES]
        split = split_in_two(grams)
        share.append(auroc(split.share, truth))
        z.append(auroc(standardised(split.share, clear, null.clarity, null.share), truth))
        several = memberships(grams, split, clear, nulls).max(axis=1) > 0
        decided.append((several[truth].mean() + (~several[~truth]).mean()) / 2)
        theirs.append(auroc(peer.polysemanticity_score(torch.from_numpy(examples)).numpy(), truth))
    worst = f"several meanings, worst of {len(noises)} noises"
    ok = min(share) >= 0.98 and all(a > b for a, b in zip(share, theirs, strict=True))
    report.line(
        metric=f"AUROC of the split share for {worst}", value=min(share), unit="1",
        goal=">= 0.98 and above the package", ok=ok, peer=PEER, peer_value=min(theirs), n=components,
        interval=(min(share), max(share)),
    )  # fmt: skip
    report.line(metric=f"AUROC of the split's z for {worst}", value=min(z), unit="1", n=components)
    report.line(
        metric=f"balanced accuracy of more than one prototype for {worst}", value=min(decided), unit="1", n=components,
        interval=(min(decided), max(decided)),
    )  # fmt: skip


def _several(detectors: int, of: Floats, strength: Floats, draw: np.random.Generator) -> Floats:
    """The pictures on which a sum of detectors is most active."""
    gains, topics = draw.uniform(0.6, 1.4, detectors), draw.choice(TOPICS, detectors, replace=False)
    active = sum(gain * strength * (of == topic) for gain, topic in zip(gains, topics, strict=True))
    return np.argsort(-(active + 0.1 * draw.normal(size=len(of))), kind="stable")[:EXAMPLES]


def auroc(values: Floats, truth: Floats) -> float:
    return float(mannwhitneyu(values[truth], values[~truth]).statistic / (truth.sum() * (~truth).sum()))


def _noise(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return draw.normal(size=shape) / np.sqrt(shape[1])


@dataclass(frozen=True)
class Setting:
    """How related words are, how noisy pictures, and how much a prompt's score is shifted as a whole."""

    related: float
    noise: float
    offset: float


@dataclass(frozen=True)
class Constructed:
    """Components about known topics: `true` [U, topics]. `directions` are of the topics, then of unrelated words."""

    vectors: Floats
    directions: Floats
    bank: Floats
    true: Floats


def constructed(setting: Setting, folder: Path, *, seed: int) -> Constructed:
    """Components, concepts and random sets of a space whose truth is known."""
    draw = np.random.default_rng(seed)
    shared, mean_image, mean_text = unit(draw.normal(size=(40, D))), *unit(draw.normal(size=(2, D)))
    word = unit(unit(draw.normal(size=(TOPICS + WORDS, D))) + setting.related * shared[np.arange(TOPICS + WORDS) % 40])
    of, other = np.arange(PICTURES) % TOPICS, draw.integers(0, TOPICS + WORDS, PICTURES)
    pictures = unit(
        draw.uniform(0.6, 1.4, (PICTURES, 1)) * word[of] + 0.4 * word[other] + 2 * mean_image
        + setting.noise * _noise(draw, (PICTURES, D))
    )  # fmt: skip
    shift = setting.offset * draw.normal(size=(len(word), 1))
    directions = unit(unit(word + 1.5 * mean_text + shift * mean_image) - mean_text)
    about = np.where(draw.random(UNITS) < 0.1, -1, draw.integers(0, TOPICS, UNITS))
    vectors = unit(pictures[np.stack([_examples(topic, of, draw) for topic in about])].mean(axis=1))
    bank = random_set_bank(stored(pictures, folder), EXAMPLES, 2000, draw)
    return Constructed(vectors, directions, bank, about[:, None] == np.arange(TOPICS))


def calibration(setting: Setting, folder: Path, *, seed: int) -> tuple[float, float]:
    """False-discovery rate and power of `z` at a nominal 5 %, over all pairs of component and concept."""
    built = constructed(setting, folder, seed=seed)
    vectors, directions, true = built.vectors, built.directions, built.true
    mean, deviation = bank_moments(built.bank, directions)
    median, spread = background_moments(vectors, directions[TOPICS:], mean[TOPICS:], deviation[TOPICS:])
    z = ((vectors @ directions.T - mean) / deviation - median[:, None]) / spread[:, None]
    found = q_values(tail_shares(z[:, :TOPICS], z[:, TOPICS:])) <= 0.05
    return float((found & ~true).sum() / max(found.sum(), 1)), float((found & true).sum() / true.sum())


def _examples(topic: int, of: Floats, draw: np.random.Generator) -> Floats:
    if topic < 0:
        return draw.choice(PICTURES, EXAMPLES, replace=False)
    pure = round(EXAMPLES * draw.uniform(0.5, 1))
    own = draw.choice(np.flatnonzero(of == topic), pure, replace=False)
    return np.concatenate([own, draw.choice(PICTURES, EXAMPLES - pure, replace=False)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    quick = parser.parse_args().quick
    report, peer = Report(), reference()
    every = [Setting(h, noise, o) for h in (0.0, 0.5, 1.0) for noise in (0.9, 3.0) for o in (0.0, 0.3)]
    settings = [Setting(0.5, 0.9, 0.3), Setting(1.0, 3.0, 0.3)] if quick else every
    timing_and_agreement(report, peer, timed=16 if quick else 128, rounds=3)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        detection(
            report, peer, folder, components=80 if quick else 400, noises=(0.9, 3.0) if quick else (0.9, 1.5, 2.2, 3.0)
        )
        outcomes = [calibration(setting, folder, seed=number) for number, setting in enumerate(settings)]
    rates, powers = [rate for rate, _ in outcomes], [power for _, power in outcomes]
    report.line(
        metric="false-discovery rate at nominal 0.05, worst constructed setting", value=max(rates), unit="1",
        goal="<= 0.10", ok=max(rates) <= 0.10, n=len(settings), interval=(min(rates), max(rates)),
    )  # fmt: skip
    report.line(
        metric="power at nominal 0.05, worst constructed setting", value=min(powers), unit="1", goal=">= 0.95",
        ok=min(powers) >= 0.95, n=len(settings), interval=(min(powers), max(powers)),
    )  # fmt: skip
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
