"""The plan of an audit of a published snapshot; what can be refused is refused here, before any work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, cast

import numpy as np
from pydantic import JsonValue

from contracts.audit import AuditPolicy, AuditRequest
from contracts.base import Caller
from contracts.errors import NoTextSide
from contracts.model import Layer, Model, ModelService
from services.explanation.audits.policies import KINDS, Policy, checked, normalised, parse_policy
from services.explanation.audits.words import FEWEST_UNRELATED, related
from services.explanation.opened import Opened
from services.explanation.repository import snapshot_row
from services.explanation.semantics.queries import TEMPLATES, require_templates
from services.kit.artifacts import inputs_of
from services.kit.keys import artifact_key, sha256_of
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

if TYPE_CHECKING:
    from services.explanation.service import Explanation

Params = dict[str, JsonValue]
ACTIVATION = "activation_x_gradient"
MOST_CAPTIONS = 1000
MOST_PAIRS = 40_000_000


@dataclass(frozen=True)
class Resolved:
    """A policy that fits a snapshot.

    Parameters
    ----------
    readouts : name, output, label and the places of its concepts by kind. concepts : each spelling once.
    background : names for the null; empty for those of ImageNet.
    """

    known: Policy
    layers: list[Layer]
    readouts: list[Params]
    concepts: list[str]
    background: list[str]


def plan_audit(
    request: AuditRequest, *, caller: Caller, explanation: Explanation, models: ModelService,
    registry: StageRegistry, numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan the tests of concepts, the pictures, relevance by layer, and the verdicts.

    Raises
    ------
    UnknownSnapshot; BadPolicy; BadTemplate; NoTextSide.
    """
    known = parse_policy(request.yaml) if request.yaml is not None else checked(cast(AuditPolicy, request.policy))
    opened = explanation.opened(caller, request.snapshot)
    snapshot, policy = opened.snapshot, known.policy
    if not snapshot.encoder.text:
        raise NoTextSide(f"{snapshot.encoder.name} reads no text, so concepts have no vectors", field="snapshot")
    require_templates(policy.templates or TEMPLATES)
    found = resolve(known, opened, models.model(caller, snapshot.model.id))
    if policy.rule != ACTIVATION:
        _require_rule(found, models, caller)
    with explanation.database.reading() as db:
        artifacts = dict(snapshot_row(db, caller.workspace, snapshot.id).artifacts)
        if any(one.text is not None for one in policy.classes.values()):
            before = inputs_of(db, caller.workspace, artifacts["nulls"])
            first = min(role for role in before if role.startswith("embeddings/"))
            artifacts["embeddings"] = str(before[first])
    return _stages(found, opened, artifacts, registry, numerics)


def resolve(known: Policy, opened: Opened, model: Model) -> Resolved:
    """Find layers, outputs and concepts of a policy.

    Raises
    ------
    BadPolicy : a layer that the snapshot lacks, a class that the model lacks, or one without pictures.
    """
    policy = known.policy
    names = policy.layers or opened.layer_names
    for place, name in enumerate(names):
        if name not in opened.layer_names:
            closest = get_close_matches(name, opened.layer_names, n=3, cutoff=0.0)
            raise known.refused(f"the snapshot has no layer {name}", "layers", place, closest=list[JsonValue](closest))
    layers = {layer.name: layer for layer in model.layers}
    signed = {layer.name: layer.signed for layer in opened.snapshot.layers}
    concepts: dict[str, tuple[int, str]] = {}
    readouts = [_readout(name, known, opened, model, concepts) for name in policy.classes]
    pairs = len(concepts) * sum(len(opened.tables(name).vectors["row_component"]) for name in names)
    if pairs > MOST_PAIRS:
        raise known.refused(
            f"{pairs:,} pairs of component and concept are too many; the most is {MOST_PAIRS:,}", "classes"
        )
    written = [text for _, text in sorted(concepts.values())]
    background = _background(known, opened, written)
    chosen = [layers[name].model_copy(update={"signed": signed[name]}) for name in dict.fromkeys(names)]
    return Resolved(known, chosen, readouts, written, background)


