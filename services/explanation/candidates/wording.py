"""What a vision-language model is asked, and what is taken from its answer."""

from __future__ import annotations

import re
import unicodedata

from contracts.labels import CandidateGrid

LONGEST = 40
ANSWERED = 2000  # characters of an answer that are looked at
MARKER = re.compile(r"^\s*(?:[-*•]+|\d+[.):])\s*")
UNWANTED = re.compile(r"[^\w\s-]")
SHARED = {
    "positive": "The picture is a grid of photographs that strongly activate one component of a neural network.",
    "contrastive": (
        "The first picture is a grid of photographs that strongly activate one component of a neural network. The "
        "second picture is a grid of similar photographs that leave it silent."
    ),
}
SOUGHT = {
    "positive": "that all photographs share",
    "contrastive": "that all photographs of the first grid share and that are absent from the second",
}


def prompt_for(grid: CandidateGrid, names: int) -> str:
    """Ask for exactly so many short visual concepts."""
    concepts = f"{names} short visual concepts" if names > 1 else "one short visual concept"
    return (
        f"{SHARED[grid]} Name exactly {concepts} {SOUGHT[grid]}. A concept has at most four words: an object, a class, "
        "a property, a style or an action. Answer with the concepts alone, separated by commas."
    )


def concepts_in(answer: str, names: int) -> list[str]:
    """Take the first different concepts from an answer, in its order; none from one that holds nothing usable.

    Concepts end at commas, semicolons and line ends; case, list marks and other characters than letters, digits and
    hyphens are dropped, and whatever is longer than 40 characters then.

    Source: post-processing of the reference code of Contrastive Semantic Projection (arXiv 2604.22477); here letters
    of all scripts are kept, and words stay apart by spaces, as vocabularies have them.
    """
    found = dict[str, None]()
    for piece in re.split(r"[,;\n]", unicodedata.normalize("NFC", answer[:ANSWERED])):
        words = UNWANTED.sub(" ", MARKER.sub("", piece).lower()).replace("_", " ").split()
        concept = " ".join(words).strip(" -")
        if concept and len(concept) <= LONGEST:
            found.setdefault(concept)
    return list(found)[:names]
