"""Text to token ids and back, reproducibly, with the character span of every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers

from contracts.language import BrokenLanguageFile, TokenizerDrift

FIX_VERSION = 1
DIGIT_FAMILIES = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})
SINK = "<|endoftext|>"
PROBES = (
    "2024 1,234",
    "x  2024",
    "def f(x):\n\treturn x**2  # déjà vu, 東京 🙂",
    "  The quick brown fox, 'tis said, jumped over 13 lazy dogs.\r\n",
    "<|im_start|>user\nhi<|im_end|>",
    "<start_of_turn>user\nhi<end_of_turn>",
)
GOLDEN: dict[tuple[str, int], dict[str, tuple[int, ...]]] = {  # by family and size of the vocabulary
    ("smollm", 49_152): {
        "2024 1,234": (34, 32, 34, 36, 216, 33, 28, 34, 35, 36),
        "x  2024": (104, 256, 34, 32, 34, 36),
        "<|im_start|>user\nhi<|im_end|>": (1, 4093, 198, 6004, 2),
    },
    ("gemma3", 262_144): {
        "2024 1,234": (2, 236778, 236771, 236778, 236812, 236743, 236770, 236764, 236778, 236800, 236812),
        "<start_of_turn>user\nhi<end_of_turn>": (2, 105, 2364, 107, 2202, 106),
    },
}


@dataclass(frozen=True)
class TokenFacts:
    """What a tokenizer file does not say by itself.

    Parameters
    ----------
    prefix : ids put before every text: the model's BOS, or a sink token for a model without one.
    stops : ids that end a generation.
    probes : ids of `PROBES`, as they were when the model was converted; they must never change.
    chat : Jinja template of a conversation, if the model has one.
    """

    prefix: tuple[int, ...]
    stops: tuple[int, ...]
    probes: Mapping[str, tuple[int, ...]]
    chat: str | None = None


@dataclass(frozen=True)
class Encoded:
    """Tokens of one text, without the prefix. `spans`: (start, stop) in characters, half-open, one a token."""

    ids: list[int]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer with the facts that its model needs."""

    backend: Tokenizer
    facts: TokenFacts

    @cached_property
    def size(self) -> int:
        """Number of tokens, special ones included."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without the prefix."""
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def encode_spans(self, texts: Sequence[str]) -> list[Encoded]:
        """Token ids and character spans of several texts, without prefixes."""
        found = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [Encoded(list(one.ids), [(int(a), int(b)) for a, b in one.offsets]) for one in found]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens written out."""
        return str(self.backend.decode(list(ids), skip_special_tokens=False))

    def conversation(self, prompt: str) -> str:
        """Wrap a prompt in the model's chat template as the first message of a user."""
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        if self.facts.chat is None:
            raise BrokenLanguageFile("this model has no chat template", field="chat")
        marks = {"bos_token": "", "eos_token": ""}  # the prefix is ours to put
        try:
            template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(self.facts.chat)
            messages = [{"role": "user", "content": prompt}]
            return str(template.render(messages=messages, add_generation_prompt=True, **marks))
        except TemplateError as error:
            raise BrokenLanguageFile(f"its chat template is broken: {str(error)[:100]}", field="chat") from error


def mended(backend: Tokenizer, family: str) -> Tokenizer:
    """Give byte-level tokenizers of `DIGIT_FAMILIES` back the step that splits digits one by one.

    The conversion of transformers 5.23 leaves it out, so that white space before a digit is cut differently.
    """
    if family in DIGIT_FAMILIES:
        backend.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return backend


def probed(backend: Tokenizer) -> dict[str, tuple[int, ...]]:
    """Token ids of `PROBES`."""
    return {text: tuple(backend.encode(text, add_special_tokens=False).ids) for text in PROBES}


def require_golden(tokenizer: TextTokenizer, family: str) -> bool:
    """Compare with the published ids of a family, prefix included where the model has a BOS; False if none are known.

    Raises
    ------
    TokenizerDrift : naming the text, the ids that are due and those found.
    """
    table = GOLDEN.get((family, tokenizer.size), {})
    prefix = tokenizer.facts.prefix if family == "gemma3" else ()
    for text, due in table.items():
        _compare(text, due, (*prefix, *tokenizer.encode(text)))
    return bool(table)


def require_same(tokenizer: TextTokenizer) -> None:
    """Compare with the ids at conversion. Raises `TokenizerDrift`."""
    for text, due in tokenizer.facts.probes.items():
        _compare(text, tuple(due), tuple(tokenizer.encode(text)))


def _compare(text: str, due: tuple[int, ...], found: tuple[int, ...]) -> None:
    if due != found:
        raise TokenizerDrift(
            f"{text!r} is tokenised otherwise than when the model was converted", field="model",
            text=text, due=[*due], found=[*found],
        )  # fmt: skip


def open_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json. Raises `BrokenLanguageFile`."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises its one bare class for every reason
        raise BrokenLanguageFile(f"{path.name} is no tokenizer: {str(error)[:100]}", field="weights") from error
