"""Text as data: documents cut into windows of characters, split by document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, Sha256
from contracts.errors import XsysError

Split = Literal["train", "validation", "test"]
Column = Annotated[str, Field(min_length=1, max_length=120)]
Window = Annotated[int, Field(ge=16, le=8192, description="characters")]
Seed = Annotated[int, Field(ge=0, lt=2**31, description="decides which document is in which split")]


class HoldsText(XsysError):
    status = 422
    remedy = "Take a dataset of pictures; the windows of this one are at /datasets/{dataset}/passages."


class HoldsPictures(XsysError):
    status = 422
    remedy = "Take a text corpus, such as that of `xsys dataset add corpus`."


class CorpusTooLarge(XsysError):
    """Documents are read together to find duplicates and to split them."""

    status = 422
    remedy = "Register less text at once: at most `limit` bytes."


class TooFewDocuments(XsysError):
    """A split by document needs documents: windows of one and the same text are no independent test."""

    status = 422
    remedy = "Give at least three different documents, such as three files or three lines of JSONL."


class TextSource(Contract):
    """A folder of .txt and .md files, a .jsonl or .parquet file; UTF-8. A document is a file, a line or a row.

    `text` and `id` name the fields of JSONL and Parquet.
    """

    kind: Literal["text"] = "text"
    path: str
    text: Column = "text"
    id: Column | None = None
    window: Window = 256
    seed: Seed = 0


class DemoTextSource(Contract):
    """Documentation that the installed Python and its packages bring: the language reference, and docstrings."""

    kind: Literal["demo-text"] = "demo-text"
    packages: Annotated[list[Literal["numpy", "scipy", "sklearn", "skimage", "torch", "transformers"]], Field()] = [
        "numpy",
        "scipy",
        "sklearn",
    ]
    window: Window = 256
    seed: Seed = 0


class Passage(Contract):
    """One window: characters `start` to `stop` (exclusive) of a document."""

    index: int
    document: str
    document_sha256: Sha256
    start: int
    stop: int
    split: Split
    licence: str | None
    text: str
