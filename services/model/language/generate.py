"""Generation with a key-value cache: rows of one batch with their own prompts, seeds and interventions, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from contracts.language import PromptTooLong
from services.model.language.folder import LanguageModel
from services.model.language.tokens import TextTokenizer

BROKEN = "\ufffd"  # stands for bytes that are no whole character yet


class RowSteering(Protocol):
    """What a context of interventions is told; `services.model.interventions.steered` lends one."""

    def at(self, *, positions: Tensor, kept: Tensor, prompt: Tensor) -> None:
        """Say which tokens the next forward pass is about."""
        ...

    def keep_rows(self, indices: Sequence[int]) -> None:
        """Go on with these rows."""
        ...


@dataclass(frozen=True)
class Prompt:
    """One row of a batch.

    Parameters
    ----------
    ids : tokens without the model's prefix, which is put before them.
    kept : one flag a token: False for those of a chat template, where interventions on `kept` places do not act.
    seed : of this row's own random numbers.
    """

    ids: list[int]
    kept: list[bool] = field(default_factory=list)
    seed: int = 0


@dataclass(frozen=True)
class Sampling:
    """temperature 0 takes the most probable token; otherwise one is drawn among the `top_k` most probable (0: all)."""

    max_tokens: int = 40
    temperature: float = 0.7
    top_k: int = 64


@dataclass(frozen=True)
class Piece:
    """One generated token of a row. `text` may be empty while bytes of a character are missing.

    `end`: stop - the model ended the text (the token itself is not shown), length - `max_tokens` are reached.
    """

    row: int
    token: int
    text: str
    end: Literal["stop", "length"] | None = None


def prompt_of(tokenizer: TextTokenizer, text: str, *, seed: int = 0, chat: bool = False) -> Prompt:
    """Tokenise a prompt, in the model's chat template if asked for; only tokens of the text itself are `kept`."""
    if not chat:
        ids = tokenizer.encode(text)
        return Prompt(ids, [True] * len(ids), seed)
    whole = tokenizer.conversation(text)
    start = whole.find(text)
    encoded = tokenizer.encode_spans([whole])[0]
    kept = [start <= a and b <= start + len(text) and start >= 0 for a, b in encoded.spans]
    return Prompt(encoded.ids, kept, seed)


def generate(
    language: LanguageModel, prompts: Sequence[Prompt], sampling: Sampling, *, steering: RowSteering | None = None
) -> Iterator[Piece]:
    """Continue every prompt, all rows together; a row that has ended leaves the batch.

    Rows do not influence each other: each has its own random numbers, and left padding is masked. What the generator
    holds is freed when it is closed, so a caller that stops listening stops the work.

    Parameters
    ----------
    steering : the interventions of each row, in force while the generator is advanced.

    Raises
    ------
    PromptTooLong : before anything runs; with the tokens needed, and the context.
    """
    require_context(language, prompts, sampling)
    return _run(language, prompts, sampling, steering)


def require_context(language: LanguageModel, prompts: Sequence[Prompt], sampling: Sampling) -> None:
    """Refuse prompts that would run beyond the context. Raises `PromptTooLong`."""
    needed = len(language.tokenizer.facts.prefix) + max(len(one.ids) for one in prompts) + sampling.max_tokens
    if needed > language.context:
        raise PromptTooLong(
            f"prompt and {sampling.max_tokens} new tokens need {needed}", field="prompt", needed=needed,
            limit=language.context,
        )  # fmt: skip


