"""Offline work of the model service: registering a model, and running one over a shard of pictures."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import WrongWeights
from contracts.model import Layer, Model, ModelRef, ModelRegistration, Precision
from services.kit.keys import sha256_of, sha256_of_file
from services.kit.stages import StageFunction, Work
from services.model.attribution_evaluations import evaluation_stages
from services.model.audits import audit_stages
from services.model.captures import capture_stages
from services.model.corrections import correction_stages
from services.model.crop_boxes import crop_boxes
from services.model.features import collect_features
from services.model.language_stages import register_language_model
from services.model.pruned import pruning_stages
from services.model.relevances import collect_relevances
from services.model.repository import add_model
from services.model.retrained import retraining_stages
from services.model.service import Models
from services.model.steering_texts import steering_stages
from services.model.trained import register_trained, train_epoch

if TYPE_CHECKING:
    from torch import Tensor

    from services.model.adapters.port import Built


def stages(models: Models) -> tuple[StageFunction, ...]:
    """The stages of the model service."""
    return (
        StageFunction("register-model", 1, register_model),
        StageFunction("register-language-model", 1, register_language_model),
        StageFunction("features", 1, lambda work: collect_features(work, models)),
        StageFunction("activations", 2, lambda work: collect_activations(work, models)),
        StageFunction("relevances", 1, lambda work: collect_relevances(work, models)),
        StageFunction("crop-boxes", 1, lambda work: crop_boxes(work, models)),
        StageFunction("train-epoch", 3, lambda work: train_epoch(work, models)),
        StageFunction("register-trained", 1, lambda work: register_trained(work, models, publish_model)),
        *capture_stages(models),
        *audit_stages(models),
        *correction_stages(models, publish_model),
        *retraining_stages(models),
        *pruning_stages(models, publish_model),
        *evaluation_stages(models),
        *steering_stages(models),
    )


def register_model(work: Work) -> None:
    """Read and check weights, or draw them, run the model once, keep both. Publishes the model's row."""
    from services.model.adapters.registry import build
    from services.model.weights import draw_weights, read_weights

    spec = dict(work.spec)
    path, source = Path(str(spec.pop("path", ""))), spec.pop("source_sha256", None)
    asked = ModelRegistration.model_validate(spec)
    if asked.initial_seed is not None:
        built, state = draw_weights(asked.architecture, asked.config, asked.initial_seed)
    else:
        if not path.is_file() or sha256_of_file(path) != source:
            raise WrongWeights(f"{path.name} was changed or removed since it was registered", field="weights")
        built = build(asked.architecture, asked.config)
        state = read_weights(path, asked.architecture, built)
    publish_model(work, asked, built, state, classes=built.classes)
    work.advance(1)


def publish_model(
    work: Work, asked: ModelRegistration, built: Built, state: dict[str, Tensor], *, classes: list[str] | None
) -> None:
    """Run a model once on its weights to find its layers; keep both, and publish the model's row."""
    from safetensors.torch import save_file

    from services.model.adapters.registry import adapter_for
    from services.model.capture.catalogue import catalogue
    from services.model.capture.samples import sample_batch
    from services.model.weights import load_into

    load_into(built.model, state)
    preprocessing = asked.preprocessing or built.preprocessing
    pick = adapter_for(asked.architecture)[0].pick
    layers = catalogue(built.model, sample_batch(preprocessing), pick=pick, channels_last=built.channels_last)
    with work.writing("weights") as file:
        save_file(state, file)
    weights = work.emitted["weights"]
    told = {"architecture": asked.architecture, "config": asked.config, "weights_sha256": weights}
    how = sha256_of(preprocessing)
    sha = sha256_of({**told, "preprocess_sha256": how})
    ref = ModelRef(
        id=f"m_{sha[:16]}", name=asked.name, architecture=asked.architecture, config=asked.config,
        weights_sha256=weights, preprocessing=preprocessing, preprocess_sha256=how, model_sha256=sha,
    )  # fmt: skip
    model = Model(
        ref=ref, layers=layers, parameters=sum(part.numel() for part in built.model.parameters()),
        classes=classes, licence=asked.licence, lineage=work.keys["model"], created_at=datetime.now(UTC),
    )  # fmt: skip
    work.emit_record("model", model.model_dump(mode="json", exclude={"created_at"}))
    work.when_published(lambda db: add_model(db, work.workspace, model))
    work.result = ref.id


def collect_activations(work: Work, models: Models) -> None:
    """Run a model over a shard once and put out the pooled activations of each layer that is missing."""
    import torch

    from services.kit.pictures import Manifest
    from services.model.adapters.registry import adapter_for
    from services.model.capture.hooks import captured, evaluating, require_finite
    from services.model.preprocess import batches, reads_pictures

    spec = work.spec
    ref, precision = ModelRef.model_validate(spec["model"]), Precision(str(spec["precision"]))
    start, stop, size = int(str(spec["start"])), int(str(spec["stop"])), int(str(spec["batch"]))
    layers = [layer for layer in map(Layer.model_validate, spec["layers"]) if layer.name in work.missing]
    pick = adapter_for(ref.architecture)[0].pick
    dtype = torch.bfloat16 if precision is Precision.BF16 else torch.float32
    values: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    positions: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    pictures = Manifest.load(work.path("manifest"), work.blobs).pictures(start, stop)
    done = start
    with models.loaded(ref, precision, folded=True) as built, evaluating(built.model):
        for batch in batches(iter(pictures), reads_pictures(ref), size):
            with captured(built.model, layers, pick=pick, special_tokens=built.special_tokens) as kept:
                built.model(batch.to(dtype))
                for name, pooled in kept.take().items():
                    require_finite(name, pooled.values, done)
                    values[name].append(pooled.values)
                    if pooled.positions is not None:
                        positions[name].append(pooled.positions)
            done += len(batch)
            work.advance(len(batch))
    for layer in layers:
        _emit(work, layer, torch.cat(values[layer.name]), positions[layer.name], start, stop)


def _emit(work: Work, layer: Layer, values: Tensor, positions: list[Tensor], start: int, stop: int) -> None:
    import torch

    arrays = {"values": values.numpy()}
    if positions:
        arrays["positions"] = torch.cat(positions).numpy()
    facts = {
        "start": start, "stop": stop, "layer": layer.name,
        "minimum": float(values.min()), "absmax": float(values.abs().max()),
    }  # fmt: skip
    work.emit_arrays(layer.name, arrays, facts)
