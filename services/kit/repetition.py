"""How much a text repeats itself."""

from __future__ import annotations


def repetition(text: str) -> tuple[float, float]:
    """(distinct-2, share of repeated 4-grams) of a text's words; (1, 0) for texts too short to repeat."""
    words = text.casefold().split()
    pairs, fours = (list(zip(*(words[at:] for at in range(n)), strict=False)) for n in (2, 4))
    distinct = len(set(pairs)) / len(pairs) if pairs else 1.0
    repeated = 1 - len(set(fours)) / len(fours) if fours else 0.0
    return distinct, repeated
