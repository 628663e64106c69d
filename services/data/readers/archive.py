"""An uploaded zip: checked as a whole, then read entry by entry; nothing is unpacked to disk."""

from __future__ import annotations

import csv
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import cast

from pydantic import JsonValue

from contracts.errors import UnreadableSource, UnsafeArchive, UnsafePicture
from services.data.readers.folder import CAPTIONS, SUFFIXES, captions_of
from services.data.readers.masks import masked, masks_among
from services.data.readers.port import LONGEST_CAPTION, Listed, Listing, Masked, words
from services.kit.keys import sha256_of_file

MOST_ENTRIES = 1_000_000
MOST_BYTES = 64 << 30
MOST_ENTRY_BYTES = 256 << 20
HIGHEST_RATIO = 200
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError, ValueError)


def safe_name(name: str) -> str:
    """Return an archive's entry name if it stays inside, else refuse it. It is only ever shown, never opened."""
    plain = name.replace("\\", "/")
    path = PurePosixPath(plain)
    bad = plain.startswith("/") or ".." in path.parts or (len(plain) > 1 and plain[1] == ":")
    odd = any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in plain)
    if bad or odd or not plain or len(plain) > 1000:
        raise UnsafeArchive(f"the entry name {name[:80]!r} leads out of the archive or cannot be shown", field="upload")
    return plain


def check_zip(path: Path) -> int:
    """Check a zip before anything of it is unpacked; return its number of files.

    Raises
    ------
    UnsafeArchive : not a zip, encrypted, links or devices, names that lead outside, too many or too large entries, or
        a ratio of unpacked to packed bytes that only a bomb has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except DAMAGED as error:
        raise UnsafeArchive(f"not a zip archive: {str(error)[:100]}", field="upload") from error
    if len(infos) > MOST_ENTRIES:
        raise UnsafeArchive(f"{len(infos):,} entries", field="upload", limit=MOST_ENTRIES)
    unpacked = sum(info.file_size for info in infos)
    packed = path.stat().st_size  # not the sum of what entries claim: entries of a bomb may overlap
    if unpacked > MOST_BYTES or unpacked > HIGHEST_RATIO * max(packed, 1 << 16):
        raise UnsafeArchive(
            f"{unpacked:,} B out of {packed:,} B", field="upload", ratio_limit=HIGHEST_RATIO, limit=MOST_BYTES
        )
    names = set()
    for info in infos:
        name = _shown(safe_name(info.filename))
        if name in names:
            raise UnsafeArchive(f"{name[:80]} occurs twice", field="upload")
        names.add(name)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnsafeArchive(f"{info.filename[:80]} is a link or a device", field="upload")
        if info.flag_bits & 1:
            raise UnsafeArchive(f"{info.filename[:80]} is encrypted", field="upload")
        if info.file_size > MOST_ENTRY_BYTES:
            raise UnsafeArchive(
                f"{info.filename[:80]} has {info.file_size:,} B", field="upload", limit=MOST_ENTRY_BYTES
            )
    return sum(not info.is_dir() for info in infos)


def list_zip(path: Path, title: str) -> Listing:
    """List the pictures of a checked zip; the rules of a folder hold inside it."""
    check_zip(path)
    with zipfile.ZipFile(path) as archive:
        entry_of = {_shown(info.filename): info.filename for info in archive.infolist() if not info.is_dir()}
        visible = sorted(name for name in entry_of if not _hidden(name))
        top = _shared_top(visible)
        table = _text(archive, entry_of.get(top + CAPTIONS))
        try:
            captions = captions_of(table or "")
        except csv.Error as error:
            raise UnreadableSource(f"{CAPTIONS} is no table: {error}", field="upload") from error
        entries = []
        masks_of = masks_among(name for name in visible if PurePosixPath(name).suffix.lower() in SUFFIXES)
        masks = {file for found in masks_of.values() for file in found.values()}
        for name in visible:
            if PurePosixPath(name).suffix.lower() in SUFFIXES and name not in masks:
                shown = name.removeprefix(top)
                label = shown.split("/")[0] if "/" in shown else None
                caption = captions.get(shown) or captions.get(shown.rsplit("/", 1)[-1])
                sidecar = entry_of.get(str(PurePosixPath(name).with_suffix(".txt")))
                caption = caption or words(_text(archive, sidecar, LONGEST_CAPTION))
                where: dict[str, JsonValue] = {"path": str(path), "entry": entry_of[name]}
                if name in masks_of:
                    where["masks"] = {mask: entry_of[file] for mask, file in masks_of[name].items()}
                entries.append(Listed(where, shown, label=label, caption=caption))
    return Listing(entries, sha256_of_file(path), title)


def _shown(name: str) -> str:
    """An entry's name with forward slashes and without `.` parts."""
    return str(PurePosixPath(name.replace("\\", "/")))


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _shared_top(names: list[str]) -> str:
    """The one folder that everything lies in, as zips of a folder have it; it is no label."""
    tops = {name.split("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _text(archive: zipfile.ZipFile, entry: str | None, most: int = MOST_ENTRY_BYTES) -> str | None:
    if entry is None:
        return None
    try:
        with archive.open(entry) as file:
            return file.read(4 * most).decode("utf-8-sig", errors="replace")
    except DAMAGED as error:
        raise UnreadableSource(f"{entry[:80]} is damaged: {str(error)[:100]}", field="upload") from error


def read_zip(entries: Iterable[Listed]) -> Iterator[bytes | Masked | UnsafePicture]:
    """Yield the bytes of listed entries, unpacked in memory, each within the limit that its header was checked for."""
    archive: zipfile.ZipFile | None = None
    try:
        for entry in entries:
            if archive is None or archive.filename != entry.where["path"]:
                if archive is not None:
                    archive.close()
                archive = zipfile.ZipFile(str(entry.where["path"]))
            yield _with_masks(archive, entry)
    finally:
        if archive is not None:
            archive.close()


def _with_masks(archive: zipfile.ZipFile, entry: Listed) -> bytes | Masked | UnsafePicture:
    picture = _unpacked(archive, str(entry.where["entry"]))
    masks = cast(dict[str, str], entry.where.get("masks", {}))
    unpacked = {name: _unpacked(archive, file) for name, file in masks.items()}
    for part in (picture, *unpacked.values()):
        if isinstance(part, UnsafePicture):
            return part
    return masked(cast(bytes, picture), cast(dict[str, bytes], unpacked))


def _unpacked(archive: zipfile.ZipFile, entry: str) -> bytes | UnsafePicture:
    try:
        with archive.open(entry) as file:
            return file.read(MOST_ENTRY_BYTES)
    except DAMAGED as error:
        return UnsafePicture(f"damaged in the archive: {str(error)[:100]}", field="picture")
