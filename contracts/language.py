"""What may be asked of language models: generated text, and the refusals that concern text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, FiniteFloat, LayerName
from contracts.errors import NotFound, TooManyRequests, UnknownLayer, XsysError
from contracts.steering import PLAN_REFUSALS, Intervention

Arm = Literal["unsteered", "steered"]
GenerationId = Annotated[str, Field(pattern=r"^g_[0-9a-f]{16}$")]


class UnsupportedLanguageModel(XsysError):
    """The blocks of such a model could not be found, so nothing in it could be read or steered."""

    status = 422
    remedy = "Take a model of one of the architectures in `supported`."


class MissingLanguagePackage(XsysError):
    status = 422
    remedy = "Install what `install` names on the machine that runs the workers, or give another model."


class BrokenLanguageFile(XsysError):
    """Unreadable, incomplete, or not the bytes that its hashes say."""

    status = 422
    remedy = "Fetch or convert the model again; the facts name the file and what differs."


class TokenizerDrift(XsysError):
    """Token ids changed: everything that was computed by position or token id would silently be wrong."""

    status = 422
    remedy = "Go back to the pinned versions of transformers and tokenizers, or convert the model again."


class ImplausiblePerplexity(XsysError):
    """A wrongly read weight matrix still gives finite numbers; only the perplexity of real text shows it."""

    status = 422
    remedy = "Convert the model again; for a model not meant for English raise `perplexity_limit` in its config."


class NoTokens(XsysError):
    """A window of which nothing is left once the prefix and sink tokens are dropped has no activation."""

    status = 422
    remedy = "Leave this window out, or make windows longer; `window` is its index."


class PromptTooLong(XsysError):
    """Nothing was generated: the model has learned no position beyond its context."""

    status = 422
    remedy = "Shorten the prompt or ask for fewer tokens, so that `needed` is at most `limit`."


class ReadsText(XsysError):
    status = 422
    remedy = "Take a model of pictures; for this one there is `xsys generate` and a text corpus."


class ReadsPictures(XsysError):
    status = 422
    remedy = "Take a language model; `xsys model list` shows them with the architecture `causal_lm:...`."


class GenerationOverBudget(XsysError):
    """Nothing was generated. `needed` and `limit` are tokens: rows times tokens of prompt and continuation."""

    status = 422
    remedy = "Ask for fewer samples or tokens, or shorten the prompt, so that `needed` falls below `limit`."


class UnknownGeneration(NotFound):
    remedy = "It has ended and was forgotten, or it was closed; open another one."


class TokenQuery(Contract):
    """A text whose activations in one layer are wanted, token by token."""

    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    layer: LayerName


class GenerationRequest(Contract):
    """Continue a prompt. Sample number i draws with the seed `seed + i`; temperature 0 takes the likeliest token.

    With interventions every sample is written twice in the same batch, unsteered and steered, with the same seed; that
    needs the right `steer`. `kept` places leave out the model's first token and its chat template.
    """

    prompt: Annotated[str, Field(max_length=100_000)]
    chat: Annotated[bool, Field(description="put the prompt into the model's chat template")] = False
    samples: Annotated[int, Field(ge=1, le=16)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=256)] = 40
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.7
    top_k: Annotated[int, Field(ge=0, le=1000, description="draw among so many tokens; 0: all")] = 64
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    interventions: Annotated[list[Intervention], Field(max_length=16)] = []
    scores: Annotated[bool, Field(description="judge every continuation once it is written")] = False


class TextScores(Contract):
    """What steering costs. `perplexity` of the continuation is the unsteered model's, None below two tokens.

    Loops have a low perplexity, so look at repetition too: `distinct` share of pairs of words, `repeated` share of
    groups of four.
    """

    perplexity: FiniteFloat | None
    distinct: FiniteFloat
    repeated: FiniteFloat


class TextRow(Contract):
    """One continuation. `end`: stop - the model ended it; length - it has `max_tokens`; None - still being written."""

    arm: Arm
    seed: int
    text: str
    tokens: int
    end: Literal["stop", "length"] | None = None
    scores: TextScores | None = None


class Generation(Contract):
    """Continuations of one prompt, unsteered ones first. `seconds` do not include loading the model."""

    model: str
    prompt_tokens: int
    rows: list[TextRow]
    seconds: FiniteFloat


class GenerationState(Contract):
    """A generation that is being written, its rows as far as they are. `version` grows with every token."""

    id: GenerationId
    version: int
    ended: bool
    rows: list[TextRow]


GENERATION_REFUSALS: tuple[type[XsysError], ...] = (
    ReadsPictures, PromptTooLong, GenerationOverBudget, BrokenLanguageFile, TokenizerDrift, TooManyRequests,
    UnknownLayer, *PLAN_REFUSALS,
)  # fmt: skip
