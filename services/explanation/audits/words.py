"""Which names have to do with which concepts, by their words."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FILLING = frozenset(
    (
        "a", "an", "the", "in", "on", "at", "of", "with", "and", "or", "to", "by", "for", "from", "is", "are", "its",
        "it", "this", "that", "some", "thing", "things", "picture", "photo", "image",
    )
)  # fmt: skip
FEWEST_UNRELATED = 50


def content_words(text: str) -> frozenset[str]:
    """Words that carry meaning, in lower case, the plural's s taken away."""
    found = re.findall(r"[^\W_]+", text.casefold())
    return frozenset(word.removesuffix("s") for word in found if word not in FILLING)


def related(concepts: Sequence[str], background: Sequence[str]) -> NDArray[np.bool_]:
    """Which names share a word with a concept, and so say nothing about what unrelated names reach.

    Returns
    -------
    [Q, B] bool.

    Source: ours; without it the concept's own mentions in captions hide it.
    """
    ours, theirs = [content_words(text) for text in concepts], [content_words(text) for text in background]
    found = [[bool(own & other) for other in theirs] for own in ours]
    return np.array(found, dtype=bool).reshape(len(concepts), len(background))
