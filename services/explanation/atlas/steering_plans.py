"""The plan of an evaluation of steering: a part for each concept, arm and strength, then judge and figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from contracts.atlas import AtlasMismatch, AtlasService
from contracts.atlas_reading import DirectionQuery, SteeringDirection, UsedLatent
from contracts.base import Caller, Right
from contracts.errors import Forbidden, UnknownLayer
from contracts.language import GenerationOverBudget, ReadsPictures
from contracts.model import Model, ModelService
from contracts.steering_evaluation import SteeredConcept, SteeringEvaluationRequest
from services.explanation.atlas.keys import Key, keys_of
from services.explanation.encoders.registry import EncoderCache
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

ENCODER = "imagenet-minilm"  # its text side is MiniLM
CALIBRATION = 128  # unsteered texts that set the thresholds; their seeds are nobody else's
FAR = 1 << 20  # between the seeds of the calibration and those of the arms
LIMIT = 3_000_000  # generated tokens of one job
Spec = dict[str, JsonValue]


@dataclass(frozen=True)
class Setting:
    """One arm at one strength. direction : number of the random direction; vector : None where a stage makes it."""

    arm: str
    layer: str | None = None
    strength: float | None = None
    direction: int = 0
    vector: list[float] | None = None

    @property
    def role(self) -> str:
        """Name of its texts among the judge's inputs."""
        return f"{self.arm}/{self.direction}/{self.strength}"


@dataclass(frozen=True)
class Arms:
    """What a concept is steered by: settings, latents of both atlases, and the words that chose them."""

    settings: list[Setting]
    native: list[UsedLatent]
    carried: list[UsedLatent]
    chosen_by: list[str]


