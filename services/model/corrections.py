"""Offline work of corrections: suppress what an audit flagged, measure what that does, and register the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from contracts.corrections import NothingCorrected
from contracts.model import Layer, ModelRef, ModelRegistration
from services.kit.pictures import Manifest
from services.kit.ranking import auroc, auroc_error
from services.kit.stages import StageFunction, Work
from services.model.service import Models
from services.model.suppression import Silencer, with_suppressed

if TYPE_CHECKING:
    from PIL import Image

    from services.model.adapters.port import Built

BATCH = 32
DRAWS = 20
STEPS = 24
Publish = Callable[..., None]


def correction_stages(models: Models, publish: Publish) -> tuple[StageFunction, ...]:
    """The stages of corrections that need the model."""
    return (
        StageFunction("correction", 2, lambda work: measure_correction(work, models)),
        StageFunction("register-corrected", 1, lambda work: register_corrected(work, models, publish)),
    )


@dataclass(frozen=True)
class Pool:
    """Labelled pictures of a dataset.

    Parameters
    ----------
    ids : [n] samples; truth : [n] output of each one's label.
    """

    manifest: Manifest
    ids: np.ndarray
    truth: np.ndarray

    @property
    def validation(self) -> np.ndarray:
        """[n] bool: even samples choose how many components go, odd ones are the test."""
        return np.asarray(self.ids % 2 == 0)


def pool_of(manifest: Manifest, classes: Sequence[str], most: int, *, without: str | None = None) -> Pool:
    """Up to `most` pictures whose label is an output of the model, evenly spread; `without` leaves one label out."""
    outputs = {name: place for place, name in enumerate(classes) if name != without}
    labels = manifest.labels()
    ids = np.array([index for index, label in enumerate(labels) if label in outputs], np.int64)
    if len(ids) > most:
        ids = ids[np.linspace(0, len(ids) - 1, most).round().astype(np.int64)]
    return Pool(manifest, ids, np.array([outputs[str(labels[index])] for index in ids], np.int64))


@dataclass(frozen=True)
class Seen:
    """What a model made of a pool, with each of S sets of units suppressed.

    Parameters
    ----------
    right : [S, n] bool, whether each picture is classified rightly.
    score : [S, n] score of the confounded class.
    """

    right: np.ndarray
    score: np.ndarray


def seen(
    built: Built, ref: ModelRef, silencer: Silencer, pool: Pool, sets: Sequence[Sequence[int]], output: int, work: Work
) -> Seen:
    """Classify each picture with each set of units suppressed; `output` is the confounded class."""
    import torch

    from services.model.attributions import class_scores
    from services.model.preprocess import to_batch

    found = Seen(np.zeros((len(sets), len(pool.ids)), bool), np.zeros((len(sets), len(pool.ids)), np.float32))
    for start in range(0, len(pool.ids), BATCH):
        span = slice(start, start + BATCH)
        batch = to_batch((pool.manifest.picture(int(index)) for index in pool.ids[span]), ref.preprocessing)
        for place, units in enumerate(sets):
            silencer.units = list(units)
            with torch.inference_mode():
                scores = class_scores(built.model, batch)
            found.right[place, span] = scores.argmax(1).numpy() == pool.truth[span]
            found.score[place, span] = scores[:, output].float().numpy()
        work.advance(0)
    silencer.units = []
    return found


def figures(pools: Mapping[str, Pool], held: Mapping[str, Seen], sets: slice, output: int) -> dict[str, Any]:
    """Accuracies on the test samples, and the AUROC of the class's score; the mean over some of the sets.

    The AUROC is between pictures of the class without the artefact and pictures of others with it.
    """
    test = {name: ~pool.validation for name, pool in pools.items()}
    found: dict[str, Any] = {name: estimate(held[name].right[sets][:, test[name]].mean(axis=0)) for name in pools}
    own = held["clean"].score[sets][:, test["clean"] & (pools["clean"].truth == output)]
    others = held["artefact"].score[sets][:, test["artefact"]]
    inside, outside = own.shape[1], others.shape[1]
    if inside and outside:
        positive = np.arange(inside + outside) < inside
        area = auroc(np.concatenate([own, others], axis=1).T.astype(np.float64), positive).mean()
        margin = 1.96 * float(auroc_error(np.array([area]), inside, outside)[0])
        low, high = max(0.0, area - margin), min(1.0, area + margin)
        found["separation"] = {"value": float(area), "low": float(low), "high": float(high), "n": inside + outside}
    return found


def steps_of(count: int, most: int = STEPS) -> list[int]:
    """How many of `count` components to suppress: every number, or at most so many evenly spread ones; never 0."""
    return sorted({int(n) for n in np.linspace(1, count, min(count, most)).round()})


def chosen_step(clean: np.ndarray, artefact: np.ndarray, loss: float) -> int:
    """Place of the best artefact accuracy among those with a clean loss within the limit, the first of equal ones.

    Parameters
    ----------
    clean, artefact : [S] accuracies; place 0 is the model as it was.

    Raises
    ------
    NothingCorrected : no step is better than place 0 within the limit.
    """
    allowed = clean >= clean[0] - loss - 1e-9
    best = int(np.argmax(np.where(allowed, artefact, -1.0)))
    if artefact[best] <= artefact[0]:
        raise NothingCorrected(
            f"of {len(clean) - 1} steps none raises the artefact accuracy of {artefact[0]:.3f} within a clean loss of "
            f"{loss:g}", before=float(artefact[0]),
        )  # fmt: skip
    return best


def measure_correction(work: Work, models: Models) -> None:
    """Suppress flagged components one after the other, choose how many on validation, and judge that on test."""
    from services.model.capture.hooks import AXIS

    spec = cast(dict[str, Any], work.spec)
    ref, layer = ModelRef.model_validate(spec["model"]), Layer.model_validate(spec["layer"])
    order, classes, most = [int(unit) for unit in spec["order"]], spec["classes"], int(spec["pictures"])
    pools = {
        name: pool_of(Manifest.load(work.path(name), work.blobs), classes, most, without=without)
        for name, without in (("clean", None), ("artefact", spec["label"]))
    }
    steps, output = [0, *steps_of(len(order))], classes.index(spec["label"])
    with models.loaded(ref) as built, Silencer(built.model, layer.name, AXIS[layer.kind]) as silencer:

        def tried(sets: Sequence[Sequence[int]]) -> dict[str, Seen]:
            return {name: seen(built, ref, silencer, pool, sets, output, work) for name, pool in pools.items()}

        curve = tried([order[:n] for n in steps])
        of = {name: curve[name].right[:, pool.validation].mean(axis=1) for name, pool in pools.items()}
        try:
            best = chosen_step(of["clean"], of["artefact"], float(spec["loss"]))
        except NothingCorrected:
            if spec.get("required", True):
                raise
            best = 0
        units = order[: steps[best]]
        others = tried(controls(activity(built, ref, layer, pools["clean"]), len(units), seed=int(spec["seed"])))
    of_draws = others["artefact"].right[1:, ~pools["artefact"].validation].mean(axis=1)
    work.emit_record(
        "measured",
        {
            "units": units, "considered": order,
            "curve": [
                {"units": n, "clean": float(of["clean"][place]), "artefact": float(of["artefact"][place])}
                for place, n in enumerate(steps)
            ],
            "random_best": float(of_draws.max()),
            "before": figures(pools, curve, slice(0, 1), output),
            "after": figures(pools, curve, slice(best, best + 1), output),
            "random": figures(pools, others, slice(1, None), output),
            "magnitude": figures(pools, others, slice(0, 1), output),
        },
    )  # fmt: skip
    work.advance(1)


def activity(built: Built, ref: ModelRef, layer: Layer, pool: Pool) -> np.ndarray:
    """Mean |activation| of each pooled unit over the validation pictures: [C]."""
    rows = pool.ids[pool.validation]
    total = np.zeros(layer.width)
    for batch in activations(built, ref, layer, (pool.manifest.picture(int(i)) for i in rows)):
        total += np.abs(batch, dtype=np.float64).sum(axis=0)
    return total / max(1, len(rows))


def activations(built: Built, ref: ModelRef, layer: Layer, pictures: Iterable[Image.Image]) -> Iterator[np.ndarray]:
    """Pooled activations [B, C] of a layer, a batch of pictures after the other."""
    import torch

    from services.model.capture.hooks import captured
    from services.model.preprocess import to_batch

    held = iter(pictures)
    while some := list(islice(held, BATCH)):
        batch = to_batch(some, ref.preprocessing)
        with torch.inference_mode(), captured(built.model, [layer], special_tokens=built.special_tokens) as kept:
            built.model(batch)
            yield kept.take()[layer.name].values.numpy()


def controls(activity: np.ndarray, count: int, *, seed: int) -> list[list[int]]:
    """As many units as were suppressed, otherwise chosen: first those that are least active on average, then at random.

    Parameters
    ----------
    activity : [C].
    """
    draw = np.random.default_rng(seed)
    drawn = [sorted(draw.permutation(len(activity))[:count].tolist()) for _ in range(DRAWS)]
    return [np.argsort(activity, kind="stable")[:count].tolist(), *drawn]


def estimate(values: np.ndarray) -> dict[str, float | int]:
    """A share of rightly classified pictures with its bootstrap interval."""
    import torch

    from services.model.attribution.evaluation.intervals import interval

    found = interval(torch.from_numpy(np.asarray(values, np.float64)))
    return {"value": found.mean, "low": found.low, "high": found.high, "n": found.n}


def register_corrected(work: Work, models: Models, publish: Publish) -> None:
    """Register the model retrained, or with its components suppressed and the weights of the one that was audited."""
    from safetensors.torch import load_file

    from services.model.adapters.registry import build
    from services.model.capture.hooks import AXIS
    from services.model.retraining import Checkpoint

    spec = cast(dict[str, Any], work.spec)
    ref, layer = ModelRef.model_validate(spec["model"]), Layer.model_validate(spec["layer"])
    config, state = dict(ref.config), load_file(models.blobs.open(ref.weights_sha256))
    if "checkpoint" in work.inputs:
        state = Checkpoint.of(work.arrays("checkpoint"), 0).model
    else:
        units = cast(list[int], work.record("measured")["units"])
        config = with_suppressed(config, layer.name, AXIS[layer.kind], units)
    asked = ModelRegistration(
        name=spec["name"], architecture=ref.architecture, config=config, preprocessing=ref.preprocessing
    )
    publish(work, asked, build(ref.architecture, config), state, classes=list(spec["classes"]))
    work.advance(1)
