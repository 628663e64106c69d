"""The plans of text atlases and of their alignments with captures of other models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.atlas import (
    AlignmentRequest,
    Atlas,
    AtlasMismatch,
    AtlasRequest,
    LabellerUnavailable,
    WindowMismatch,
)
from contracts.base import Caller
from contracts.captures import Capture, NotOfText
from contracts.corpora import HoldsText
from contracts.sae import Sae
from services.explanation.atlas.capture_plans import capture_inputs
from services.explanation.atlas.keys import keys_of
from services.explanation.atlas.repository import capture_row
from services.explanation.labels.vocabularies import FROM_DATASET, vocabulary_of
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

if TYPE_CHECKING:
    from services.explanation.service import Explanation

ENCODER = "imagenet-minilm"  # its text side is MiniLM
KEPT = ("sae", "codes", "features", "lexicon", "corpus", "norms")


def captured(explanation: Explanation, caller: Caller, capture: str) -> tuple[Capture, dict[str, str]]:
    """Return a capture with its artifacts. Raises `UnknownCapture`."""
    with explanation.database.reading() as db:
        row = capture_row(db, caller.workspace, capture)
        return Capture.model_validate(row.record), dict(row.artifacts)


def plan_text_atlas(
    request: AtlasRequest, sae: Sae, made: dict[str, str], *, caller: Caller, explanation: Explanation,
    registry: StageRegistry, numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan the windows' embeddings, labels of all latents, and the published atlas.

    Raises
    ------
    UnknownCapture; HoldsText : names from classes or captions; EmptyVocabulary; LabelTooLong.
    """
    vocabulary = request.vocabulary or "words"
    if vocabulary in FROM_DATASET:
        raise HoldsText(f"a corpus has no {vocabulary}", field="vocabulary")
    if vocabulary == "list":
        vocabulary_of(request.names or [])
    settings = explanation.settings
    if request.labeller and (settings.labeller_url is None or settings.labeller_model is None):
        raise LabellerUnavailable("no language model is set up to phrase labels", field="labeller")
    capture, artifacts = captured(explanation, caller, str(sae.capture))
    encoder = explanation.encoders_in_memory.get(ENCODER)
    key = keys_of(registry, numerics, request.seed)
    embeddings, parts = dict[str, str](), []
    for role, text in capture_inputs(capture, artifacts, sae.layer).items():
        inputs = {"corpus": artifacts["corpus"], "text": text}
        found = {"embeddings": key("embed-windows", [*inputs.values(), encoder.fingerprint], {}, "embeddings")}
        embeddings[f"embeddings/{role.rpartition('/')[2]}"] = found["embeddings"]
        parts.append(PartPlan({"encoder": ENCODER}, inputs, found, units=capture.request.shard))
    asked = request.model_copy(update={"sae": sae.id, "vocabulary": vocabulary})
    inputs = {**{name: made[name] for name in ("codes", "features", "lexicon", "corpus")}, **embeddings}
    told: dict[str, object] = {"vocabulary": vocabulary, "names": [*(request.names or [])]}
    if request.labeller:
        told |= {"labeller": settings.labeller_model, "url": settings.labeller_url}
    outputs = {
        name: key("label-text-latents", [*inputs.values(), encoder.fingerprint], told, name)
        for name in ("labels", "names", "summary")
    }
    spec: dict[str, JsonValue] = {"request": asked.model_dump(mode="json"), "encoder": ENCODER}
    label = PartPlan(spec, inputs, outputs, units=sae.latents)
    published = {**{name: made[name] for name in KEPT}, **outputs}
    whole = key("publish-atlas", list(published.values()), {"name": request.name}, "record")
    final: dict[str, JsonValue] = {
        "request": asked.model_dump(mode="json"), "snapshot": None, "capture": capture.id, "model": sae.model,
        "layer": sae.layer, "dataset": capture.corpus, "encoder": ENCODER,
    }  # fmt: skip
    stages = (
        StagePlan("embed-windows", tuple(parts), unit="windows", title="embed windows"),
        StagePlan("label-text-latents", (label,), unit="latents", title="name and judge"),
        StagePlan("publish-atlas", (PartPlan(final, published, {"record": whole}),), title="publish"),
    )
    return JobPlan("atlas", f"atlas of {sae.name}: {sae.latents} latents", stages, f"atlas_{whole[:16]}")


def plan_text_alignment(
    request: AlignmentRequest, atlas: Atlas, made: dict[str, str], *, caller: Caller, explanation: Explanation,
    registry: StageRegistry, numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan a part for each layer of the subject's capture, and the published alignment.

    Raises
    ------
    NotOfText, AtlasMismatch : a text atlas with a snapshot, or the other way round. UnknownCapture; UnknownLayer;
    WindowMismatch : the captures are of other windows.
    """
    if atlas.capture is None:
        raise NotOfText(f"{atlas.name} is an atlas of pictures", field="atlas")
    if request.capture is None:
        raise AtlasMismatch(f"{atlas.name} is of text; align it with a capture", field="capture")
    subject, artifacts = captured(explanation, caller, request.capture)
    ours, _ = captured(explanation, caller, atlas.capture)
    if subject.order_sha256 != ours.order_sha256:
        raise WindowMismatch(
            f"the atlas saw {ours.windows} windows of {ours.corpus}, the subject {subject.windows} of {subject.corpus}",
            field="capture",
        )  # fmt: skip
    layers = request.layers or [one.layer for one in subject.layers]
    pools = request.pools or [*subject.request.pools]
    asked = request.model_copy(
        update={"atlas": atlas.id, "capture": subject.id, "layers": [*layers], "pools": [*pools]}
    )
    key = keys_of(registry, numerics, request.seed)
    spec: dict[str, JsonValue] = {"request": asked.model_dump(mode="json")}
    parts, published = [], {**made, "subject_norms": artifacts["norms"]}
    for layer in layers:
        inputs = {"codes": made["codes"], **capture_inputs(subject, artifacts, layer, "pooled")}
        params: dict[str, object] = {"layer": layer, "translators": [*request.translators], "pools": [*pools]}
        outputs = {name: key("align-text-layer", list(inputs.values()), params, name) for name in ("map", "transfer")}
        published |= {f"{name}/{layer}": one for name, one in outputs.items()}
        parts.append(PartPlan({**spec, "layer": layer}, inputs, outputs))
    whole = key("publish-alignment", list(published.values()), {"name": request.name}, "record")
    final: dict[str, JsonValue] = {**spec, "model": subject.model, "layers": list[JsonValue](layers)}
    stages = (
        StagePlan("align-text-layer", tuple(parts), unit="layers", title="translate and judge"),
        StagePlan("publish-alignment", (PartPlan(final, published, {"record": whole}),), title="publish"),
    )
    return JobPlan("alignment", f"{atlas.name} on {subject.name}: {len(layers)} layers", stages, f"align_{whole[:16]}")