def plan_steering_evaluation(
    request: SteeringEvaluationRequest, *, caller: Caller, models: ModelService, atlas: AtlasService,
    encoders: EncoderCache, registry: StageRegistry, numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one evaluation.

    Raises
    ------
    Forbidden : without the right `steer`. ReadsPictures; UnknownLayer; AtlasMismatch : atlas or alignment is of another
    model. NoMatchingConcept, UnknownLatent : see `DirectionQuery`. GenerationOverBudget.
    """
    if Right.STEER not in caller.rights:
        raise Forbidden(f"steering needs the right `{Right.STEER}`", right=str(Right.STEER))
    model = models.model(caller, request.model)
    if not model.ref.architecture.startswith("causal_lm:"):
        raise ReadsPictures(f"{model.ref.name} is {model.ref.architecture}, no language model", field="model")
    layer = _layer(request, caller, model, atlas)
    arms = [_arms(request, concept, caller, model, atlas, layer) for concept in request.concepts]
    _require_affordable(request, arms)
    key = keys_of(registry, numerics, request.seed)
    common: Spec = {
        "model": model.ref.model_dump(mode="json"), "max_tokens": request.max_tokens,
        "temperature": request.temperature, "top_k": request.top_k,
    }  # fmt: skip
    writer = _Writer(request, common, key, model.ref.model_sha256)
    each = -(-CALIBRATION // len(request.prompts))
    calibration = writer.add(Setting("none"), [FAR + request.seed + number for number in range(each)])
    inputs = [
        {"calibration": calibration} | {one.role: writer.setting(one, concept, layer) for one in arm.settings}
        for concept, arm in zip(request.concepts, arms, strict=True)
    ]
    judged, parts = dict[str, str](), []
    for number, (concept, arm, texts) in enumerate(zip(request.concepts, arms, inputs, strict=True)):
        spec: Spec = {
            "concept": concept.name, "texts": list[JsonValue](concept.texts[1::2]), "guard": request.guard,
            "others": list[JsonValue](request.others[1::2]), "chosen_by": list[JsonValue](arm.chosen_by),
            "prompts": list[JsonValue](request.prompts), "samples": request.samples, "encoder": ENCODER,
            "roles": [one.role for one in arm.settings],
        }  # fmt: skip
        told: dict[str, object] = dict(spec) | {"encoder": encoders.get(ENCODER).fingerprint}
        outputs = {name: key("judge-steering", list(texts.values()), told, name) for name in ("scores", "judge")}
        judged |= {f"{name}/{number}": one for name, one in outputs.items()}
        parts.append(PartPlan(spec, texts, outputs, units=len(arm.settings)))
    final: Spec = {
        "request": request.model_copy(update={"model": model.ref.id, "layer": layer}).model_dump(mode="json"),
        "concepts": [
            {
                "name": concept.name, "native": [one.model_dump(mode="json") for one in arm.native],
                "carried": [one.model_dump(mode="json") for one in arm.carried],
            }
            for concept, arm in zip(request.concepts, arms, strict=True)
        ],
        "settings": [
            {"arm": one.arm, "strength": one.strength, "layer": one.layer, "role": one.role} for one in arms[0].settings
        ],
    }  # fmt: skip
    shown = {f"texts/{number}/{role}": one for number, texts in enumerate(inputs) for role, one in texts.items()}
    told = {"settings": final["settings"], "concepts": final["concepts"]}
    made = key("steering-figures", [*judged.values(), *shown.values()], told, "evaluation")
    figures = PartPlan(final, {**judged, **shown}, {"evaluation": made})
    stages = (
        StagePlan("steering-difference", tuple(writer.differences), unit="texts", title="mean differences"),
        StagePlan("steered-texts", tuple(writer.parts), unit="texts", title="write with and without steering"),
        StagePlan("judge-steering", tuple(parts), unit="settings", title="judge concept and fluency"),
        StagePlan("steering-figures", (figures,), title="figures with intervals"),
    )
    named = list(dict.fromkeys(one.arm for one in arms[0].settings))
    return JobPlan("steering-evaluation", f"{len(named)} arms of steering {model.ref.name}", stages)


class _Writer:
    """The parts that write texts; arms that no concept differs in are written once."""

    def __init__(self, request: SteeringEvaluationRequest, common: Spec, key: Key, model_sha256: str) -> None:
        self.request, self.common, self.key, self.model_sha256 = request, common, key, model_sha256
        self.parts: list[PartPlan] = []
        self.differences: list[PartPlan] = []
        self.made = set[str]()
        self.seeds = [request.seed + number for number in range(request.samples)]

    def setting(self, one: Setting, concept: SteeredConcept, layer: str) -> str:
        """The key of a setting's texts for a concept."""
        if one.arm == "prompt":
            asked = [
                self.request.instruction.replace("{concept}", concept.name).replace("{prompt}", prompt)
                for prompt in self.request.prompts
            ]
            return self.add(one, self.seeds, asked=asked)
        return self.add(one, self.seeds, direction=self._difference(concept, layer) if one.arm == "difference" else "")

    def add(self, one: Setting, seeds: list[int], *, asked: list[str] | None = None, direction: str = "") -> str:
        """Plan a part unless an equal one is planned, and return the key of its texts."""
        prompts = list[JsonValue](self.request.prompts)
        spec: Spec = {
            "prompts": prompts, "asked": list[JsonValue](asked) if asked else prompts,
            "seeds": list[JsonValue](seeds), "layer": one.layer, "strength": one.strength,
            "vector": None if one.vector is None else list[JsonValue](one.vector),
        }  # fmt: skip
        inputs = {"direction": direction} if direction else {}
        told: dict[str, object] = {**spec, **{name: self.common[name] for name in self.common if name != "model"}}
        made = self.key("steered-texts", [self.model_sha256, *inputs.values()], told, "texts")
        if made not in self.made:
            self.made.add(made)
            units = len(self.request.prompts) * len(seeds)
            self.parts.append(PartPlan({**self.common, **spec}, inputs, {"texts": made}, units=units))
        return made

    def _difference(self, concept: SteeredConcept, layer: str) -> str:
        texts, others = concept.texts[::2], self.request.others[::2]
        spec: Spec = {"layer": layer, "texts": list[JsonValue](texts), "others": list[JsonValue](others)}
        made = self.key("steering-difference", [self.model_sha256], dict(spec), "direction")
        if made not in self.made:
            self.made.add(made)
            whole = {"model": self.common["model"], **spec}
            units = len(texts) + len(others)
            self.differences.append(PartPlan(whole, {}, {"direction": made}, units=units))
        return made


def _layer(request: SteeringEvaluationRequest, caller: Caller, model: Model, atlas: AtlasService) -> str:
    """The layer of the arms that have none of their own; atlas and alignment are checked to be of this model."""
    found = request.layer
    if request.alignment is not None:
        carried = atlas.alignment(caller, request.alignment)
        if carried.model != model.ref.id:
            raise AtlasMismatch(f"{carried.name} is not of {model.ref.name}", field="alignment")
        found = found or carried.layers[0].layer
    if request.atlas is not None:
        own = atlas.atlas(caller, request.atlas)
        if own.model != model.ref.id or own.capture is None:
            raise AtlasMismatch(f"{own.name} is not of {model.ref.name}", field="atlas")
        found = found or own.layer
    known = [one.name for one in model.layers]
    if found is None or found not in known:
        detail = "name a layer to steer" if found is None else f"{model.ref.name} has no layer {found}"
        raise UnknownLayer(detail, field="layer", closest=known[:5])
    return found


def _arms(
    request: SteeringEvaluationRequest, concept: SteeredConcept, caller: Caller, model: Model, atlas: AtlasService,
    layer: str,
) -> Arms:  # fmt: skip
    width = next(one.width for one in model.layers if one.name == layer)
    settings = [Setting("none"), Setting("prompt")]
    for number in range(request.directions):
        vector = np.random.default_rng([request.seed, number]).standard_normal(width).tolist()
        settings += [Setting("random", layer, strength, number, vector) for strength in request.strengths]
    settings += [Setting("difference", layer, strength) for strength in request.strengths]
    native, carried = list[UsedLatent](), list[UsedLatent]()
    for arm, found in _directions(request, concept, caller, atlas):
        settings += [Setting(arm, found.layer, strength, 0, found.vector) for strength in request.strengths]
        if arm == "native":
            native = found.latents
        else:
            carried = found.latents
    chosen_by = [concept.name, request.instruction, *(one.text for one in [*native, *carried])]
    chosen_by += _evidence(request, caller, atlas, native, carried)
    return Arms(settings, native, carried, chosen_by)


def _directions(
    request: SteeringEvaluationRequest, concept: SteeredConcept, caller: Caller, atlas: AtlasService
) -> Iterator[tuple[str, SteeringDirection]]:
    def query(latents: list[int] | None, map_: str) -> DirectionQuery:
        named = {"latents": latents} if latents else {"text": concept.name}
        return DirectionQuery.model_validate({**named, "map": map_, "m": request.m})

    if request.atlas is not None:
        yield "native", atlas.atlas_direction(caller, request.atlas, query(concept.native, "native"))
    for name in request.maps if request.alignment is not None else []:
        yield name, atlas.alignment_direction(caller, str(request.alignment), query(concept.carried, name))


def _evidence(
    request: SteeringEvaluationRequest, caller: Caller, atlas: AtlasService, native: list[UsedLatent],
    carried: list[UsedLatent],
) -> list[str]:  # fmt: skip
    """Top tokens and logit-lens terms of the latents: they made the labels by which the latents were found."""
    found: list[str] = []
    sources = [(request.atlas, native)]
    if request.alignment is not None:
        sources.append((atlas.alignment(caller, request.alignment).atlas, carried))
    for name, latents in sources:
        if name is None or not latents:
            continue
        sae = atlas.atlas(caller, name).sae
        for one in latents:
            latent = atlas.sae_latent(caller, sae, one.latent)
            found += [*(each.token for each in latent.tokens), *latent.raises]
    return found


def _require_affordable(request: SteeringEvaluationRequest, arms: list[Arms]) -> None:
    settings = sum(len(arm.settings) for arm in arms)
    needed = settings * len(request.prompts) * request.samples * request.max_tokens
    if needed > LIMIT:
        raise GenerationOverBudget(
            f"{needed:,} tokens are needed, and {LIMIT:,} are allowed", field="strengths", needed=needed, limit=LIMIT
        )
