"""The controlled data and models: how fast scenes are made, what the small models know, what an artefact does to them.

`--quick` judges the packaged models. `--full` also trains classifiers at further strengths, once: they are kept in the
data folder. Intervals are Wilson's at 95 %.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import nn

from benchmarks.report import Report
from contracts.data import ScenesSource
from services.explanation.encoders.port import EncoderPort
from services.explanation.encoders.registry import load_encoder
from services.kit.scenes import COLOURS, CONTEXTS, SHAPES, TEXTURES, caption_of, draw_scene, render
from services.kit.scenes.checkpoints import packaged_encoder, packaged_names, packaged_weights
from services.kit.settings import load_settings
from services.model.controlled.classifiers import predict
from services.model.controlled.nets import scenes_cnn, scenes_vit
from services.model.controlled.pictures import Pictures, rendered
from services.model.controlled.store import Asked, trained

# Beyond the packaged ones: strength alone, and strength where 30 % of the objects are hardly visible in training
TRAINED = (Asked("cnn", strength=0.8), Asked("cnn", strength=0.9), Asked("cnn", strength=0.5, faint=0.3))
CONFOUNDED = list(SHAPES).index("triangle")


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controlled", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    full = parser.parse_args().full
    report = Report()
    folder = load_settings().home.absolute() / "controlled"
    generator(report, 1000 if full else 400)
    scenes = [draw_scene(ScenesSource(n=2000, split="test", planting="never"), i) for i in range(2000 if full else 600)]
    clean, planted = rendered(scenes), rendered([scene.with_artefact("tag") for scene in scenes])
    for name, path in classifiers(folder, full=full):
        accuracy(report, name, path, clean, planted)
    retrieval(report, load_encoder(packaged_encoder(folder)), 1000 if full else 400)
    return report.exit_code


def generator(report: Report, count: int) -> None:
    """Time drawing and rendering with masks, on one thread."""
    source = ScenesSource(n=count, strength=0.5)
    begun = time.perf_counter()
    for index in range(count):
        render(draw_scene(source, index))
    rate = count / (time.perf_counter() - begun)
    report.line(metric="scenes.rate", value=rate, unit="pictures/s", goal=">= 1000", ok=rate >= 1000, n=count)


def classifiers(folder: Path, *, full: bool) -> list[tuple[str, Path]]:
    """Names and weights of the classifiers to judge; with `full`, further ones are trained or found."""
    packaged = [(name, packaged_weights(name)) for name in packaged_names() if name != "clip"]
    return packaged + [(asked.name, trained(asked, folder)) for asked in TRAINED if full]


def loaded(name: str, path: Path) -> nn.Module:
    """A classifier with its weights, in eval mode."""
    model = (scenes_cnn() if name.startswith("cnn") else scenes_vit()).model
    model.load_state_dict(load_file(path))
    return model.eval()


def accuracy(report: Report, name: str, path: Path, clean: Pictures, planted: Pictures) -> None:
    """Accuracy without the artefact, and with it on every picture of the classes that never had it."""
    model = loaded(name, path)
    others = clean.labels != CONFOUNDED
    honest = name.endswith("-0")
    right = predict(model, clean).argmax(1) == clean.labels
    misled = predict(model, planted).argmax(1) == clean.labels
    share(report, f"{name}.accuracy.clean", right, least=0.97 if honest else None)
    share(report, f"{name}.accuracy.artefact_on_other_classes", misled[others])
    share(report, f"{name}.accuracy.confounded_class_without_artefact", right[~others])


def share(
    report: Report, metric: str, right: np.ndarray, *, least: float | None = None, chance: float | None = None
) -> None:
    """One accuracy with its interval, beside what guessing reaches."""
    value, n = float(right.mean()), len(right)
    report.line(
        metric=metric, value=value, unit="share", n=n, interval=wilson(value, n),
        goal=None if least is None else f">= {least}", ok=None if least is None else value >= least,
        peer=None if chance is None else "chance", peer_value=chance,
    )  # fmt: skip


def wilson(value: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share."""
    middle = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def retrieval(report: Report, encoder: EncoderPort, count: int) -> None:
    """What the small open_clip model knows: held-out captions, single factors by words, things by words."""
    source = ScenesSource(n=count, split="test")
    scenes = [draw_scene(source, index) for index in range(count)]
    rows = encoder.encode_images([Image.fromarray(render(scene).pixels) for scene in scenes])
    texts = encoder.encode_texts([caption_of(scene) for scene in scenes])
    own = (texts @ rows.T).argmax(axis=1) == np.arange(count)
    share(report, "clip.caption_to_picture.top1", own, least=0.5, chance=1 / count)
    for factor, names, least in (("colour", COLOURS, 0.9), ("texture", TEXTURES, 0.85), ("shape", SHAPES, 0.6)):
        prompts = [f"a {name}" if factor == "shape" else f"a {name} thing" for name in names]
        named = (rows @ encoder.encode_texts(prompts).T).argmax(axis=1)
        truth = np.array([list(names).index(scene.factors()[factor]) for scene in scenes])
        share(report, f"clip.zero_shot.{factor}", named == truth, least=least, chance=1 / len(names))
    for words, present in things(scenes).items():
        area = float(roc_auc_score(present, rows @ encoder.encode_texts([words])[0]))
        report.line(metric=f"clip.auroc.{words.replace(' ', '_')}", value=area, unit="AUROC", n=count)


def things(scenes: list) -> dict[str, list[bool]]:
    """Words for what may be in a scene, and where it is."""
    known = [scene.factors() for scene in scenes]
    return {
        "a tag in the corner": [factors["artefact"] == "tag" for factors in known],
        **{f"a {kind}": [bool(factors[kind]) for factors in known] for kind in CONTEXTS},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
