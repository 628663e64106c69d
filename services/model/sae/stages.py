"""The stages that make an autoencoder: legs of its training, and its figures, codes and folder."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from contracts.sae import SaeRequest, TooFewRows, UnsupportedSae
from services.kit.arrays import load_arrays
from services.kit.groups import group_numbers, held_out_groups
from services.kit.pictures import Manifest
from services.kit.saelens import content_sha256
from services.kit.stages import StageFunction, Work
from services.model.sae.text_stages import text_sae_stages

if TYPE_CHECKING:
    from services.model.sae.autoencoder import SparseAutoencoder
    from services.model.sae.stream import Stream
    from services.model.sae.training import Recipe
    from services.model.service import Models

LONG_AGO = (1980, 1, 1, 0, 0, 0)


def sae_stages(models: Models) -> tuple[StageFunction, ...]:
    """The stages of sparse autoencoders that need the model service's libraries."""
    return (
        StageFunction("train-sae", 1, train_sae),
        StageFunction("import-sae", 1, import_sae),
        StageFunction("measure-sae", 1, measure_sae),
        *text_sae_stages(models),
    )


def recipe_of(request: SaeRequest) -> Recipe:
    """The recipe of a request."""
    from services.model.sae.training import Recipe

    return Recipe(
        latents=request.latents, k=request.k, kind=request.kind, steps=request.steps, batch=request.batch,
        learning_rate=request.learning_rate, dead_rows=request.dead_rows, seed=request.seed,
    )  # fmt: skip


def train_sae(work: Work) -> None:
    """One leg of a training: from the checkpoint before (or the start) to step `until`, bit for bit as in one run."""
    from services.model.sae.checkpoints import load_checkpoint, save_checkpoint
    from services.model.sae.training import begin

    request, until = SaeRequest.model_validate(work.spec["request"]), int(str(work.spec["until"]))
    recipe = recipe_of(request)
    stream = _training_stream(work, request)
    if "checkpoint" in work.inputs:
        trainer = load_checkpoint(work.path("checkpoint"), recipe, stream)
    else:
        trainer = begin(stream, recipe)
    while trainer.step < min(until, recipe.steps):
        trainer.train(stream.next())
        work.advance(1)
    with work.writing("checkpoint") as path:
        save_checkpoint(path, trainer, stream)


def import_sae(work: Work) -> None:
    """Read a SAELens folder that is as it was planned with: its weights, and what they are.

    Raises
    ------
    UnsupportedSae : the folder has changed or gone since.
    """
    from services.model.sae.saelens import import_saelens

    folder = Path(str(SaeRequest.model_validate(work.spec["request"]).folder))
    if content_sha256(folder) != work.spec["content"]:
        raise UnsupportedSae(f"{folder.name} is not what it was when this was asked for", field="folder")
    sae, _ = import_saelens(folder)
    work.emit_arrays("weights", {name: value.numpy() for name, value in sae.tensors().items()}, facts_of_sae(sae))
    work.advance(1)


def facts_of_sae(sae: SparseAutoencoder) -> dict[str, str | int | None]:
    """What stands beside the stored weights."""
    return {"architecture": sae.architecture, "k": sae.k, "width": sae.width, "latents": sae.latents}


def finished_sae(work: Work, request: SaeRequest, stream: Stream | None) -> SparseAutoencoder:
    """The autoencoder that a part before made: imported weights, or the last checkpoint of training on a stream."""
    from services.model.sae.checkpoints import load_checkpoint
    from services.model.sae.stored import load_sae

    if stream is None:
        return load_sae(work.path("weights"))
    return load_checkpoint(work.path("checkpoint"), recipe_of(request), stream).finished()


def warnings_of(request: SaeRequest) -> list[str]:
    """What the recipe of a training warns of; an import has none."""
    return [] if request.folder is not None else recipe_of(request).warnings


def measure_sae(work: Work) -> None:
    """Figures on held-out rows, codes of all rows, the weights, and the folder that SAELens reads."""
    import torch

    from services.model.sae.metrics import measure

    request = SaeRequest.model_validate(work.spec["request"])
    rows, held = _rows(work, request.seed)
    sae = finished_sae(work, request, _stream(rows[~held], request) if request.folder is None else None)
    found, seen = measure(sae, torch.from_numpy(rows[held])), measure(sae, torch.from_numpy(rows[~held]))
    figures = {name: value for name, value in asdict(found).items() if name not in ("density", "rows")} | {
        "explained_training": seen.explained,
        "held_out": found.rows,
        "trained_on": 0 if request.folder is not None else seen.rows,
    }
    facts = facts_of_sae(sae)
    work.emit_record("figures", {**facts, "quality": figures, "warnings": warnings_of(request)})
    work.emit_arrays("sae", {name: value.numpy() for name, value in sae.tensors().items()}, facts)
    work.emit_arrays("codes", {**codes_of(sae, rows), "held_out": held}, {"shape": [len(rows), sae.latents]})
    with work.writing("folder") as path:
        path.write_bytes(folder_bytes(sae, model=str(work.spec["model"]), layer=request.layer))
    work.advance(1)


def codes_of(sae: SparseAutoencoder, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Codes of all rows, sparse: starts [N + 1] int64, latents [n] int32, values [n] float32."""
    import torch

    starts, latents, values = [np.zeros(1, np.int64)], [], []
    for block in torch.from_numpy(rows).split(1024):
        codes = sae.encode(block)
        fired = codes > 0
        starts.append(starts[-1][-1] + fired.sum(dim=1).cumsum(0).numpy())
        latents.append(fired.nonzero()[:, 1].numpy().astype(np.int32))
        values.append(codes[fired].numpy())
    return {"starts": np.concatenate(starts), "latents": np.concatenate(latents), "values": np.concatenate(values)}


def folder_bytes(sae: SparseAutoencoder, *, model: str, layer: str) -> bytes:
    """The SAELens folder as a zip; equal weights give equal bytes."""
    from services.model.sae.saelens import export_saelens

    out = io.BytesIO()
    with TemporaryDirectory() as folder, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        export_saelens(Path(folder), sae, model=model, layer=layer, facts={"made_by": "xsys"})
        for file in sorted(Path(folder).iterdir()):
            archive.writestr(zipfile.ZipInfo(file.name, LONG_AGO), file.read_bytes())
    return out.getvalue()


def _training_stream(work: Work, request: SaeRequest) -> Stream:
    """Tokens of a capture, or pooled rows of a snapshot."""
    if request.capture is not None:
        from services.model.sae.text_rows import text_stream

        return text_stream(work, request)
    rows, held = _rows(work, request.seed)
    return _stream(rows[~held], request)


def _rows(work: Work, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations of the layer, [N, d] float32, and which rows are held out."""
    blocks = load_arrays(work.path("columns"))
    rows = np.concatenate([blocks[name] for name in sorted(blocks)], axis=1).astype(np.float32)
    groups = group_numbers(Manifest.load(work.path("manifest"), work.blobs).groups())
    held = held_out_groups(groups, seed=seed)
    if held.all() or held.sum() < 2:
        raise TooFewRows(f"{len(np.unique(groups))} groups cannot be divided", field="snapshot", n=len(rows))
    return rows, held


def _stream(rows: np.ndarray, request: SaeRequest) -> Stream:
    from services.model.sae.stream import Stream, shards_of

    return Stream(shards_of(rows), batch=request.batch, seed=request.seed)


def config_in(folder: bytes) -> dict[str, object]:
    """Read `cfg.json` of an exported folder."""
    with zipfile.ZipFile(io.BytesIO(folder)) as archive:
        return dict(json.loads(archive.read("cfg.json")))
