"""Offline work of training: one epoch from checkpoint to checkpoint, and registering what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import JsonValue

from contracts.errors import WrongWeights
from contracts.model import ModelRef, ModelRegistration
from contracts.training import EpochFigures, TrainingRequest
from services.kit.arrays import facts_of, load_arrays
from services.kit.stages import Work
from services.model.service import Models
from services.model.widths import KEY as WIDTHS

if TYPE_CHECKING:
    from torch import Tensor

    from services.model.adapters.port import Built
    from services.model.training.session import Checkpoint, Split

Publish = Callable[..., None]


def train_epoch(work: Work, models: Models) -> None:
    """Train one epoch. After an early stop the checkpoint is handed on as it is."""
    from services.kit.pictures import Manifest
    from services.model.preprocess import reads_pictures, to_batch
    from services.model.training.session import Session

    request, number = TrainingRequest.model_validate(work.spec["request"]), int(str(work.spec["epoch"]))
    before = checkpoint_of(work) if "checkpoint" in work.inputs else None
    if before is not None and before.stopped:
        work.emitted["checkpoint"] = work.inputs["checkpoint"]
        work.advance(int(str(work.spec["units"])))
        return
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    data = _split(manifest, request)
    ref = ModelRef.model_validate(work.spec["model"])
    built = start_of(ref, data.classes, work, models)

    def pictures(indices: Sequence[int]) -> Tensor:
        return to_batch((manifest.picture(index) for index in indices), reads_pictures(ref))

    after = Session(built.model, request, data, pictures).epoch(number, before, work.advance)
    work.emit_arrays("checkpoint", after.arrays(), _facts(after))


def register_trained(work: Work, models: Models, publish: Publish) -> None:
    """Register what a training ended with as a model of its own; its lineage leads back to data and parent."""
    from services.kit.pictures import Manifest
    from services.model.training.session import result_of

    request = TrainingRequest.model_validate(work.spec["request"])
    ref = ModelRef.model_validate(work.spec["model"])
    data = _split(Manifest.load(work.path("manifest"), work.blobs), request)
    built = start_of(ref, data.classes, work, models)
    asked = ModelRegistration(
        name=request.name, architecture=ref.architecture, config=built_with(work),
        preprocessing=ref.preprocessing,
    )  # fmt: skip
    state = {name: part.contiguous() for name, part in result_of(checkpoint_of(work)).items()}
    publish(work, asked, built, state, classes=list(data.classes))
    work.advance(1)


def start_of(ref: ModelRef, classes: Sequence[str], work: Work, models: Models) -> Built:
    """The model before the first epoch: the parent's weights, and a seeded new head where the classes are others.

    Raises
    ------
    WrongWeights : with another number of classes the architecture has parameters that the parent does not have.
    """
    import torch
    from safetensors.torch import load_file

    from services.model.adapters.registry import build

    torch.manual_seed(TrainingRequest.model_validate(work.spec["request"]).seed)
    built = build(ref.architecture, built_with(work))
    if "pruned" in work.inputs:
        built.model.load_state_dict(
            {name: torch.from_numpy(np.array(part)) for name, part in load_arrays(work.path("pruned")).items()}
        )
        return built
    own, parent = built.model.state_dict(), load_file(models.blobs.open(ref.weights_sha256))
    added = sorted(own.keys() - parent.keys())
    if added:
        raise WrongWeights(f"{ref.name} cannot be given {len(classes)} classes: {added[0]} is new", field="model")
    built.model.load_state_dict(
        {name: parent[name] if parent[name].shape == part.shape else part for name, part in own.items()}
    )
    return built


def built_with(work: Work) -> dict[str, JsonValue]:
    """Constructor arguments of the trained model, as planned, and the widths that pruning left."""
    config = cast(dict[str, JsonValue], work.spec["config"])
    return {**config, WIDTHS: work.record("pruning")["widths"]} if "pruning" in work.inputs else config


def _split(manifest: Any, request: TrainingRequest) -> Split:
    from services.model.training.session import split

    return split(manifest.labels(), manifest.groups(), request.validation, request.seed)


def checkpoint_of(work: Work) -> Checkpoint:
    """Read the checkpoint that this part begins from."""
    from services.model.training.session import Checkpoint

    path = work.path("checkpoint")
    facts = facts_of(path)
    figures = [EpochFigures.model_validate(epoch) for epoch in facts["epochs"]]
    return Checkpoint.of(load_arrays(path), figures, stopped=bool(facts["stopped"]))


def _facts(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "epochs": [epoch.model_dump(mode="json") for epoch in checkpoint.figures],
        "stopped": checkpoint.stopped,
    }
