"""Offline work of corrections: suppress what an audit flagged, measure what that does, and register the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from contracts.corrections import NothingCorrected
from contracts.model import Layer, ModelRef, ModelRegistration
from services.kit.pictures import Manifest
from services.kit.stages import StageFunction, Work
from services.model.service import Models
from services.model.suppression import Silencer, with_suppressed

if TYPE_CHECKING:
    from services.model.adapters.port import Built

BATCH = 32
DRAWS = 20
STEPS = 24
Publish = Callable[..., None]


def correction_stages(models: Models, publish: Publish) -> tuple[StageFunction, ...]:
    """The stages of corrections that need the model."""
    return (
        StageFunction("correction", 1, lambda work: measure_correction(work, models)),
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


def right(
    built: Built, ref: ModelRef, silencer: Silencer, pool: Pool, sets: Sequence[Sequence[int]], work: Work
) -> np.ndarray:
    """Whether each picture is classified rightly with each set of units suppressed: [S, n] bool."""
    import torch

    from services.model.attributions import class_scores
    from services.model.preprocess import to_batch

    found = np.zeros((len(sets), len(pool.ids)), dtype=bool)
    for start in range(0, len(pool.ids), BATCH):
        span = slice(start, start + BATCH)
        batch = to_batch((pool.manifest.picture(int(index)) for index in pool.ids[span]), ref.preprocessing)
        for place, units in enumerate(sets):
            silencer.units = list(units)
            with torch.inference_mode():
                found[place, span] = class_scores(built.model, batch).argmax(1).numpy() == pool.truth[span]
        work.advance(0)
    silencer.units = []
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
    steps = [0, *steps_of(len(order))]
    with models.loaded(ref) as built, Silencer(built.model, layer.name, AXIS[layer.kind]) as silencer:
        curve = {
            name: right(built, ref, silencer, pool, [order[:n] for n in steps], work) for name, pool in pools.items()
        }
        of = {name: curve[name][:, pool.validation].mean(axis=1) for name, pool in pools.items()}
        best = chosen_step(of["clean"], of["artefact"], float(spec["loss"]))
        units = order[: steps[best]]
        others = controls(built, ref, layer, pools["clean"], len(units), seed=int(spec["seed"]))
        judged = {name: right(built, ref, silencer, pool, others, work) for name, pool in pools.items()}
    test = {name: ~pool.validation for name, pool in pools.items()}
    rows = {
        "before": {name: curve[name][0] for name in pools},
        "after": {name: curve[name][best] for name in pools},
        "random": {name: judged[name][1:].mean(axis=0) for name in pools},
        "magnitude": {name: judged[name][0] for name in pools},
    }
    work.emit_record(
        "measured",
        {
            "units": units, "considered": order,
            "curve": [
                {"units": n, "clean": float(of["clean"][place]), "artefact": float(of["artefact"][place])}
                for place, n in enumerate(steps)
            ],
            "random_best": float(judged["artefact"][1:, test["artefact"]].mean(axis=1).max()),
            **{
                name: {pool: _estimate(values[pool][test[pool]]) for pool in pools} for name, values in rows.items()
            },
        },
    )  # fmt: skip
    work.advance(1)


def controls(built: Built, ref: ModelRef, layer: Layer, pool: Pool, count: int, *, seed: int) -> list[list[int]]:
    """As many units as were suppressed, otherwise chosen: first those that are least active on average, then at random.

    Activity is the mean |activation| of the pooled unit over the validation pictures.
    """
    import torch

    from services.model.capture.hooks import captured
    from services.model.preprocess import to_batch

    total = np.zeros(layer.width)
    ids = pool.ids[pool.validation]
    for start in range(0, len(ids), BATCH):
        batch = to_batch((pool.manifest.picture(int(i)) for i in ids[start : start + BATCH]), ref.preprocessing)
        with torch.inference_mode(), captured(built.model, [layer], special_tokens=built.special_tokens) as kept:
            built.model(batch)
            total += kept.take()[layer.name].values.abs().double().sum(0).numpy()
    draw = np.random.default_rng(seed)
    drawn = [sorted(draw.permutation(layer.width)[:count].tolist()) for _ in range(DRAWS)]
    return [np.argsort(total, kind="stable")[:count].tolist(), *drawn]


def _estimate(values: np.ndarray) -> dict[str, float | int]:
    import torch

    from services.model.attribution.evaluation.intervals import interval

    found = interval(torch.from_numpy(np.asarray(values, np.float64)))
    return {"value": found.mean, "low": found.low, "high": found.high, "n": found.n}


def register_corrected(work: Work, models: Models, publish: Publish) -> None:
    """Register the model with its components suppressed; its weights are those of the model that was audited."""
    from safetensors.torch import load_file

    from services.model.adapters.registry import build
    from services.model.capture.hooks import AXIS

    spec = cast(dict[str, Any], work.spec)
    ref, layer = ModelRef.model_validate(spec["model"]), Layer.model_validate(spec["layer"])
    units = cast(list[int], work.record("measured")["units"])
    config = with_suppressed(dict(ref.config), layer.name, AXIS[layer.kind], units)
    asked = ModelRegistration(
        name=spec["name"], architecture=ref.architecture, config=config, preprocessing=ref.preprocessing
    )
    state = load_file(models.blobs.open(ref.weights_sha256))
    publish(work, asked, build(ref.architecture, config), state, classes=list(spec["classes"]))
    work.advance(1)