class _Batch:
    """The rows that are still being written, and what the model remembers of them."""

    def __init__(self, language: LanguageModel, prompts: Sequence[Prompt], prefix: list[int]) -> None:
        from transformers import DynamicCache

        self.language = language
        self.rows = list(range(len(prompts)))
        self.written: list[list[int]] = [[] for _ in prompts]
        self.shown = [""] * len(prompts)
        self.draws = [torch.Generator().manual_seed(prompt.seed) for prompt in prompts]
        lengths = torch.tensor([len(prefix) + len(prompt.ids) for prompt in prompts])
        width = int(lengths.max())
        self.ids = torch.full((len(prompts), width), prefix[0] if prefix else 0)
        self.positions = torch.arange(width)[None] - (width - lengths)[:, None]
        self.kept = torch.zeros(self.ids.shape, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            start = width - int(lengths[row])
            self.ids[row, start:] = torch.tensor(prefix + prompt.ids)
            self.kept[row, start + len(prefix) :] = torch.tensor(prompt.kept or [True] * len(prompt.ids))
        self.lengths, self.mask = lengths, self.positions >= 0
        self.cache = DynamicCache(config=language.model.config)  # type: ignore[arg-type]

    def step(self, steering: RowSteering | None) -> Tensor:
        """Run the tokens that the model has not seen; returns logits of the next one, [rows, vocabulary] float32."""
        if steering is not None:
            steering.at(positions=self.positions, kept=self.kept, prompt=self.lengths)
        padded = not bool(self.mask.all())
        with torch.inference_mode():
            output = self.language.model(
                input_ids=self.ids, position_ids=self.positions.clamp(min=0), past_key_values=self.cache,
                attention_mask=self.mask.long() if padded else None, use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        return output.logits[:, -1].float()

    def push(self, tokens: Tensor) -> None:
        """Let the drawn tokens, [rows], be the next input."""
        self.ids = tokens[:, None]
        self.positions = self.positions[:, -1:] + 1
        self.kept = torch.ones(self.ids.shape, dtype=torch.bool)
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], 1)

    def keep(self, places: list[int]) -> None:
        """Go on with these places of the batch."""
        chosen = torch.tensor(places)
        self.rows = [self.rows[place] for place in places]
        for name in ("ids", "positions", "kept", "mask", "lengths"):
            setattr(self, name, getattr(self, name)[chosen])
        self.cache.batch_select_indices(chosen)


def _run(
    language: LanguageModel, prompts: Sequence[Prompt], sampling: Sampling, steering: RowSteering | None
) -> Iterator[Piece]:
    batch = _Batch(language, prompts, list(language.tokenizer.facts.prefix))
    stops = set(batch.language.tokenizer.facts.stops)
    for count in range(1, sampling.max_tokens + 1):
        logits = batch.step(steering)
        drawn = [_draw(row, sampling, batch.draws[number]) for row, number in zip(logits, batch.rows, strict=True)]
        batch.push(torch.tensor(drawn))
        alive = []
        for place, (number, token) in enumerate(zip(list(batch.rows), drawn, strict=True)):
            end: Literal["stop", "length"] | None = "stop" if token in stops else None
            if end is None:
                batch.written[number].append(token)
                end = "length" if count == sampling.max_tokens else None
            if end is None:
                alive.append(place)
            yield Piece(number, token, _new_text(batch, number, last=end is not None), end)
        if not alive:
            return
        if len(alive) < len(batch.rows):
            batch.keep(alive)
            if steering is not None:
                steering.keep_rows(alive)


def _draw(logits: Tensor, sampling: Sampling, draw: torch.Generator) -> int:
    """Draw one token from logits [vocabulary]. Only the k best are ever ordered, never the whole vocabulary."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    k = min(sampling.top_k, len(logits)) if sampling.top_k else 0
    values, indices = logits.topk(k) if k else (logits, None)
    chances = torch.softmax(values.double() / sampling.temperature, 0)
    chosen = int(torch.multinomial(chances, 1, generator=draw))
    return chosen if indices is None else int(indices[chosen])


def _new_text(batch: _Batch, row: int, *, last: bool) -> str:
    """Decode what has been added and not been shown; a character that is not whole waits, unless nothing follows."""
    whole = batch.language.tokenizer.decode(batch.written[row])
    if whole.endswith(BROKEN) and not last:
        whole = whole.rstrip(BROKEN)
    shown = batch.shown[row]
    if len(whole) <= len(shown):
        return ""
    batch.shown[row] = whole
    return whole[len(shown) :]


def texts_of(pieces: Iterator[Piece], rows: int) -> list[str]:
    """Collect the texts of all rows."""
    texts = [""] * rows
    for piece in pieces:
        texts[piece.row] += piece.text
    return texts
