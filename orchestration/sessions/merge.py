"""Three-way merge of text by lines in which no text is ever lost: what both sides changed is kept twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True)
class Merged:
    """The merged text; `both` says that the same lines were changed on both sides, and both versions stand in it."""

    text: str
    both: bool


def merge(base: str, ours: str, theirs: str) -> Merged:
    """Merge two changes of one text, as `diff3` does; where it would mark a conflict, ours is followed by theirs.

    Every line that either side added or changed is in the result. A line that one side deleted and the other left
    alone is gone; one that the other side changed stays as changed.
    Source: Khanna, Kunal & Pierce, A formal investigation of diff3 (2007): stable and unstable chunks.
    """
    if ours == theirs or theirs == base:
        return Merged(ours, False)
    if ours == base:
        return Merged(theirs, False)
    lines = [text.splitlines(keepends=True) for text in (base, ours, theirs)]
    merged: list[str] = []
    both = False
    for old, mine, yours in _chunks(*lines):
        if mine == yours or yours == old:
            merged += mine
        elif mine == old:
            merged += yours
        else:
            new = [[line for line in side if line not in old] for side in (mine, yours)]
            both = both or (bool(new[0]) and bool(new[1]))
            merged += [line for line in mine if line not in old or line in yours]
            merged += [line for line in new[1] if line not in mine]
    return Merged("".join(_joined(merged)), both)


Chunk = tuple[list[str], list[str], list[str]]


def _chunks(base: list[str], ours: list[str], theirs: list[str]) -> Iterator[Chunk]:
    """Yield aligned pieces: alternately what differs somewhere, and what all three share."""
    at_base = at_ours = at_theirs = 0
    for start, mine, yours, length in _shared(base, ours, theirs):
        yield from _by_line(base[at_base:start], ours[at_ours:mine], theirs[at_theirs:yours])
        common = base[start : start + length]
        yield common, common, common
        at_base, at_ours, at_theirs = start + length, mine + length, yours + length


def _by_line(old: list[str], mine: list[str], yours: list[str]) -> Iterator[Chunk]:
    """Neighbouring lines that were each changed by another side need not meet: line by line where none came or went."""
    if len(old) == len(mine) == len(yours):
        yield from (([a], [b], [c]) for a, b, c in zip(old, mine, yours, strict=True))
    else:
        yield old, mine, yours


def _shared(base: list[str], ours: list[str], theirs: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start in base, in ours, in theirs, length) of the runs that all three share, in order; the end last."""
    left, right = _blocks(base, ours), _blocks(base, theirs)
    i = j = 0
    while i < len(left) and j < len(right):
        a, b = left[i], right[j]
        start, end = max(a[0], b[0]), min(a[0] + a[2], b[0] + b[2])
        if start < end:
            yield start, a[1] + start - a[0], b[1] + start - b[0], end - start
        if a[0] + a[2] < b[0] + b[2]:
            i += 1
        else:
            j += 1
    yield len(base), len(ours), len(theirs), 0


def _blocks(base: list[str], other: list[str]) -> Sequence[tuple[int, int, int]]:
    found = SequenceMatcher(None, base, other, autojunk=False).get_matching_blocks()
    return [(block.a, block.b, block.size) for block in found if block.size]


def _joined(lines: list[str]) -> list[str]:
    """A last line without its end may have come before others: give it one, or two lines would become one."""
    return [line if line.endswith("\n") else f"{line}\n" for line in lines[:-1]] + lines[-1:]
