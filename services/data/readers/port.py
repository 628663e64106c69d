"""What every reader yields: entries that can be listed cheaply and read later, elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from contracts.data import Factor
from contracts.errors import UnreadableSource, UnsafePicture

LONGEST_CAPTION = 2000


@dataclass(frozen=True)
class Listed:
    """One file of a source, before it is read.

    Parameters
    ----------
    where : what its reader needs to find it again; JSON.
    name : for display: relative, never used as a path of ours.
    """

    where: dict[str, JsonValue]
    name: str
    label: str | None = None
    caption: str | None = None
    group: str | None = None
    box: tuple[int, int, int, int] | None = None
    factors: dict[str, Factor] = field(default_factory=dict)

    def as_json(self) -> dict[str, JsonValue]:
        """Dump for a part's spec."""
        return {**asdict(self), "box": list(self.box) if self.box else None}


@dataclass(frozen=True)
class Listing:
    """A source's entries in their fixed order, and a hash of everything that is in them."""

    entries: list[Listed]
    sha256: str
    title: str


@dataclass(frozen=True)
class Masked:
    """The bytes of a picture, and masks of its size by name, [height, width] bool."""

    picture: bytes
    masks: dict[str, np.ndarray]


Read = Callable[[Iterable[Listed]], Iterator[bytes | Masked | UnsafePicture]]  # a refusal: the entry is unreadable


def words(value: object) -> str | None:
    """A label or caption as it can be stored: cut, without NUL, lone surrogates and outer blanks; None if empty."""
    if not isinstance(value, str | int | float):
        return None
    plain = str(value)[:LONGEST_CAPTION].replace("\0", "").encode("utf-8", "replace").decode()
    return plain.strip() or None


def stamp(path: Path) -> str:
    """Size and time of a file: tells whether it changed between listing and reading, without hashing it again."""
    found = path.stat()
    return f"{found.st_size}.{found.st_mtime_ns}"


def require_unchanged(entry: Listed) -> Path:
    """Return the file of an entry. One that changed since it was listed is refused: its key would lie."""
    path = Path(str(entry.where["path"]))
    if not path.is_file() or stamp(path) != entry.where["stamp"]:
        raise UnreadableSource(f"{path.name} changed while it was registered", field="path")
    return path


def listed(record: dict[str, JsonValue]) -> Listed:
    """Read an entry back from a part's spec."""
    box = record.get("box")
    return Listed(**{**record, "box": tuple(box) if isinstance(box, list) else None})  # type: ignore[arg-type]
