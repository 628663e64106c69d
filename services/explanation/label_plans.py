"""The plan of a label set on a published snapshot; what can be refused is refused here, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.base import Caller
from contracts.errors import NoTextSide
from contracts.labels import LabelRequest
from services.explanation.candidates.plans import Offered, candidate_stages_of, offer, told_of
from services.explanation.labels.scorers import scorer_named
from services.explanation.labels.vocabularies import FROM_DATASET, TEMPLATES, vocabulary_of
from services.explanation.repository import snapshot_row
from services.explanation.semantics.queries import require_templates
from services.kit.artifacts import inputs_of
from services.kit.keys import artifact_key
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

if TYPE_CHECKING:
    from services.explanation.service import Explanation

Params = dict[str, JsonValue]


def plan_labels(
    request: LabelRequest, *, caller: Caller, explanation: Explanation, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan vocabulary, candidates if they are asked for, labels per layer, and the published set.

    Raises
    ------
    UnknownSnapshot; UnknownLayer; UnknownScorer; InvalidRequest; NoTextSide; BadTemplate; EmptyVocabulary;
    LabelTooLong; VisionModelUnavailable : candidates are asked for, and the settings name no model.
    """
    opened = explanation.opened(caller, request.snapshot)
    snapshot = opened.snapshot
    layers = request.layers or opened.layer_names
    for layer in layers:
        opened.layer_number(layer)
    scorers = list(dict.fromkeys(scorer_named(text).written for text in request.scorers))
    templates = request.templates or list(TEMPLATES if request.text in ("csp", "csp-unit") else ("{}",))
    require_templates(templates)
    if not snapshot.encoder.text:
        raise NoTextSide(f"{snapshot.encoder.name} reads no text, so names have no vectors", field="snapshot")
    if request.vocabulary == "list":
        vocabulary_of(request.names or [])
    model = None if request.candidates is None else explanation.vision.require()
    asked = request.model_copy(update={"snapshot": snapshot.id, "layers": layers, "scorers": scorers})
    with explanation.database.reading() as db:
        artifacts = dict(snapshot_row(db, caller.workspace, snapshot.id).artifacts)
        embeddings = {
            role: str(key)
            for role, key in inputs_of(db, caller.workspace, artifacts["nulls"]).items()
            if role.startswith("embeddings/")
        }
    shapes = {layer.name: layer for layer in snapshot.layers}
    spec: Params = {
        "request": asked.model_dump(mode="json"), "templates": list(templates),
        "encoder": snapshot.encoder.model_dump(mode="json"),
    }  # fmt: skip

    def key(stage: str, inputs: list[str], params: Params, output: str) -> str:
        version = registry.version(stage)
        return artifact_key(
            stage, version=version, inputs=inputs, params=params, seed=request.seed, numerics=numerics, output=output
        )

    words: Params = {
        "vocabulary": request.vocabulary, "names": list(request.names or []), "templates": list(templates),
        "text": request.text, "frames": any(name.startswith("www") for name in scorers),
    }  # fmt: skip
    source = {"manifest": artifacts["manifest"]} if request.vocabulary in FROM_DATASET else {}
    text_keys = {
        name: key("vocabulary", [snapshot.encoder.fingerprint, *source.values()], words, name)
        for name in ("names", "texts")
    }
    parts, published = [], {"names": text_keys["names"]}
    offered: list[Offered] = []
    told = {} if model is None else told_of(model)
    chosen: Params = {"scorers": list(scorers), "positives": request.positives}
    for name in layers:
        shape = shapes[name]
        layer: Params = {"name": name, "width": shape.width, "signed": shape.signed}
        seen = {
            "manifest": artifacts["manifest"],
            **{role: artifacts[f"{role}/{name}"] for role in ("examples", "columns", "vectors")},
            **embeddings,
        }
        texts = text_keys["texts"]
        if request.candidates is not None:
            here: Params = {**spec, "layer": layer}
            offered.append(offer(request.candidates, told, here, seen=seen, words=text_keys, key=key))
            texts = offered[-1].union.outputs["texts"]
            published[f"names/{name}"] = offered[-1].union.outputs["names"]
        inputs = {"manifest": artifacts["manifest"], "texts": texts, **seen}
        outputs = {
            output: key("labels", list(inputs.values()), {"layer": name, **chosen}, output)
            for output in ("labels", "leaderboard")
        }
        published |= {f"{output}/{name}": outputs[output] for output in outputs}
        parts.append(PartPlan({**spec, "layer": layer}, inputs, outputs, units=shape.width))
    final: Params = {
        **spec, "snapshot": snapshot.id, "layers": list(layers), "encoder": snapshot.encoder.name, "model": told,
    }  # fmt: skip
    without = {"candidates"} if asked.candidates is None else None  # keys of sets without candidates stay as they were
    wanted: Params = {"request": asked.model_dump(mode="json", exclude=without), **({"model": told} if told else {})}
    whole = key("publish-labels", list(published.values()), wanted, "label-set")
    return JobPlan(
        kind="labels",
        title=f"labels of {snapshot.name}: {len(layers)} layers, {len(scorers)} scorers",
        stages=(
            StagePlan("vocabulary", (PartPlan(spec, source, text_keys),), title="embed names"),
            *candidate_stages_of(offered),
            StagePlan("labels", tuple(parts), unit="components", title="label and judge"),
            StagePlan("publish-labels", (PartPlan(final, published, {"label-set": whole}),), title="publish"),
        ),
        result=f"l_{whole[:16]}",
    )
