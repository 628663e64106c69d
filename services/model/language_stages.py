"""Registering a language model: converted, checked, its layers found, kept as artifacts."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.errors import WrongWeights
from contracts.model import Layer, LayerKind, Model, ModelRef, ModelRegistration
from services.kit.keys import sha256_of
from services.kit.stages import Work
from services.model.adapters.language_models import GGUF, PACKAGE, STORED
from services.model.planning_language import content_sha256
from services.model.repository import add_model

if TYPE_CHECKING:
    from services.model.language.folder import LanguageModel, Meta

SAMPLE = "Layers are found by running a model once: 3 times nothing, and then \N{GREEK SMALL LETTER PI}."
POOLING = "token-max"
DECIDING = frozenset(  # of meta.json, what changes results; the rest are facts about the conversion
    {"architecture", "context", "prefix", "stops", "probes", "chat", "tokenizer_family", "tokenizer_fix", "format"}
)


def register_language_model(work: Work) -> None:
    """Convert a model, find its layers, and keep weights, tokenizer and facts. Publishes the model's row."""
    from services.model.language.folder import CONFIG, TOKENIZER, WEIGHTS, load_folder

    asked = ModelRegistration.model_validate(work.spec["registration"])
    folder = work.blobs.temporary("language")
    try:
        meta = _converted(work, asked, folder)
        layers, parameters = layers_of(load_folder(folder, verify=False))
        for output, name in (("weights", WEIGHTS), ("tokenizer", TOKENIZER)):
            with work.writing(output) as path:
                shutil.move(folder / name, path)
        config = json.loads((folder / CONFIG).read_bytes())
        config.pop("transformers_version", None)
        deciding = {name: value for name, value in asdict(meta).items() if name in DECIDING}
        work.emit_record("language", {"config": config, "meta": deciding})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _publish(work, asked, meta, layers, parameters)
    work.advance(1)


def layers_of(language: LanguageModel) -> tuple[list[Layer], int]:
    """Layer catalogue of a language model, in the order in which layers run, and the number of its parameters."""
    import torch

    from services.model.language.capture import stopped_after
    from services.model.language.layout import sites_of

    sites = sites_of(language.model, language.architecture)
    ids = torch.tensor([[*language.tokenizer.facts.prefix, *language.tokenizer.encode(SAMPLE)]])
    with stopped_after(language.model, sites) as run:
        seen = run(ids[:, : language.context])
    modules = dict(language.model.named_modules())
    layers = [
        Layer(
            name=site.name, kind=LayerKind.TOKENS, module=type(modules[site.name]).__name__,
            width=seen[site.name].shape[-1], signed=bool((seen[site.name] < 0).any()), pooling=POOLING,
        )
        for site in sites
    ]  # fmt: skip
    return layers, sum(part.numel() for part in language.model.parameters())


def _converted(work: Work, asked: ModelRegistration, folder: Path) -> Meta:
    from services.model.language.convert import convert_folder, convert_gguf
    from services.model.language.sources import PACKAGED, join_parts

    family, _, name = asked.architecture.partition(":")
    paths = [Path(str(path)) for path in list(work.spec["paths"])]  # type: ignore[arg-type]
    if not all(path.exists() for path in paths) or content_sha256(paths, family) != work.spec["source_sha256"]:
        raise WrongWeights(f"{paths[0].name} was changed or removed since it was registered", field="weights")
    asked_limit = work.spec["perplexity_limit"]
    limit = math.inf if asked_limit is None else float(str(asked_limit))
    if family not in {PACKAGE, GGUF}:
        meta = convert_folder(paths[0], folder, perplexity_limit=limit, licence=asked.licence)
        due = name
    else:
        licence = asked.licence or (PACKAGED[name].licence if family == PACKAGE else None)
        due = PACKAGED[name].architecture if family == PACKAGE else name
        joined = work.blobs.temporary("gguf").with_suffix(".gguf")
        try:
            file = join_parts(paths, joined)
            meta = convert_gguf(file, folder, perplexity_limit=limit, licence=licence)
        finally:
            joined.unlink(missing_ok=True)
    if meta.architecture != due:
        raise WrongWeights(
            f"{paths[0].name} holds a {meta.architecture}, not a {due}", field="architecture", found=meta.architecture
        )
    return meta


def _publish(work: Work, asked: ModelRegistration, meta: Meta, layers: list[Layer], parameters: int) -> None:
    architecture = f"{STORED}:{meta.architecture}"
    weights, tokenizer, language = (work.emitted[name] for name in ("weights", "tokenizer", "language"))
    config = {"tokenizer_sha256": tokenizer, "language_sha256": language, "context": meta.context}
    reads = sha256_of({"tokenizer": tokenizer, "prefix": meta.prefix})
    sha = sha256_of({"architecture": architecture, "config": config, "weights": weights, "preprocess_sha256": reads})
    ref = ModelRef(
        id=f"m_{sha[:16]}", name=asked.name, architecture=architecture, config=config, weights_sha256=weights,
        preprocessing=None, preprocess_sha256=reads, model_sha256=sha,
    )  # fmt: skip
    facts: dict[str, JsonValue] = {
        "context": meta.context,
        "perplexity": round(float((meta.perplexity or {})["value"]), 2),
        "published_token_ids": meta.tokenizer_golden,
        "source_sha256": work.spec["source_sha256"],
    }
    model = Model(
        ref=ref, layers=layers, parameters=parameters, classes=None, licence=meta.licence, facts=facts,
        lineage=work.keys["model"], created_at=datetime.now(UTC),
    )  # fmt: skip
    work.emit_record("model", model.model_dump(mode="json", exclude={"created_at"}))
    work.when_published(lambda db: add_model(db, work.workspace, model))
    work.result = ref.id
