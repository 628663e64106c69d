"""Lists of names: what they hold after normalisation, where they come from, and how they become vectors."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import EmptyVocabulary, LabelTooLong
from services.explanation.semantics.embeddings import unit_rows
from services.explanation.semantics.queries import fill, require_templates
from services.kit.keys import sha256_of

Floats = NDArray[np.float32]
LONGEST = 200
TEMPLATES = ("{}", "{}-like", "a {}", "an image of a {}", "a closeup of a {}", "an image of a closeup of {}")
FRAME = "A photo of a {}"
BATCH = 2048
NAMED = ("imagenet-1k", "imagenet-22k")
FROM_DATASET = ("classes", "captions")


@dataclass(frozen=True)
class Vocabulary:
    """Different names in their given order, with definitions where there are any.

    Attributes
    ----------
    source : `imagenet-1k`, `imagenet-22k`, `classes`, `captions` or `list`.
    definitions : one per name, "" where there is none. merged : how many duplicates were dropped.
    sha256 : of the names in order.
    """

    source: str
    names: tuple[str, ...]
    definitions: tuple[str, ...]
    merged: int
    sha256: str


def normalised(name: str) -> str:
    """Unicode NFC, underscores to spaces, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split())


def path_safe(name: str) -> str:
    """Turn a name into part of a file name; different characters may become the same."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._") or "_"


def vocabulary_of(
    names: Sequence[str], *, source: str = "list", definitions: Sequence[str] | None = None
) -> Vocabulary:
    """Normalise names; those that differ only in case, underscores or white space are one, the first spelling stays.

    Raises
    ------
    LabelTooLong : above 200 characters. EmptyVocabulary : fewer than two different names.
    """
    kept: dict[str, tuple[str, str]] = {}
    for index, (name, meaning) in enumerate(zip(names, definitions or [""] * len(names), strict=True)):
        clean = normalised(name)
        if len(clean) > LONGEST:
            raise LabelTooLong(
                f"name {index} has {len(clean):,} characters: {clean[:40]}…",
                field="vocabulary", index=index, limit=LONGEST,
            )  # fmt: skip
        if clean:
            kept.setdefault(clean.casefold(), (clean, meaning))
    if len(kept) < 2:
        raise EmptyVocabulary(f"{len(kept)} different names", field="vocabulary", n=len(kept))
    chosen = tuple(name for name, _ in kept.values())
    return Vocabulary(
        source, chosen, tuple(meaning for _, meaning in kept.values()), len(names) - len(kept), sha256_of(list(chosen))
    )  # fmt: skip


def imagenet(source: str) -> Vocabulary:
    """Read the 1,000 or 21,841 ImageNet classes with their WordNet definitions; of synonyms the first is the name."""
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    from timm.data import ImageNetInfo

    info = ImageNetInfo(source)
    places = range(info.num_classes())
    names = [info.index_to_description(place).split(",")[0] for place in places]
    meanings = [info.index_to_description(place, detailed=True).partition(": ")[2] for place in places]
    return vocabulary_of(names, source=source, definitions=meanings)


def text_vectors(
    encode: Callable[[Sequence[str]], Floats], names: Sequence[str], templates: Sequence[str] = TEMPLATES,
    *, unit: bool = False, advance: Callable[[int], None] = lambda _: None,
) -> Floats:  # fmt: skip
    """Mean over templates of the unit text embeddings: [T, d] float32, not normalised again unless `unit`.

    Without the second normalisation, names whose templates agree get a bonus (reference code of CSP).

    Raises
    ------
    BadTemplate : a template without exactly one `{}`.
    """
    require_templates(templates)
    pieces = []
    for start in range(0, len(names), BATCH):
        part = names[start : start + BATCH]
        filled = [fill(template, name) for name in part for template in templates]
        pieces.append(encode(filled).reshape(len(part), len(templates), -1).mean(axis=1, dtype=np.float32))
        advance(len(part))
    rows = np.concatenate(pieces)
    return unit_rows(rows) if unit else rows


def frame_vectors(encode: Callable[[Sequence[str]], Floats], names: Sequence[str]) -> Floats:
    """û(`A photo of a NAME`) - û(`A photo of a`): [T, d], for the scorer `www`."""
    return text_vectors(encode, names, [FRAME]) - encode([fill(FRAME, "")])
