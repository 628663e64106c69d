"""Answers to requests for text: whole, or as a generation that is written in the background and read meanwhile."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from contracts.base import Arrays, Caller, Right
from contracts.errors import Forbidden, XsysError
from contracts.language import (
    Arm,
    Generation,
    GenerationOverBudget,
    GenerationRequest,
    GenerationState,
    ReadsPictures,
    TextRow,
    TextScores,
    TokenQuery,
)
from contracts.model import Model, ModelRef
from contracts.steering import KeptPlaces
from services.kit.repetition import repetition
from services.model.interventions import Step, steered, steps_of
from services.model.language.capture import norm_medians, token_activations
from services.model.language.folder import LanguageModel
from services.model.language.generate import Piece, Prompt, Sampling, generate, prompt_of, require_context
from services.model.language.perplexity import continuation_perplexity, reference_text
from services.model.writings import Writing

if TYPE_CHECKING:
    from services.model.adapters.port import Built
    from services.model.service import Models

LIMIT = 65_536  # tokens of one request, prompt included
SAMPLES, SAMPLE_LENGTH = 16, 256  # windows of text on which a layer's norm is measured, and their characters
WAIT = 1.0  # seconds that a reader waits for news


def answer_of(models: Models, caller: Caller, model: str, query: GenerationRequest) -> Generation:
    """Continue a prompt and answer with the whole text."""
    found = models.model(caller, model)
    require_language(found.ref)
    with models.loaded(found.ref) as built:
        language = language_of(built)
        plan = planned(models, caller, found, language, query)
        begun = time.perf_counter()
        with _closing(pieces_of(language, plan)) as pieces:
            for piece in pieces:
                plan.rows[piece.row] = grown(plan.rows[piece.row], piece)
        seconds = time.perf_counter() - begun
        if query.scores:
            plan.rows[:] = scored(language, plan, plan.rows)
    return Generation(model=found.ref.id, prompt_tokens=len(plan.prompts[0].ids), rows=plan.rows, seconds=seconds)


def opened(models: Models, caller: Caller, model: str, query: GenerationRequest) -> GenerationState:
    """Begin to write in a thread of its own; what can be refused is refused here."""
    found = models.model(caller, model)
    require_language(found.ref)
    with models.loaded(found.ref) as built:  # the prompt is checked before anything is promised
        plan = planned(models, caller, found, language_of(built), query)
    writing = Writing(f"g_{secrets.token_hex(8)}", str(caller.workspace), plan.rows)
    models.writings.add(writing)
    threading.Thread(target=_write, args=(models, found.ref, plan, writing), name=writing.id, daemon=True).start()
    return _state(writing)


def state_of(models: Models, caller: Caller, generation: str, after: int) -> GenerationState:
    """The rows as soon as their version is above `after`, or as they are when the text ended or nothing came.

    Raises
    ------
    UnknownGeneration : also when nobody read it for half a minute. What stopped the writing is raised here, once.
    """
    writing = models.writings.get(caller, generation)
    with writing.news:
        writing.read_at = time.monotonic()
        writing.news.wait_for(lambda: writing.version > after or writing.ended, WAIT)
        writing.read_at = time.monotonic()
        if writing.refusal is not None:
            models.writings.drop(generation)
            raise writing.refusal
        return _state(writing)


def closed(models: Models, caller: Caller, generation: str) -> GenerationState:
    """Stop writing before the next token, and forget the text."""
    writing = models.writings.get(caller, generation)
    with writing.news:
        writing.closed = True
    models.writings.drop(generation)
    return _state(writing)


def activations_of(models: Models, caller: Caller, model: str, query: TokenQuery) -> Arrays:
    """A layer's activations on a text: `values` [K, d], `spans` [K, 2], `ids`, `kept` [K], and the layer's `norm`."""
    found = models.model(caller, model)
    require_language(found.ref)
    with models.loaded(found.ref) as built:
        language = language_of(built)
        norm = layer_norm(models, found.ref, language, query.layer)
        (batch,) = token_activations(language, [query.text], [query.layer], medians={query.layer: norm})
        return {
            "values": batch.values[query.layer].numpy(), "spans": batch.spans.numpy(), "ids": batch.ids.numpy(),
            "kept": batch.kept[query.layer].numpy(), "norm": np.array([norm]),
        }  # fmt: skip


def require_language(ref: ModelRef) -> None:
    """Refuse models of pictures. Raises `ReadsPictures`."""
    if not ref.architecture.startswith("causal_lm:"):
        raise ReadsPictures(f"{ref.name} is {ref.architecture}, no language model", field="model")


def language_of(built: Built) -> LanguageModel:
    """Return a loaded model with its tokenizer. Raises `ReadsPictures`."""
    if built.language is None:
        raise ReadsPictures("this is no language model", field="model")
    return built.language


@dataclass(frozen=True)
class Plan:
    """What a request comes to. `steps` is empty for text that is not steered, or steered by nothing."""

    rows: list[TextRow]
    prompts: list[Prompt]
    sampling: Sampling
    steps: list[Step]
    scores: bool = False


def planned(models: Models, caller: Caller, found: Model, language: LanguageModel, query: GenerationRequest) -> Plan:
    """Check a request and make its empty rows: unsteered ones, then steered ones with the same seeds.

    Raises
    ------
    Forbidden : interventions without the right `steer`. GenerationOverBudget, PromptTooLong. What `steps_of` refuses.
    """
    if query.interventions and Right.STEER not in caller.rights:
        raise Forbidden(f"steering needs the right `{Right.STEER}`", right=str(Right.STEER))
    seeds = [query.seed + number for number in range(query.samples)]
    prompts = [prompt_of(language.tokenizer, query.prompt, seed=seed, chat=query.chat) for seed in seeds]
    arms: list[Arm] = ["unsteered", "steered"] if query.interventions else ["unsteered"]
    needed = len(arms) * sum(len(prompt.ids) + query.max_tokens for prompt in prompts)
    if needed > LIMIT:
        raise GenerationOverBudget(
            f"{needed:,} tokens are needed, and {LIMIT:,} are allowed", field="max_tokens", needed=needed, limit=LIMIT
        )
    sampling = Sampling(query.max_tokens, query.temperature, query.top_k)
    require_context(language, prompts, sampling)
    steps = _steps(models, found, language, query)
    rows = [TextRow(arm=arm, seed=seed, text="", tokens=0) for arm in arms for seed in seeds]
    return Plan(rows, prompts, sampling, [step for step in steps if not step.neutral], query.scores)


def _steps(models: Models, found: Model, language: LanguageModel, query: GenerationRequest) -> list[Step]:
    widths = {layer.name: layer.width for layer in found.layers}
    wanted = [each.target.layer for each in query.interventions if each.unit == "norm" and each.target.layer in widths]
    norms = {layer: layer_norm(models, found.ref, language, layer) for layer in dict.fromkeys(wanted)}
    return steps_of(query.interventions, widths=widths, norms=norms, places=KeptPlaces())


def layer_norm(models: Models, ref: ModelRef, language: LanguageModel, layer: str) -> float:
    """Median norm of a layer's activations on the language reference of Python: the unit of strengths."""
    length = min(SAMPLE_LENGTH, language.context // 4)  # a character is four tokens at most
    text = reference_text()[: SAMPLES * length]
    texts = [text[start : start + length] for start in range(0, len(text), length)]
    key = (ref.model_sha256, layer)
    return models.norms.get(key, lambda: norm_medians(language, texts, [layer])[layer])


@contextmanager
def _closing(pieces: Iterator[Piece]) -> Iterator[Iterator[Piece]]:
    try:
        yield pieces
    finally:
        pieces.close()  # type: ignore[attr-defined]


def pieces_of(language: LanguageModel, plan: Plan) -> Iterator[Piece]:
    """Generate all rows of a request in one batch. Steering by nothing repeats the unsteered rows, byte for byte."""
    samples = len(plan.prompts)
    arms = len(plan.rows) // samples
    if not plan.steps:
        for piece in generate(language, plan.prompts, plan.sampling):
            for arm in range(arms):
                yield replace(piece, row=piece.row + arm * samples)
        return
    plans: list[list[Step]] = [*([[]] * samples), *([plan.steps] * samples)]
    with steered(language.model, rows=plans) as steering:
        yield from generate(language, plan.prompts * arms, plan.sampling, steering=steering)


def grown(row: TextRow, piece: Piece) -> TextRow:
    """Append one token to a row; the token that ends a text is not counted."""
    more = {"text": row.text + piece.text, "tokens": row.tokens + (piece.end != "stop"), "end": piece.end}
    return row.model_copy(update=more)


def scored(language: LanguageModel, plan: Plan, rows: list[TextRow]) -> list[TextRow]:
    """Judge each row by the unsteered model and by its repetition."""
    found = []
    for number, row in enumerate(rows):
        prompt = plan.prompts[number % len(plan.prompts)]
        distinct, repeated = repetition(row.text)
        scores = TextScores(
            perplexity=continuation_perplexity(language, prompt.ids, row.text), distinct=distinct, repeated=repeated
        )
        found.append(row.model_copy(update={"scores": scores}))
    return found


def _write(models: Models, ref: ModelRef, plan: Plan, writing: Writing) -> None:
    try:
        with models.loaded(ref) as built:
            language = language_of(built)
            with _closing(pieces_of(language, plan)) as pieces:
                for piece in pieces:
                    with writing.news:
                        abandoned = time.monotonic() - writing.read_at > models.writings.silence
                        if writing.closed or abandoned:
                            return
                        writing.rows[piece.row] = grown(writing.rows[piece.row], piece)
                        writing.version += 1
                        writing.news.notify_all()
            if plan.scores:
                rows = scored(language, plan, writing.rows)
                with writing.news:
                    writing.rows[:] = rows
                    writing.version += 1
    except XsysError as refusal:
        writing.refusal = refusal
    finally:
        with writing.news:
            writing.ended = True
            writing.news.notify_all()


def _state(writing: Writing) -> GenerationState:
    return GenerationState(id=writing.id, version=writing.version, ended=writing.ended, rows=list(writing.rows))
