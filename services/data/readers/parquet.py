"""A Parquet file with a column of pictures, as bytes or as a struct with the field `bytes`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.data import ParquetSource
from contracts.errors import UnreadableSource, UnsafePicture
from services.data.readers.port import Listed, Listing, require_unchanged, stamp, words
from services.kit.keys import sha256_of_file


def list_parquet(source: ParquetSource) -> Listing:
    """List the rows of a Parquet file, without reading the pictures.

    Raises
    ------
    UnreadableSource : no such file, no Parquet, or no such column; names the columns that are there.
    """
    path = Path(source.path)
    if not path.is_file():
        raise UnreadableSource(f"there is no file {path.name}", field="path")
    try:
        mark, file = stamp(path), pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableSource(f"{path.name} is no Parquet file: {str(error)[:100]}", field="path") from error
    with file:
        wanted = _columns(file.schema_arrow, source)
        try:
            rows = file.read(columns=wanted).to_pylist() if wanted else [{}] * file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise UnreadableSource(f"{path.name} is damaged: {str(error)[:100]}", field="path") from error
    entries = [
        Listed(
            {"path": str(path), "stamp": mark, "row": number, "column": source.image},
            f"row {number}",
            label=words(row.get(source.label or "")),
            caption=words(row.get(source.caption or "")),
        )
        for number, row in enumerate(rows)
    ]
    return Listing(entries, sha256_of_file(path), f"Parquet {path.name}")


def _columns(schema: pa.Schema, source: ParquetSource) -> list[str]:
    """Check the named columns; return those of words. Only the default names may be missing."""
    default = ParquetSource(path=source.path)
    named = {"image": source.image, "label": source.label, "caption": source.caption}
    for field, name in named.items():
        optional = field != "image" and name in (None, getattr(default, field))
        if name not in schema.names and not optional:
            raise UnreadableSource(f"there is no column {name}", field=field, columns=list(schema.names))
    kind = schema.field(schema.get_all_field_indices(source.image)[0]).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise UnreadableSource(f"the column {source.image} holds {kind}, not the bytes of pictures", field="image")
    return [name for name in (source.label, source.caption) if name is not None and name in schema.names]


def read_parquet(entries: Iterable[Listed]) -> Iterator[bytes | UnsafePicture]:
    """Yield the pictures of listed rows, reading each row group once as long as rows come in order."""
    file: pq.ParquetFile | None = None
    held: tuple[int, list[object] | UnsafePicture] = (-1, [])
    for entry in entries:
        if file is None:
            file = pq.ParquetFile(require_unchanged(entry))
        group, place = _place(file, int(entry.where["row"]))  # type: ignore[arg-type]
        if held[0] != group:
            held = (group, _pictures(file, group, str(entry.where["column"])))
        value = held[1] if isinstance(held[1], UnsafePicture) else held[1][place]
        value = value.get("bytes") if isinstance(value, dict) else value
        yield value if isinstance(value, bytes | UnsafePicture) else b""
    if file is not None:
        file.close()


def _pictures(file: pq.ParquetFile, group: int, column: str) -> list[object] | UnsafePicture:
    try:
        return list(file.read_row_group(group, columns=[column]).column(0).to_pylist())
    except (pa.ArrowException, OSError) as error:
        return UnsafePicture(f"its row group is damaged: {str(error)[:100]}", field="picture")


def _place(file: pq.ParquetFile, row: int) -> tuple[int, int]:
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if row < size:
            return group, row
        row -= size
    raise UnreadableSource(f"the file has no row {row} more", field="path")
