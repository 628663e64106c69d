"""Documents of text from a folder of files, JSONL, or Parquet."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.corpora import TextSource
from contracts.data import RejectedFile
from contracts.errors import UnreadableSource
from services.kit.corpora import Document

SUFFIXES = frozenset({".txt", ".md", ".rst"})
LINES, TABLES = frozenset({".jsonl", ".ndjson"}), frozenset({".parquet", ".pq"})
LONG_RUN, SPACES = re.compile(" {17,}"), " " * 16  # tokenizers disagree on longer runs of spaces


def plain(text: str) -> str:
    """Text as it is kept: a line feed ends lines, no NUL, no byte order mark, runs of spaces at most 16 long."""
    unified = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return LONG_RUN.sub(SPACES, unified).strip("\n")


def text_files(source: TextSource) -> list[Path]:
    """Files of a source in their fixed order.

    Raises
    ------
    UnreadableSource : nothing there that holds text.
    """
    path = Path(source.path)
    if path.is_file() and path.suffix in SUFFIXES | LINES | TABLES:
        return [path]
    if not path.is_dir():
        raise UnreadableSource(f"{path.name} is no folder, .jsonl or .parquet", field="source.path")
    found = []
    for folder, below, names in os.walk(path, followlinks=False):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder) / name
            inside = file.is_file() and file.resolve().is_relative_to(path.resolve())
            if inside and not name.startswith(".") and file.suffix.lower() in SUFFIXES:
                found.append(file)
    if not found:
        raise UnreadableSource("there is no .txt or .md file in it", field="source.path")
    return found


def read_texts(source: TextSource, files: list[Path]) -> Iterator[Document | RejectedFile]:
    """Yield every document, or why it was skipped.

    Raises
    ------
    UnreadableSource : a table without the columns that were named.
    """
    root = Path(source.path)
    for file in files:
        if file.suffix in LINES:
            yield from _lines(file, source)
        elif file.suffix in TABLES:
            yield from _rows(file, source)
        else:
            name = file.name if file == root else file.relative_to(root).as_posix()
            yield _decoded(name, file.read_bytes())


def _decoded(name: str, body: bytes) -> Document | RejectedFile:
    try:
        return Document(name, plain(body.decode("utf-8")))
    except UnicodeDecodeError as error:
        return RejectedFile(name=name, reason="UnreadableSource", detail=f"no UTF-8 at byte {error.start:,}")


def _lines(file: Path, source: TextSource) -> Iterator[Document | RejectedFile]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            name = f"line {number}"
            try:
                record = json.loads(line)
            except ValueError:
                yield RejectedFile(name=name, reason="UnreadableSource", detail="no JSON")
                continue
            yield _of(record if isinstance(record, dict) else {}, name, source)


def _rows(file: Path, source: TextSource) -> Iterator[Document | RejectedFile]:
    try:
        with pq.ParquetFile(file) as table:
            wanted = [source.text, *([source.id] if source.id else [])]
            missing = [name for name in wanted if name not in table.schema_arrow.names]
            if missing:
                raise UnreadableSource(
                    f"there is no column {missing[0]}", field="source.text", columns=list(table.schema_arrow.names)
                )
            number = 0
            for batch in table.iter_batches(columns=wanted, batch_size=1024):
                for record in batch.to_pylist():
                    yield _of(record, f"row {number}", source)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise UnreadableSource(f"{file.name} is no Parquet file: {str(error)[:100]}", field="source.path") from error


def _of(record: dict[str, object], name: str, source: TextSource) -> Document | RejectedFile:
    text = record.get(source.text)
    called = record.get(source.id) if source.id else None
    name = str(called)[:200] if isinstance(called, str | int) else name
    if not isinstance(text, str):
        return RejectedFile(name=name, reason="UnreadableSource", detail=f"`{source.text}` is no text")
    return Document(name, plain(text.encode("utf-8", "replace").decode()))