def _background(known: Policy, opened: Opened, concepts: list[str]) -> list[str]:
    """Names for the null; none for those of ImageNet. Every concept needs enough that are not related to it."""
    told = known.policy.background
    if told is None:
        return []
    names = list(dict.fromkeys(told)) if told != "captions" else captions_of(opened.manifest.captions())
    unrelated = (~related(concepts, names)).sum(axis=1)
    for concept, left in zip(concepts, unrelated.tolist(), strict=True):
        if left < FEWEST_UNRELATED:
            raise known.refused(
                f"{left} of {len(names)} names share no word with {concept!r}; {FEWEST_UNRELATED} are needed",
                "background", concept=concept, unrelated=left,
            )  # fmt: skip
    return names


def captions_of(captions: Sequence[str | None]) -> list[str]:
    """Up to 1,000 different captions, evenly spread over the alphabet."""
    known = sorted({caption for caption in captions if caption and caption.strip()})
    if len(known) <= MOST_CAPTIONS:
        return known
    return [known[place] for place in np.linspace(0, len(known) - 1, MOST_CAPTIONS).round().astype(int)]


def _readout(name: str, known: Policy, opened: Opened, model: Model, concepts: dict[str, tuple[int, str]]) -> Params:
    told, classes = known.policy.classes[name], model.classes or []
    texts = [each for each, one in known.policy.classes.items() if one.text is not None]
    if texts:
        if len(texts) < len(known.policy.classes):
            alone = next(each for each, one in known.policy.classes.items() if one.text is None)
            raise known.refused(f"{alone} has no text and {texts[0]} has one", "classes", alone)
        if told.output is not None:
            raise known.refused("a text has no output", "classes", name, "output")
        classes = texts
    if told.output is None and name not in classes:
        closest = get_close_matches(name, classes, n=3, cutoff=0.3)
        raise known.refused(f"the model has no class {name}", "classes", name, closest=list[JsonValue](closest))
    output = classes.index(name) if told.output is None else told.output
    if classes and output >= len(classes):
        raise known.refused(f"the model has {len(classes)} outputs", "classes", name, "output", outputs=len(classes))
    label = told.label or name
    if known.policy.over == "labelled" and label not in opened.labels:
        raise known.refused(f"no picture bears the label {label}", "classes", name, *(["label"] if told.label else []))
    lists = {kind: [*getattr(told, kind)] for kind in KINDS}
    lists["forbidden"] += known.policy.forbidden
    places: Params = {}
    for kind, texts in lists.items():
        of = {normalised(text): text for text in texts}
        places[kind] = [concepts.setdefault(same, (len(concepts), text))[0] for same, text in of.items()]
    return {"name": name, "output": output, "label": label, **places}


def _require_rule(found: Resolved, models: ModelService, caller: Caller) -> None:
    rules = [m.name for m in models.attribution_methods(caller).items if m.family == "composite"]
    rule = found.known.policy.rule
    if rule not in rules:
        closest = get_close_matches(rule, [ACTIVATION, *rules], n=3, cutoff=0.0)
        raise found.known.refused(f"there is no rule {rule}", "rule", closest=list[JsonValue](closest))


def _texts(found: Resolved, opened: Opened, key: Callable[..., str]) -> tuple[dict[str, str], tuple[StagePlan, ...]]:
    """The directions of a policy's texts and the stage that finds them; nothing where it has classes."""
    policy = found.known.policy
    texts = [one.text for one in policy.classes.values() if one.text is not None]
    if not texts:
        return {}, ()
    spec: Params = {
        "texts": list[JsonValue](texts), "templates": list[JsonValue](policy.templates or TEMPLATES),
        "encoder": opened.snapshot.encoder.model_dump(mode="json"),
    }  # fmt: skip
    made = {"directions": key("audit-readouts", [], spec, "directions")}
    return made, (StagePlan("audit-readouts", (PartPlan(spec, {}, made),), title="read texts"),)


