"""What steering a language model gains and costs: arms side by side, judged without an external model."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.atlas_reading import UsedLatent
from contracts.attribution_evaluation import Spread
from contracts.base import Contract, FiniteFloat, LayerName
from contracts.model import ModelId
from contracts.sae import Latent

SteeringArmName = Literal["none", "random", "prompt", "difference", "native", "write", "cov", "read"]
CarriedMap = Literal["write", "cov", "read"]
ConceptText = Annotated[str, Field(min_length=1, max_length=2000)]
Latents = Annotated[list[Latent], Field(min_length=1, max_length=64)]
PROMPTS = [
    "I would like to tell you about", "The first thing that people notice is", "Last week we talked about",
    "In this chapter", "It is often said that", "When I woke up this morning,", "The main reason for this is",
    "My friend asked me", "There are several ways to", "Most of the time",
]  # fmt: skip
STRENGTHS = [0.05, 0.1, 0.2, 0.3, 0.4, 0.6]


class SteeredConcept(Contract):
    """A concept to steer toward. Half of its texts make the mean difference, the other half trains the judge.

    Latents of the two atlases are found by `name` unless they are given: `native` those of `atlas`, `carried` those
    of the atlas that `alignment` carries over.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    texts: Annotated[list[ConceptText], Field(min_length=30, max_length=400)]
    native: Latents | None = None
    carried: Latents | None = None


class SteeringEvaluationRequest(Contract):
    """Compare arms of steering over strengths and prompts. Strengths are in median norms of the steered layer.

    Always: no steering, `directions` random directions, an instruction in the prompt, the mean difference. `native`
    needs an atlas of this model, `maps` an alignment of which it is the subject. Each arm steers the layer of its
    atlas or alignment; the others steer `layer`.
    """

    model: ModelId
    concepts: Annotated[list[SteeredConcept], Field(min_length=1, max_length=10)]
    others: Annotated[list[ConceptText], Field(min_length=30, max_length=400, description="texts of none of them")]
    layer: LayerName | None = Field(default=None, description="default: that of the atlas or alignment")
    atlas: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    alignment: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    maps: Annotated[list[CarriedMap], Field(min_length=1, max_length=3)] = ["write"]
    m: Annotated[int, Field(ge=1, le=64, description="latents that a name may choose")] = 3
    prompts: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=400)]], Field(min_length=4, max_length=32)
    ] = PROMPTS
    instruction: Annotated[str, Field(max_length=400, description="of the prompt arm; {concept}, {prompt}")] = (
        "The following text is about {concept}. {prompt}"
    )
    samples: Annotated[int, Field(ge=1, le=8, description="continuations a prompt")] = 2
    strengths: Annotated[
        list[Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]], Field(min_length=1, max_length=12)
    ] = STRENGTHS
    directions: Annotated[int, Field(ge=1, le=5, description="random ones")] = 2
    max_tokens: Annotated[int, Field(ge=4, le=128)] = 40
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.7
    top_k: Annotated[int, Field(ge=0, le=1000)] = 64
    guard: Literal["remove", "refuse"] = Field(
        default="remove", description="words that chose latents: hidden from the judge, or refused as JudgeLeak"
    )
    seed: Annotated[int, Field(ge=0, lt=2**30)] = 0

    @model_validator(mode="after")
    def distinct(self) -> Self:
        """Refuse concepts of one name and an instruction without its places; order strengths."""
        if len({one.name for one in self.concepts}) < len(self.concepts):
            raise ValueError("two concepts have the same name")
        if "{concept}" not in self.instruction or "{prompt}" not in self.instruction:
            raise ValueError("the instruction needs {concept} and {prompt}")
        if sorted(set(self.strengths)) != self.strengths:
            raise ValueError("strengths must grow from one to the next")
        return self


class SteeringSetting(Contract):
    """One arm at one strength, over all concepts and prompts; `strength` is None for arms without one.

    `rate`: share of texts in which the judge finds the concept; `gain`: over no steering, paired by concept and prompt.
    `fluency`, `relevance`, `total` are scores from 0 to 2; `fluency_share` is the fluency beside that of no steering.
    `front`: no other setting has both a higher rate and a higher fluency. Intervals are 95 % bootstraps.
    """

    arm: SteeringArmName
    strength: FiniteFloat | None
    n: int
    rate: Spread
    gain: Spread | None
    clearly: FiniteFloat
    fluency: Spread
    fluency_share: FiniteFloat | None
    relevance: FiniteFloat
    total: FiniteFloat
    perplexity: FiniteFloat | None = Field(description="median, by the unsteered model")
    distinct: FiniteFloat
    repeated: FiniteFloat
    front: bool


class StrengthWindow(Contract):
    """Strengths with half of the best gain or more, and a mean fluency of at least 1. `octaves`: log2 of its width."""

    low: FiniteFloat
    high: FiniteFloat
    octaves: FiniteFloat


class NoWindow(Contract):
    """Why no strength is recommended, which is a result too."""

    reason: Literal["no_strengths", "no_gain", "not_fluent"]
    detail: str


class HeldOutGain(Contract):
    """The strength chosen on one half of the prompts, and what it reaches on the other half.

    Chosen is the highest concept rate among strengths that keep at least 75 % of the unsteered fluency. `faithful`:
    F = max(p(strength) - p(0), 0) / (1 - p(0)) with p the share of texts that have the concept clearly.
    """

    strength: FiniteFloat | None
    rate: Spread
    gain: Spread
    fluency_share: FiniteFloat | None
    faithful: FiniteFloat | None


class SteeringArm(Contract):
    """One way of steering: where it works, and what it reaches on prompts that did not choose its strength."""

    arm: SteeringArmName
    layer: LayerName | None
    window: StrengthWindow | None
    no_window: NoWindow | None
    held_out: HeldOutGain | None = Field(description="None: no strength keeps the fluency")


class JudgedConcept(Contract):
    """The judge of one concept. `removed` words chose latents or are in the instruction, so it never saw them.

    `recall` and `false_positives` are on texts that did not train it. `texts_sha256` is of those that did.
    """

    name: str
    native: list[UsedLatent]
    carried: list[UsedLatent]
    removed: list[str]
    texts_sha256: str
    recall: FiniteFloat
    false_positives: FiniteFloat


class SteeredText(Contract):
    """One of the texts, with its scores from 0 to 2."""

    arm: SteeringArmName
    strength: FiniteFloat | None
    concept: str
    prompt: str
    text: str
    score: int
    fluency: int


class SteeringEvaluation(Contract):
    """What an evaluation of steering found; empty until its last stage is done."""

    job: str
    request: SteeringEvaluationRequest | None = None
    settings: list[SteeringSetting] = []
    arms: list[SteeringArm] = []
    concepts: list[JudgedConcept] = []
    texts: list[SteeredText] = []


class MeasuredSteering(Contract):
    """What one evaluation measured of a model: how strongly each arm may steer, over which concepts."""

    job: str
    concepts: list[str]
    arms: list[SteeringArm]
    created_at: datetime
