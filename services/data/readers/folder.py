"""A folder of pictures, read recursively. Class sub-folders are labels; captions and masks lie beside the pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from contracts.errors import UnreadableSource, UnsafePicture
from services.data.readers.masks import masked, masks_among
from services.data.readers.port import LONGEST_CAPTION, Listed, Listing, Masked, words
from services.kit.keys import sha256_of_file

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
CAPTIONS = "captions.csv"


def list_folder(root: Path) -> Listing:
    """List the pictures below a folder, by name, wherever their bytes are.

    Files with a picture's suffix that turn out to be something else are recorded as rejected later; links that lead
    out of the folder and hidden files are left out.

    Raises
    ------
    UnreadableSource : no such folder, or a captions table that cannot be read.
    """
    if not root.is_dir():
        raise UnreadableSource(f"there is no folder {root.name}", field="path")
    root = root.resolve()
    try:
        return _listed(root)
    except (PermissionError, UnicodeEncodeError) as error:
        raise UnreadableSource(f"a file cannot be read: {str(error)[:200]}", field="path") from error


def _listed(root: Path) -> Listing:
    captions = _captions(root)
    entries, digest = [], hashlib.sha256()
    files = {path.relative_to(root).as_posix(): path for path in _pictures(root)}
    masks_of = masks_among(files)
    masks = {file for found in masks_of.values() for file in found.values()}
    for name in sorted(files.keys() - masks):
        path = files[name]
        label = name.split("/")[0] if "/" in name else None
        caption = captions.get(name) or captions.get(path.name) or _sidecar(path, root)
        sha = sha256_of_file(path)
        digest.update(f"{name}\0{sha}\0{label}\0{caption}\n".encode())
        where: dict[str, JsonValue] = {"path": str(path), "sha256": sha}
        if name in masks_of:
            found = {mask: (str(files[file]), sha256_of_file(files[file])) for mask, file in masks_of[name].items()}
            digest.update(f"{sorted((mask, of_mask) for mask, (_, of_mask) in found.items())}\n".encode())
            where["masks"] = {mask: {"path": place, "sha256": of_mask} for mask, (place, of_mask) in found.items()}
        entries.append(Listed(where, name, label=label, caption=caption))
    return Listing(entries, digest.hexdigest(), f"folder {root.name}")


def _pictures(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root, followlinks=False, onerror=_refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if _inside(path, root):
                yield path


def _refuse(error: OSError) -> None:
    raise error


def _inside(path: Path, root: Path) -> bool:
    """Whether a path is a plain file of this folder, all links followed."""
    try:
        return path.is_file() and path.resolve().is_relative_to(root)
    except RuntimeError:  # links in a circle
        return False


def _captions(root: Path) -> dict[str, str]:
    table = root / CAPTIONS
    if not _inside(table, root):
        return {}
    try:
        return captions_of(table.read_bytes().decode("utf-8-sig"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableSource(f"{CAPTIONS} is no UTF-8 table: {error}", field="path") from error


def captions_of(table: str) -> dict[str, str]:
    """Read a table with the columns file and caption.

    Raises
    ------
    UnreadableSource : it has other columns; csv.Error : it is no table.
    """
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    if rows and not {"file", "caption"} <= rows[0].keys():
        raise UnreadableSource(f"{CAPTIONS} needs the columns file and caption", field="source")
    captions = ((row["file"], words(row["caption"])) for row in rows)
    return {file: caption for file, caption in captions if file and caption}


def _sidecar(path: Path, root: Path) -> str | None:
    text = path.with_suffix(".txt")
    if not _inside(text, root):
        return None
    with text.open(encoding="utf-8", errors="replace") as file:
        return words(file.read(LONGEST_CAPTION))


def read_files(entries: Iterable[Listed]) -> Iterator[bytes | Masked | UnsafePicture]:
    """Yield the bytes of listed files. A file that changed since it was listed is refused: its key would lie."""
    for entry in entries:
        picture = _unchanged(entry.where, entry.name)
        masks = cast(dict[str, dict[str, JsonValue]], entry.where.get("masks", {}))
        yield masked(picture, {name: _unchanged(where, entry.name) for name, where in masks.items()})


def _unchanged(where: dict[str, JsonValue], name: str) -> bytes:
    path = Path(str(where["path"]))
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != where["sha256"]:
        raise UnreadableSource(f"{name} changed while it was registered", field="path")
    return data