def _stages(
    found: Resolved, opened: Opened, artifacts: dict[str, str], registry: StageRegistry, numerics: dict[str, str | int]
) -> JobPlan:
    snapshot, policy = opened.snapshot, found.known.policy

    def key(stage: str, inputs: list[str], params: Params, output: str) -> str:
        return artifact_key(
            stage, version=registry.version(stage), inputs=inputs, params=params, seed=0, numerics=numerics,
            output=output,
        )  # fmt: skip

    names = [layer.name for layer in found.layers]
    words: Params = {
        "concepts": list[JsonValue](found.concepts), "templates": list[JsonValue](policy.templates or TEMPLATES),
        "background": list[JsonValue](found.background), "layers": list[JsonValue](names), "fdr": policy.fdr,
        "encoder": snapshot.encoder.model_dump(mode="json"),
    }  # fmt: skip
    vectors = {"nulls": artifacts["nulls"], **{f"vectors/{name}": artifacts[f"vectors/{name}"] for name in names}}
    tests = {
        role: key("audit-concepts", list(vectors.values()), words, role)
        for role in ("calibration", *(f"tests/{name}" for name in names))
    }
    chosen: Params = {
        "readouts": list[JsonValue](found.readouts), "over": policy.over, "samples": policy.samples,
        "pool": policy.pool,
    }  # fmt: skip
    model: Params = {"model": snapshot.model.model_dump(mode="json"), "units": min(policy.pool, snapshot.dataset.n)}
    source = {"manifest": artifacts["manifest"]}
    read, before = _texts(found, opened, key)
    given = {**source, **read, **({"embeddings": artifacts["embeddings"]} if read else {})}
    who = [snapshot.model.model_sha256, *given.values()]
    pictures = {"samples": key("audit-samples", who, chosen, "samples")}
    parts, relevance = [], {}
    for layer in found.layers:
        inputs = {**source, **read, **pictures, "tests": tests[f"tests/{layer.name}"]}
        params: Params = {
            "layer": layer.model_dump(mode="json"), "rule": policy.rule, "ablate": policy.ablate, "fdr": policy.fdr,
            "readouts": list[JsonValue](found.readouts),
        }  # fmt: skip
        made = key("audit-relevance", [snapshot.model.model_sha256, *inputs.values()], params, "relevance")
        relevance[f"relevance/{layer.name}"] = made
        parts.append(PartPlan({**model, **params}, inputs, {"relevance": made}, units=len(found.readouts)))
    last = {
        **source, **tests, **relevance,
        **{f"{role}/{name}": artifacts[f"{role}/{name}"] for role in ("examples", "vectors") for name in names},
    }  # fmt: skip
    final: Params = {
        "policy": policy.model_dump(mode="json"), "policy_sha256": sha256_of(policy),
        "readouts": list[JsonValue](found.readouts), "concepts": list[JsonValue](found.concepts),
        "layers": [{"name": layer.name, "width": layer.width} for layer in found.layers],
        "snapshot": snapshot.id, "snapshot_name": snapshot.name, "model": snapshot.model.id,
        "dataset": snapshot.dataset.id, "encoder": snapshot.encoder.name, "templates": words["templates"],
    }  # fmt: skip
    unnamed: Params = {name: value for name, value in final.items() if name != "snapshot_name"}
    made = {output: key("audit", list(last.values()), unnamed, output) for output in ("audit", "points")}
    return JobPlan(
        kind="audit",
        title=f"audit of {snapshot.name}: {len(found.readouts)} classes, {len(found.concepts)} concepts",
        stages=(
            StagePlan("audit-concepts", (PartPlan(words, vectors, tests),), title="test concepts"),
            *before,
            StagePlan(
                "audit-samples", (PartPlan({**model, **chosen}, given, pictures, units=int(str(model["units"]))),),
                unit="pictures", title="choose pictures",
            ),
            StagePlan("audit-relevance", tuple(parts), unit="classes", title="relevance and ablation"),
            StagePlan("audit", (PartPlan(final, last, made),), title="judge"),
        ),
        result=f"a_{made['audit'][:16]}",
    )  # fmt: skip
