"""A text corpus as one Parquet file of documents; its windows follow from the documents' lengths."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.corpora import HoldsPictures, Passage, Split
from contracts.errors import CorruptArtifact, UnknownSample

SHORTEST_SHARE = 4  # the last window of a document is left out if it is shorter than a quarter of the others
SHARES: dict[Split, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}
FACTS = b"xsys_corpus"
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("sha256", pa.string()),
        ("split", pa.string()),
        ("licence", pa.string()),
        ("text", pa.large_string()),
    ]
)


@dataclass(frozen=True)
class Document:
    """A document as stored. `sha256` is that of its UTF-8 bytes."""

    name: str
    text: str
    licence: str | None = None
    split: Split = "train"

    @cached_property
    def sha256(self) -> str:
        """Hash of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def windows_of(length: int, window: int) -> list[tuple[int, int]]:
    """Cut a document of `length` characters into windows [start, stop); a last one below a quarter is left out.

    A document that is shorter than a window is one window.
    """
    cuts = [(start, min(start + window, length)) for start in range(0, length, window)]
    if len(cuts) > 1 and cuts[-1][1] - cuts[-1][0] < window / SHORTEST_SHARE:
        cuts.pop()
    return cuts


def split_documents(documents: Sequence[Document], *, window: int, seed: int) -> list[Document]:
    """Assign whole documents to train, validation and test, 60/20/20 by number of windows.

    The order in which splits are filled is that of the hash of seed and text, so it depends neither on names nor on
    the order of the files; each split has at least one document (of at least three).
    """
    order = sorted(
        range(len(documents)), key=lambda place: hashlib.sha256(f"{seed}:{documents[place].sha256}".encode()).digest()
    )
    sizes = [len(windows_of(len(documents[place].text), window)) for place in order]
    total, before = sum(sizes), 0
    splits: dict[int, Split] = {}
    for rank, (place, size) in enumerate(zip(order, sizes, strict=True)):
        middle = (before + size / 2) / total
        left = len(order) - rank
        split: Split = "train" if middle < SHARES["train"] else "validation" if middle < 0.8 else "test"
        if rank == 0:
            split = "train"
        elif left == 2 and "validation" not in splits.values():
            split = "validation"
        elif left == 1:
            split = "test"
        splits[place] = split
        before += size
    return [Document(each.name, each.text, each.licence, splits[place]) for place, each in enumerate(documents)]


def write_corpus(path: Path, documents: Sequence[Document], *, window: int) -> None:
    """Write documents in their order; the same documents give the same bytes."""
    rows: dict[str, list[Any]] = {name: [getattr(each, name) for each in documents] for name in SCHEMA.names}
    schema = SCHEMA.with_metadata({FACTS: json.dumps({"window": window}).encode()})
    pq.write_table(pa.table(rows, schema=schema), path, compression="zstd", row_group_size=256)


class Corpus:
    """A stored corpus: N windows of D documents."""

    def __init__(self, documents: Sequence[Document], window: int) -> None:
        self.documents, self.window = list(documents), window
        self._cuts = [windows_of(len(each.text), window) for each in self.documents]
        self._first = [0, *accumulate(map(len, self._cuts))]

    @classmethod
    def load(cls, path: Path) -> Corpus:
        """Read a corpus.

        Raises
        ------
        HoldsPictures : the manifest of a dataset of pictures. CorruptArtifact : no Parquet file.
        """
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise CorruptArtifact(f"{path.name[:12]} is no corpus: {str(error)[:100]}") from error
        facts = (table.schema.metadata or {}).get(FACTS)
        if facts is None:
            raise HoldsPictures("this dataset holds pictures, no text", field="dataset")
        rows = table.to_pylist()
        documents = [Document(row["name"], row["text"], row["licence"], row["split"]) for row in rows]
        return cls(documents, int(json.loads(facts)["window"]))

    def __len__(self) -> int:
        return self._first[-1]

    def passage(self, index: int) -> Passage:
        """Return one window.

        Raises
        ------
        UnknownSample
        """
        if not 0 <= index < len(self):
            raise UnknownSample(f"there is no window {index}; there are {len(self)}", field="index")
        place = bisect_right(self._first, index) - 1
        document = self.documents[place]
        start, stop = self._cuts[place][index - self._first[place]]
        return Passage(
            index=index, document=document.name, document_sha256=document.sha256, start=start, stop=stop,
            split=document.split, licence=document.licence, text=document.text[start:stop],
        )  # fmt: skip

    def indices(self, split: Split | None = None) -> list[int]:
        """Windows of one split, or all, in order."""
        return [
            index
            for place, document in enumerate(self.documents)
            if split is None or document.split == split
            for index in range(self._first[place], self._first[place + 1])
        ]

    def passages(self, indices: Sequence[int]) -> Iterator[Passage]:
        """Yield windows."""
        return map(self.passage, indices)


@lru_cache(maxsize=4)
def load_corpus(path: Path) -> Corpus:
    """Read a corpus; the latest few stay in memory. A blob's name is the hash of its bytes, so it never changes."""
    return Corpus.load(path)
