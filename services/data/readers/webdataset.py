"""A WebDataset tar: files with one key belong together; nothing is unpacked to disk."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue

from contracts.errors import UnreadableSource, UnsafeArchive
from services.data.readers.archive import MOST_ENTRY_BYTES, safe_name
from services.data.readers.port import Listed, Listing, require_unchanged, stamp, words
from services.kit.keys import sha256_of_file

PICTURES = {"png", "jpg", "jpeg", "webp"}
LONGEST_TEXT = 1 << 20


def list_webdataset(path: Path) -> Listing:
    """List the pictures of a tar by key, with the label and caption of the same key.

    Raises
    ------
    UnreadableSource : no such file, or no tar; UnsafeArchive : links, devices, names that lead outside.
    """
    if not path.is_file():
        raise UnreadableSource(f"there is no file {path.name}", field="path")
    mark = stamp(path)
    pictures: list[tuple[str, Listed]] = []
    texts: dict[str, dict[str, str]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise UnsafeArchive(f"{member.name[:80]!r} is a link, a device or sparse", field="path")
                name = safe_name(member.name)
                key, suffix = _key(name)
                if suffix in PICTURES:
                    where: dict[str, JsonValue] = {
                        "path": str(path),
                        "stamp": mark,
                        "offset": member.offset_data,
                        "size": member.size,
                    }
                    pictures.append((key, Listed(where, name)))
                elif suffix in {"txt", "cls", "json"} and member.size <= LONGEST_TEXT:
                    file = tar.extractfile(member)
                    texts.setdefault(key, {})[suffix] = (file.read() if file else b"").decode("utf-8", "replace")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise UnreadableSource(f"{path.name} is no tar: {str(error)[:100]}", field="path") from error
    pictures.sort(key=lambda found: (found[0], found[1].name))
    entries = [_described(entry, texts.get(key, {})) for key, entry in pictures]
    return Listing(entries, sha256_of_file(path), f"WebDataset {path.name}")


def _key(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    key, _, suffix = base.partition(".")
    return f"{folder}{slash}{key}", suffix.lower()


def _described(entry: Listed, texts: dict[str, str]) -> Listed:
    label, caption = words(texts.get("cls")), words(texts.get("txt"))
    try:
        facts = json.loads(texts.get("json", "{}"))
    except (ValueError, RecursionError):
        facts = {}
    if isinstance(facts, dict):
        label = label or words(facts.get("label"))
        caption = caption or words(facts.get("caption"))
    return Listed(entry.where, entry.name, label=label, caption=caption)


def read_tar(entries: Iterable[Listed]) -> Iterator[bytes]:
    """Yield the bytes of listed members, read at their offsets."""
    for entry in entries:
        with require_unchanged(entry).open("rb") as file:
            file.seek(int(entry.where["offset"]))  # type: ignore[arg-type]
            yield file.read(min(int(entry.where["size"]), MOST_ENTRY_BYTES))  # type: ignore[arg-type]
