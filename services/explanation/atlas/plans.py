"""The plans of atlases and alignments; what can be refused is refused here, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.atlas import AlignmentRequest, Atlas, AtlasRequest, WindowMismatch
from contracts.base import Caller
from contracts.captures import NotOfText
from contracts.errors import NoTextSide
from contracts.labels import LabelRequest
from contracts.sae import Sae
from services.explanation.atlas.keys import keys_of
from services.explanation.atlas.repository import atlas_row, sae_row
from services.explanation.atlas.text_plans import plan_text_alignment, plan_text_atlas
from services.explanation.labels.vocabularies import FROM_DATASET, TEMPLATES, vocabulary_of
from services.explanation.repository import snapshot_row
from services.kit.artifacts import inputs_of
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

if TYPE_CHECKING:
    from services.explanation.service import Explanation


def plan_atlas(
    request: AtlasRequest, *, caller: Caller, explanation: Explanation, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan vocabulary, labels of all latents, and the published atlas.

    Raises
    ------
    UnknownSae; UnknownSnapshot; NoTextSide; EmptyVocabulary; LabelTooLong.
    """
    with explanation.database.reading() as db:
        row = sae_row(db, caller.workspace, request.sae)
        sae, made = Sae.model_validate(row.record), dict(row.artifacts)
    if sae.snapshot is None:
        return plan_text_atlas(
            request, sae, made, caller=caller, explanation=explanation, registry=registry, numerics=numerics
        )
    vocabulary = request.vocabulary or "imagenet-1k"
    if vocabulary == "words":
        raise NotOfText("pictures have no words of their own", field="vocabulary")
    snapshot = explanation.opened(caller, sae.snapshot).snapshot
    if not snapshot.encoder.text:
        raise NoTextSide(f"{snapshot.encoder.name} reads no text, so names have no vectors", field="sae")
    if vocabulary == "list":
        vocabulary_of(request.names or [])
    with explanation.database.reading() as db:
        artifacts = dict(snapshot_row(db, caller.workspace, snapshot.id).artifacts)
        nulls = inputs_of(db, caller.workspace, artifacts["nulls"])
    embeddings = {role: str(one) for role, one in nulls.items() if role.startswith("embeddings/")}
    key = keys_of(registry, numerics, request.seed)
    words = LabelRequest(snapshot=snapshot.id, vocabulary=vocabulary, names=request.names, seed=request.seed)
    encoder = snapshot.encoder.model_dump(mode="json")
    told = {"vocabulary": vocabulary, "names": list(request.names or []), "templates": list(TEMPLATES)}
    told |= {"text": words.text, "frames": False}
    source = {"manifest": artifacts["manifest"]} if vocabulary in FROM_DATASET else {}
    texts = {
        name: key("vocabulary", [snapshot.encoder.fingerprint, *source.values()], dict(told), name)
        for name in ("names", "texts")
    }
    first = PartPlan(
        {"request": words.model_dump(mode="json"), "templates": list(TEMPLATES), "encoder": encoder}, source, texts
    )
    asked = request.model_copy(update={"sae": sae.id})
    inputs = {"codes": made["codes"], "manifest": artifacts["manifest"], "texts": texts["texts"], **embeddings}
    outputs = {name: key("label-latents", list(inputs.values()), {}, name) for name in ("labels", "summary")}
    second = PartPlan({"request": asked.model_dump(mode="json")}, inputs, outputs, units=sae.latents)
    published = {"codes": made["codes"], "manifest": artifacts["manifest"], "names": texts["names"], **outputs}
    whole = key("publish-atlas", list(published.values()), {"name": request.name}, "record")
    spec = {
        "request": asked.model_dump(mode="json"), "snapshot": snapshot.id, "model": sae.model, "layer": sae.layer,
        "dataset": snapshot.dataset.id, "encoder": snapshot.encoder.name,
    }  # fmt: skip
    stages = (
        StagePlan("vocabulary", (first,), title="embed names"),
        StagePlan("label-latents", (second,), unit="latents", title="name and judge"),
        StagePlan("publish-atlas", (PartPlan(spec, published, {"record": whole}),), title="publish"),
    )
    return JobPlan("atlas", f"atlas of {sae.name}: {sae.latents} latents", stages, f"atlas_{whole[:16]}")


def plan_alignment(
    request: AlignmentRequest, *, caller: Caller, explanation: Explanation, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan a part for each layer of the subject, and the published alignment.

    Raises
    ------
    UnknownAtlas; UnknownSnapshot; UnknownLayer; WindowMismatch : the snapshots are of different samples.
    """
    with explanation.database.reading() as db:
        row = atlas_row(db, caller.workspace, request.atlas)
        atlas, made = Atlas.model_validate(row.record), dict(row.artifacts)
    if atlas.snapshot is None or request.snapshot is None:
        return plan_text_alignment(
            request, atlas, made, caller=caller, explanation=explanation, registry=registry, numerics=numerics
        )
    opened, ours = explanation.opened(caller, request.snapshot), explanation.opened(caller, atlas.snapshot).snapshot
    subject = opened.snapshot
    if subject.dataset.order_sha256 != ours.dataset.order_sha256:
        raise WindowMismatch(f"the atlas saw {ours.dataset.name}, the subject {subject.dataset.name}", field="snapshot")
    layers = request.layers or opened.layer_names
    for layer in layers:
        opened.layer_number(layer)
    with explanation.database.reading() as db:
        artifacts = dict(snapshot_row(db, caller.workspace, subject.id).artifacts)
    key = keys_of(registry, numerics, request.seed)
    asked = request.model_copy(update={"atlas": atlas.id, "snapshot": subject.id, "layers": list(layers)})
    spec = {"request": asked.model_dump(mode="json")}
    parts, published = [], dict(made)
    for layer in layers:
        inputs = {"codes": made["codes"], "manifest": artifacts["manifest"], "columns": artifacts[f"columns/{layer}"]}
        params: dict[str, object] = {"layer": layer, "translators": list(request.translators)}
        outputs = {name: key("align-layer", list(inputs.values()), params, name) for name in ("map", "transfer")}
        published |= {f"{name}/{layer}": one for name, one in outputs.items()}
        parts.append(PartPlan({**spec, "layer": layer}, inputs, outputs))
    whole = key("publish-alignment", list(published.values()), {"name": request.name}, "record")
    final = {**spec, "model": subject.model.id, "layers": list(layers)}
    stages = (
        StagePlan("align-layer", tuple(parts), unit="layers", title="translate and judge"),
        StagePlan("publish-alignment", (PartPlan(final, published, {"record": whole}),), title="publish"),
    )
    return JobPlan("alignment", f"{atlas.name} on {subject.name}: {len(layers)} layers", stages, f"align_{whole[:16]}")
