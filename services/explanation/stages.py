"""Offline work of the explanation service, from pooled activations to a published snapshot."""

from __future__ import annotations

from typing import cast

import numpy as np

from contracts.snapshots import Encoder
from services.explanation.candidates.stages import candidate_stages
from services.explanation.collect import collect
from services.explanation.encoders.registry import EncoderCache
from services.explanation.label_stages import embed_vocabulary, name_components, publish_labels
from services.explanation.measure import calibrate, place_and_measure
from services.explanation.partials import collect_span
from services.explanation.publish import index, publish
from services.explanation.relevant import collect_relevant
from services.explanation.service import Explanation
from services.kit.pictures import Manifest
from services.kit.stages import StageFunction, Work


def stages(explanation: Explanation) -> tuple[StageFunction, ...]:
    """The stages of this service, bound to its encoders."""
    encoders = explanation.encoders_in_memory
    return (
        StageFunction("partials", 1, collect_span),
        StageFunction("examples", 3, collect),
        StageFunction("relevant", 1, collect_relevant),
        StageFunction("embeddings", 1, lambda work: embed(work, encoders)),
        StageFunction("crop-embeddings", 1, lambda work: embed_crops(work, encoders)),
        StageFunction("nulls", 4, lambda work: calibrate(work, encoders)),
        StageFunction("vectors", 2, place_and_measure),
        StageFunction("index", 2, index),
        StageFunction("publish", 1, publish),
        StageFunction("vocabulary", 1, lambda work: embed_vocabulary(work, encoders)),
        *candidate_stages(explanation.vision, encoders),
        StageFunction("labels", 2, name_components),
        StageFunction("publish-labels", 1, publish_labels),
    )


def embed(work: Work, encoders: EncoderCache) -> None:
    """Embed a shard of pictures; stored in float16, to be normalised again in float32 when read."""
    encoder = Encoder.model_validate(work.spec["encoder"])
    start, stop, batch = (int(cast(int, work.spec[name])) for name in ("start", "stop", "batch"))
    port = encoders.get(encoder.name)
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    rows = np.empty((stop - start, encoder.width), np.float16)
    for first in range(start, stop, batch):
        last = min(first + batch, stop)
        rows[first - start : last - start] = port.encode_images(list(manifest.pictures(first, last)))
        work.advance(last - first)
    work.emit_arrays("embeddings", {"unit": rows}, {"start": start, "stop": stop, "encoder": encoder.name})


def embed_crops(work: Work, encoders: EncoderCache) -> None:
    """Embed what crops show of some components' examples: `unit` [M, d] float16 with the `row` and `rank` of each."""
    encoder = Encoder.model_validate(work.spec["encoder"])
    start, batch = (int(cast(int, work.spec[name])) for name in ("start", "batch"))
    port = encoders.get(encoder.name)
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    boxes, ids = work.arrays("boxes")["boxes"], work.arrays("examples")["ids"]
    row, rank = np.nonzero(boxes[..., 2] > boxes[..., 0])
    unit = np.empty((len(row), encoder.width), np.float16)
    for first in range(0, len(row), batch):
        some = range(first, min(first + batch, len(row)))
        pictures = [
            manifest.picture(int(ids[start + row[place], rank[place]])).crop(boxes[row[place], rank[place]].tolist())
            for place in some
        ]
        unit[first : first + len(some)] = port.encode_images(pictures)
        work.advance(0)
    arrays = {"unit": unit, "row": (start + row).astype(np.int32), "rank": rank.astype(np.int32)}
    work.emit_arrays("embeddings", arrays, {"start": start, "encoder": encoder.name})
    work.advance(len(boxes))
