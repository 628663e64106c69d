"""Offline work of retraining against an artefact: which pictures have it, training on, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from contracts.corrections import LeakedPictures, NoCounterexamples, Retraining
from contracts.model import Layer, ModelRef
from services.kit.arrays import facts_of, load_arrays
from services.kit.pictures import Manifest
from services.kit.stages import StageFunction, Work
from services.model import retraining
from services.model.corrections import Pool, Seen, activations, activity, chosen_step, controls, figures, pool_of, seen
from services.model.service import Models
from services.model.suppression import Silencer

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from services.model.adapters.port import Built

LEAST = 5  # pictures of a class with the artefact, and as many without it, to count as shown apart
ROWS = {"flagged": "after", "random": "random", "magnitude": "magnitude"}


def retraining_stages(models: Models) -> tuple[StageFunction, ...]:
    """The stages of a correction that trains the model on."""
    return (
        StageFunction("artefact-presence", 1, lambda work: find_presence(work, models)),
        StageFunction("retrain", 1, lambda work: retrain(work, models)),
        StageFunction("judge-retrained", 1, lambda work: judge_retrained(work, models)),
    )


@dataclass(frozen=True)
class Lesson:
    """The pictures that are trained on, of several datasets, row after row.

    Parameters
    ----------
    truth : [n] output of each one's label.
    """

    pools: Sequence[Pool]

    @property
    def truth(self) -> np.ndarray:
        return np.concatenate([pool.truth for pool in self.pools])

    def picture(self, row: int) -> Image.Image:
        """The picture of a row, decoded."""
        for pool in self.pools:
            if row < len(pool.ids):
                return pool.manifest.picture(int(pool.ids[row]))
            row -= len(pool.ids)
        raise IndexError(row)

    def hashes(self) -> set[str]:
        """Content hashes of the pictures."""
        return {held[int(row)] for pool in self.pools for held in [pool.manifest.hashes()] for row in pool.ids}


def lesson_of(work: Work, asked: Retraining) -> Lesson:
    """The pictures of a part's training datasets whose label is a class of the model."""
    classes = cast(list[str], work.spec["classes"])
    roles = sorted((role for role in work.inputs if role.startswith("train")), key=lambda role: int(role[5:]))
    return Lesson([pool_of(Manifest.load(work.path(role), work.blobs), classes, asked.pictures) for role in roles])


def find_presence(work: Work, models: Models) -> None:
    """Say of every picture whether the flagged components, and as many others, are active on it.

    Raises
    ------
    LeakedPictures; NoCounterexamples.
    """
    spec = cast(dict[str, Any], work.spec)
    ref, layer = ModelRef.model_validate(spec["model"]), Layer.model_validate(spec["layer"])
    asked, units = _asked(work), cast(list[int], spec["order"])
    lesson, clean = lesson_of(work, asked), _pool(work, "clean")
    judges = {one for role in ("clean", "artefact") for one in Manifest.load(work.path(role), work.blobs).hashes()}
    shared = len(lesson.hashes() & judges)
    if shared:
        raise LeakedPictures(
            f"{shared} pictures to train on are among those that judge", field="retrain.datasets", shared=shared
        )
    found = []
    with models.loaded(ref) as built:
        for batch in activations(built, ref, layer, map(lesson.picture, range(len(lesson.truth)))):
            found.append(batch)
            work.advance(0)
        least, random, *_ = controls(activity(built, ref, layer, clean), len(units), seed=int(spec["seed"]))
    pooled = np.concatenate(found) if found else np.zeros((0, layer.width))
    sets = {"flagged": units, "random": random, "magnitude": least}
    presence = {arm: retraining.presence(pooled, some) for arm, some in sets.items()}
    require_counterexamples(lesson.truth, presence["flagged"], cast(list[str], spec["classes"]))
    work.emit_arrays("presence", presence)
    work.advance(1)


def require_counterexamples(truth: np.ndarray, present: np.ndarray, classes: Sequence[str]) -> None:
    """Refuse pictures in which fewer than two classes are seen both with and without the artefact.

    Raises
    ------
    NoCounterexamples : with the number of pictures of each class.
    """
    counted = counts(truth, present, classes)
    apart = [one["label"] for one in counted if min(one["without"], one["present"]) >= LEAST]
    if len(apart) < 2:
        told = ", ".join(f"{one['label']} {one['without']} and {one['present']}" for one in counted[:8])
        raise NoCounterexamples(
            f"{len(apart)} classes have {LEAST} pictures without and {LEAST} with what the flagged components react to "
            f"({told}); two are needed", field="retrain.datasets",
        )  # fmt: skip


