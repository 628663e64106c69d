"""Perplexity of plain English, the check that weights were read as they were meant."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import torch

from contracts.language import ImplausiblePerplexity
from services.model.language.sources import PERPLEXITY_LIMIT

if TYPE_CHECKING:
    from services.model.language.folder import LanguageModel

WINDOW = 512
TEXT = "language reference of the installed Python (pydoc_data), white space collapsed"


def reference_text() -> str:
    """The language reference that every Python ships, as running text; the same for one version of Python."""
    from pydoc_data.topics import topics

    return re.sub(r"\s+", " ", " ".join(topics[name] for name in sorted(topics)))


def perplexity(language: LanguageModel, text: str, *, tokens: int = 2048, window: int = WINDOW) -> float:
    """Exponential of the mean negative log-likelihood a token, natural logarithm.

    Parameters
    ----------
    text : at least two tokens; only its first `tokens` count.
    window : tokens read together, after the model's prefix; the first token of a window is not predicted, and the
        prefix is never scored.

    Returns
    -------
    >= 1, dimensionless; the vocabulary's size for a model that knows nothing.
    """
    ids = language.tokenizer.encode(text[: tokens * 16])[:tokens]
    prefix = list(language.tokenizer.facts.prefix)
    window = min(window, language.context - len(prefix))
    lost, counted = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(ids), window):
            piece = ids[start : start + window]
            if len(piece) < 2:
                continue
            whole = torch.tensor([prefix + piece])
            logits = language.model(input_ids=whole, use_cache=False).logits[0, len(prefix) : -1].float()  # [t-1, V]
            lost += float(torch.nn.functional.cross_entropy(logits, whole[0, len(prefix) + 1 :], reduction="sum"))
            counted += len(piece) - 1
    return math.exp(lost / counted)


def continuation_perplexity(language: LanguageModel, prompt: list[int], text: str) -> float | None:
    """Perplexity of a text after a prompt (token ids without prefix); None for a text of fewer than two tokens."""
    ids = language.tokenizer.encode(text)
    before = [*language.tokenizer.facts.prefix, *prompt]
    ids = ids[: language.context - len(before)]
    if len(ids) < 2 or not before:
        return None
    with torch.inference_mode():
        whole = torch.tensor([before + ids])
        logits = language.model(input_ids=whole, use_cache=False).logits[0, len(before) - 1 : -1].float()
        return math.exp(float(torch.nn.functional.cross_entropy(logits, whole[0, len(before) :])))


def require_plausible(language: LanguageModel, *, limit: float = PERPLEXITY_LIMIT) -> float:
    """Perplexity of 1,024 tokens of `reference_text`.

    Raises
    ------
    ImplausiblePerplexity : above `limit`, or not a number: wrong order of rows, wrong offsets, wrong tokens.
    """
    found = perplexity(language, reference_text(), tokens=1024)
    if not found <= limit:
        raise ImplausiblePerplexity(
            f"perplexity {found:.4g} on English text, at most {limit:g} is plausible", field="weights",
            perplexity=found if math.isfinite(found) else None, limit=limit,
        )  # fmt: skip
    return found
