"""The stages that make labels: the vocabulary's vectors, the labels of a layer, and the published set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import numpy as np
from pydantic import JsonValue

from contracts.errors import EmptyVocabulary
from contracts.labels import LabelRequest, LabelSet, VocabularyFigures
from contracts.snapshots import Encoder
from services.explanation.candidates.figures import candidate_figures
from services.explanation.collect import group_numbers
from services.explanation.encoders.port import EncoderPort
from services.explanation.encoders.registry import EncoderCache
from services.explanation.label_inputs import columns_of, evidence_in
from services.explanation.labelling import LayerLabels, label_layer
from services.explanation.labels.scorers import Probe, scorer_named
from services.explanation.labels.splits import split_by_group
from services.explanation.labels.vocabularies import (
    FROM_DATASET,
    NAMED,
    Vocabulary,
    frame_vectors,
    imagenet,
    text_vectors,
    vocabulary_of,
)
from services.explanation.measure import embeddings_of
from services.explanation.repository import publish_label_set
from services.explanation.semantics.queries import (
    TEMPLATES,
    background_names,
    remembering,
    template_nulls,
    text_directions,
)
from services.kit.arrays import load_arrays
from services.kit.pictures import Manifest
from services.kit.stages import Work

BACKGROUND = 1000


def embed_vocabulary(work: Work, encoders: EncoderCache) -> None:
    """Resolve a vocabulary and embed its names, once for all layers and scorers."""
    request = LabelRequest.model_validate(work.spec["request"])
    vocabulary = _resolve(request, work)
    port = encoders.get(Encoder.model_validate(work.spec["encoder"]).name)
    templates = [str(template) for template in cast(list[str], work.spec["templates"])]
    arrays = vectors_of_names(port, vocabulary.names, request, templates, work)
    work.emit_arrays("texts", arrays, {"templates": templates, "text": request.text})
    work.emit_record(
        "names",
        {
            "source": vocabulary.source, "names": list(vocabulary.names), "definitions": list(vocabulary.definitions),
            "merged": vocabulary.merged, "sha256": vocabulary.sha256,
        },
    )  # fmt: skip
    work.advance(1)


def _resolve(request: LabelRequest, work: Work) -> Vocabulary:
    if request.vocabulary in NAMED:
        return imagenet(request.vocabulary)
    if request.vocabulary not in FROM_DATASET:
        return vocabulary_of(request.names or [])
    samples = Manifest.load(work.path("manifest"), work.blobs)
    found = samples.labels() if request.vocabulary == "classes" else samples.captions()
    names = sorted({name for name in found if name})
    if not names:
        raise EmptyVocabulary(f"the dataset has no {request.vocabulary}", field="vocabulary", n=0)
    return vocabulary_of(names, source=request.vocabulary)


def vectors_of_names(
    port: EncoderPort, names: Sequence[str], request: LabelRequest, templates: list[str], work: Work
) -> dict[str, np.ndarray]:
    """Embed names as the request's scorers need them: `texts`, `bare` and, for `www`, `frames`, [T, d] each."""
    arrays = {
        "texts": _texts(port, names, request.text, templates, work),
        "bare": text_vectors(port.encode_texts, names, ["{}"]),
    }
    if any(name.startswith("www") for name in request.scorers):
        arrays["frames"] = frame_vectors(port.encode_texts, names)
    return arrays


def _texts(port: EncoderPort, names: Sequence[str], mode: str, templates: list[str], work: Work) -> np.ndarray:
    if mode == "null":
        encode = remembering(port.encode_texts)
        nulls = template_nulls(encode, TEMPLATES, null=port.null, background=background_names(BACKGROUND))
        return text_directions(encode, names, templates=TEMPLATES, nulls=nulls)
    return text_vectors(port.encode_texts, names, templates, unit=mode == "csp-unit", advance=lambda _: work.advance(0))


def name_components(work: Work) -> None:
    """Label the components of one layer on probing samples and judge the labels on held-out ones."""
    request = LabelRequest.model_validate(work.spec["request"])
    layer = cast(dict[str, JsonValue], work.spec["layer"])
    table, state = work.arrays("examples"), load_arrays(work.path("vectors"), ["state"])["state"]
    activations = columns_of(work, table)
    samples = Manifest.load(work.path("manifest"), work.blobs)
    split = split_by_group(group_numbers(work, len(activations)), seed=request.seed)
    embeddings = np.concatenate([rows for _, rows in embeddings_of(work).blocks()])
    texts = work.arrays("texts")
    valid = evidence_in(activations, split, state, signed=bool(layer["signed"]))
    probe = Probe(
        embeddings[split.probe], activations[split.probe], valid, request.positives, texts["texts"], texts["bare"],
        texts.get("frames"), request.seed,
    )  # fmt: skip
    labelled = label_layer(
        LayerLabels(
            probe=probe, split=split, activations=activations, embeddings=embeddings, labels=samples.labels(),
            components=table["index"].astype(np.int64), seed=request.seed, advance=work.advance,
        ),
        [scorer_named(text) for text in request.scorers],
    )  # fmt: skip
    work.emit_arrays("labels", {**labelled.arrays, "n_valid": valid, "sign": table["sign"]}, {"layer": layer["name"]})
    work.emit_record("leaderboard", {"layer": layer["name"], **labelled.record})
    work.advance(int(cast(int, layer["width"])))


def publish_labels(work: Work) -> None:
    """Write the record of a label set, and its row in the transaction that publishes this part."""
    request = LabelRequest.model_validate(work.spec["request"])
    names = json.loads(work.path("names").read_bytes())
    key = work.keys["label-set"]
    found = LabelSet(
        id=f"l_{key[:16]}",
        snapshot=str(work.spec["snapshot"]),
        layers=[str(name) for name in cast(list[str], work.spec["layers"])],
        scorers=[scorer_named(text).written for text in request.scorers],
        vocabulary=VocabularyFigures(
            source=names["source"], n=len(names["names"]), merged=names["merged"], sha256=names["sha256"]
        ),
        templates=[str(template) for template in cast(list[str], work.spec["templates"])],
        text=request.text,
        candidates=candidate_figures(work),
        encoder=str(work.spec["encoder"]),
        simulator=f"{work.spec['encoder']}: the encoder that made the labels",
        request=request,
        lineage=key,
        created_at=datetime.now(UTC),
    )
    roles = {role: work.keys[role] for role in work.inputs}
    unsaid: dict[str, object] = {"created_at": True}
    if found.candidates is None:  # such records have the bytes that they had before there were candidates
        unsaid |= {"candidates": True, "request": {"candidates"}}
    work.emit_record("label-set", {"labels": found.model_dump(mode="json", exclude=unsaid), "artifacts": roles})
    work.when_published(lambda db: publish_label_set(db, work.workspace, found, roles))
    work.result = found.id
    work.advance(1)