def counts(truth: np.ndarray, present: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Pictures of each class without and with the artefact."""
    return [
        {
            "label": classes[output],
            "without": int((~present & (truth == output)).sum()),
            "present": int((present & (truth == output)).sum()),
        }
        for output in np.unique(truth).tolist()
    ]


def retrain(work: Work, models: Models) -> None:
    """Train one arm from its checkpoint up to a step."""
    from services.model.preprocess import to_batch

    asked, arm = _asked(work), str(work.spec["arm"])
    lesson, ref = lesson_of(work, asked), ModelRef.model_validate(work.spec["model"])
    before = None
    if "checkpoint" in work.inputs:
        path = work.path("checkpoint")
        before = retraining.Checkpoint.of(load_arrays(path), int(str(facts_of(path)["step"])))

    def pictures(rows: np.ndarray) -> Tensor:
        return to_batch((lesson.picture(int(row)) for row in rows), ref.preprocessing)

    recipe = retraining.Recipe(
        asked.steps, asked.batch, asked.learning_rate, asked.weight_decay, int(str(work.spec["seed"]))
    )
    model = fresh(models, ref).model
    session = retraining.Retraining(model, recipe, lesson.truth, work.arrays("presence")[arm].astype(bool), pictures)
    after = session.run(int(str(work.spec["until"])), before, work.advance)
    work.emit_arrays("checkpoint", after.arrays(), {"step": after.step})


def fresh(models: Models, ref: ModelRef) -> Built:
    """A model of one's own, that may be changed."""
    from safetensors.torch import load_file

    from services.model.adapters.registry import build
    from services.model.weights import load_into

    built = build(ref.architecture, ref.config)
    load_into(built.model, load_file(models.blobs.open(ref.weights_sha256)))
    return built


def judge_retrained(work: Work, models: Models) -> None:
    """Measure the model as it was and every arm; even samples decide whether it helped, odd ones are reported.

    Raises
    ------
    NothingCorrected : the accuracy with the artefact is not better, or the clean one fell by more than allowed.
    """
    spec = cast(dict[str, Any], work.spec)
    ref, layer = ModelRef.model_validate(spec["model"]), Layer.model_validate(spec["layer"])
    pools = {"clean": _pool(work, "clean"), "artefact": _pool(work, "artefact", without=spec["label"])}
    built, output = fresh(models, ref), spec["classes"].index(spec["label"])
    found: dict[str, dict[str, Seen]] = {}
    with Silencer(built.model, layer.name, 1) as nobody:
        for arm in ("before", *ROWS):
            if arm != "before":
                built.model.load_state_dict(retraining.Checkpoint.of(work.arrays(arm), 0).model)
            found[arm] = {name: seen(built, ref, nobody, pool, [[]], output, work) for name, pool in pools.items()}
    chosen = {
        name: np.array([found[arm][name].right[0, pool.validation].mean() for arm in ("before", "flagged")])
        for name, pool in pools.items()
    }
    chosen_step(chosen["clean"], chosen["artefact"], float(spec["loss"]))
    presence, lesson = work.arrays("presence")["flagged"].astype(bool), lesson_of(work, _asked(work))
    rows = {ROWS[arm]: figures(pools, found[arm], slice(0, 1), output) for arm in ROWS}
    work.emit_record(
        "judged",
        {
            **rows, "units": spec["order"], "random_best": rows["random"]["artefact"]["value"],
            "groups": counts(lesson.truth, presence, spec["classes"]),
        },
    )  # fmt: skip
    work.advance(1)


def _asked(work: Work) -> Retraining:
    numbers = cast(dict[str, Any], work.spec["retraining"])
    return Retraining.model_validate({**numbers, "datasets": ["-"]})


def _pool(work: Work, role: str, *, without: str | None = None) -> Pool:
    spec = cast(dict[str, Any], work.spec)
    return pool_of(Manifest.load(work.path(role), work.blobs), spec["classes"], int(spec["pictures"]), without=without)
