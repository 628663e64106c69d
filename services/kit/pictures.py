"""Pictures: decoded safely, stored without metadata, packed so that a million of them are not a million files."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from contracts.data import Box, Factor, Sample
from contracts.errors import UnknownMask, UnknownSample, UnsafePicture
from services.kit.blobs import Blobs
from services.kit.masks import decode_mask

FORMATS = ("PNG", "JPEG", "WEBP")
PIXEL_LIMIT = 50_000_000
THUMBNAIL_SIDE = 160
MEDIA_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
LONGEST_JPEG = 65_500
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    OverflowError,
)

SCHEMA = pa.schema(
    [
        ("index", pa.int32()),
        ("sha256", pa.string()),
        ("name", pa.string()),
        ("label", pa.string()),
        ("caption", pa.string()),
        ("group", pa.string()),
        ("box", pa.list_(pa.int32(), 4)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("duplicate_of", pa.int32()),
        ("pictures", pa.string()),
        ("picture_offset", pa.int64()),
        ("picture_length", pa.int64()),
        ("thumbnails", pa.string()),
        ("thumbnail_offset", pa.int64()),
        ("thumbnail_length", pa.int64()),
        ("masks", pa.list_(pa.string())),
        ("mask_offsets", pa.list_(pa.int64())),
        ("mask_lengths", pa.list_(pa.int64())),
        ("factors", pa.string()),
    ]
)


def decode_picture(data: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:
    """Decode a picture from untrusted bytes.

    Only PNG, JPEG and WebP are looked for, whatever a name says. The pixel limit is applied to the header before
    anything is decoded. The picture is turned upright by its EXIF flag; the first frame of an animation is taken;
    transparency is laid on white; no metadata survives.

    Returns
    -------
    RGB picture.

    Raises
    ------
    UnsafePicture : empty, of another format, too large, truncated or damaged.
    """
    if not data:
        raise UnsafePicture("the file is empty", field="picture")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > pixel_limit:
                raise UnsafePicture(
                    f"{width} × {height} pixels; at most {pixel_limit:,} are decoded",
                    field="picture",
                    limit=pixel_limit,
                )
            kind = str(opened.format)
            opened.seek(0)
            opened.load()
            return _plain(_upright(opened), lossless=kind == "PNG" or (kind == "WEBP" and _lossless_webp(data)))
    except Image.DecompressionBombError as error:
        raise UnsafePicture(
            f"far too many pixels; at most {pixel_limit:,} are decoded", field="picture", limit=pixel_limit
        ) from error
    except UnidentifiedImageError as error:
        raise UnsafePicture("not a PNG, JPEG or WebP picture", field="picture") from error
    except DECODING_ERRORS as error:
        raise UnsafePicture(f"damaged or truncated: {str(error)[:120]}", field="picture") from error


def _lossless_webp(data: bytes) -> bool:
    """Whether the first frame of a WebP is VP8L; Pillow does not tell."""
    place = 12
    while place + 8 <= len(data):
        chunk, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if chunk in (b"VP8L", b"VP8 "):
            return chunk == b"VP8L"
        place += 8 + (16 if chunk == b"ANMF" else size + size % 2)  # an animation's frame holds chunks of its own
    return False


def _upright(picture: Image.Image) -> Image.Image:
    """Turn by the EXIF flag alone; Pillow's own function rewrites the other tags, and damaged ones break it."""
    try:
        turn = TURNS.get(picture.getexif().get(ORIENTATION, 1))
    except (*DECODING_ERRORS, TypeError):
        turn = None  # EXIF that nobody can read turns nothing
    return picture if turn is None else picture.transpose(turn)


def _plain(picture: Image.Image, *, lossless: bool) -> Image.Image:
    """Bring a decoded picture to RGB and drop everything else; remember whether it came without loss."""
    if picture.mode in ("I;16", "I;16B", "I", "F"):
        deep = np.asarray(picture, dtype=np.float64)
        span = float(np.ptp(deep)) or 1.0
        picture = Image.fromarray(((deep - deep.min()) * (255 / span)).round().astype(np.uint8))
    if picture.has_transparency_data:
        with_alpha = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", with_alpha.size, "white"), with_alpha)
    clean = picture.convert("RGB")
    fresh = Image.frombytes("RGB", clean.size, clean.tobytes())
    fresh.info = {"lossless": lossless}
    return fresh


def encode_picture(picture: Image.Image) -> bytes:
    """Encode for storage: PNG where the source lost nothing or JPEG ends, else JPEG at quality 95, 4:4:4."""
    out = io.BytesIO()
    if picture.info.get("lossless", True) or max(picture.size) > LONGEST_JPEG:
        Image.frombytes("RGB", picture.size, picture.tobytes()).save(out, "PNG", compress_level=3)
    else:
        picture.save(out, "JPEG", quality=95, subsampling=0, exif=b"", icc_profile=None)
    return out.getvalue()


def encode_thumbnail(picture: Image.Image, side: int = THUMBNAIL_SIDE) -> bytes:
    """Encode a WebP whose longer side is at most `side` px."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=82, method=4)
    return out.getvalue()


def media_type_of(data: bytes) -> str:
    """Media type of stored picture bytes, by their first bytes."""
    return next((kind for magic, kind in MEDIA_TYPES.items() if data.startswith(magic)), "application/octet-stream")


@dataclass(frozen=True)
class Place:
    """Where bytes lie: in which pack, from where, how many."""

    pack: str
    offset: int
    length: int


@dataclass(frozen=True)
class Entry:
    """A sample as the manifest has it. Its masks lie in the pack of its picture, in the order of `sample.masks`."""

    sample: Sample
    picture: Place
    thumbnail: Place
    masks: tuple[Place, ...] = ()


def write_manifest(path: Path, entries: Sequence[Entry]) -> None:
    """Write the manifest as Parquet; equal entries give equal bytes."""
    rows = [_row(entry) for entry in entries]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, path, compression="zstd", version="2.6", store_schema=False, write_statistics=False)


def _row(entry: Entry) -> dict[str, object]:
    sample, box = entry.sample, entry.sample.box
    return {
        **sample.model_dump(exclude={"box", "factors"}),
        "box": [box.left, box.top, box.right, box.bottom] if box else None,
        "pictures": entry.picture.pack,
        "picture_offset": entry.picture.offset,
        "picture_length": entry.picture.length,
        "thumbnails": entry.thumbnail.pack,
        "thumbnail_offset": entry.thumbnail.offset,
        "thumbnail_length": entry.thumbnail.length,
        "mask_offsets": [place.offset for place in entry.masks],
        "mask_lengths": [place.length for place in entry.masks],
        "factors": json.dumps(sample.factors, sort_keys=True) if sample.factors else None,
    }


class Manifest:
    """The samples of a dataset, in order, with their pictures and thumbnails."""

    def __init__(self, table: pa.Table, blobs: Blobs) -> None:
        self.n = table.num_rows
        there = set(table.column_names)  # a manifest may be older than the last columns
        self._columns: dict[str, list[Any]] = {
            name: table.column(name).to_pylist() if name in there else [None] * self.n for name in SCHEMA.names
        }
        self._blobs = blobs

    @classmethod
    def load(cls, path: Path, blobs: Blobs) -> Manifest:
        """Read a manifest; packs are opened when a picture is asked for. The latest few are kept."""
        return _loaded(path, blobs)

    def _require(self, index: int) -> int:
        if not 0 <= index < self.n:
            raise UnknownSample(f"there is no sample {index}", field="sample", n=self.n)
        return index

    def sample(self, index: int) -> Sample:
        """Describe one sample. Raises `UnknownSample`."""
        self._require(index)
        fields = {name: self._columns[name][index] for name in Sample.model_fields}
        if fields["box"]:
            fields["box"] = Box(**dict(zip(("left", "top", "right", "bottom"), fields["box"], strict=True)))
        fields["masks"] = fields["masks"] or []
        fields["factors"] = json.loads(fields["factors"]) if fields["factors"] else {}
        return Sample(**fields)

    def labels(self) -> list[str | None]:
        """The label of every sample."""
        return list(self._columns["label"])

    def factors(self) -> list[dict[str, Factor]]:
        """The recorded factors of every sample."""
        return [json.loads(factors) if factors else {} for factors in self._columns["factors"]]

    def captions(self) -> list[str | None]:
        """The caption of every sample."""
        return list(self._columns["caption"])

    def groups(self) -> list[str | None]:
        """The group of every sample."""
        return list(self._columns["group"])

    def hashes(self) -> list[str]:
        """The content hash of every sample."""
        return list(self._columns["sha256"])

    def packs(self) -> set[str]:
        """The blobs that hold pictures and thumbnails."""
        return {*self._columns["pictures"], *self._columns["thumbnails"]}

    def picture_bytes(self, index: int) -> bytes:
        """A sample's picture as stored. Raises `UnknownSample`, `CorruptArtifact`."""
        return self._bytes(index, "pictures", "picture")

    def thumbnail_bytes(self, index: int) -> bytes:
        """A sample's thumbnail, WebP. Raises `UnknownSample`, `CorruptArtifact`."""
        return self._bytes(index, "thumbnails", "thumbnail")

    def mask_bytes(self, index: int, mask: str) -> bytes:
        """One of a sample's masks as stored, PNG. Raises `UnknownSample`, `UnknownMask`, `CorruptArtifact`."""
        names = self._columns["masks"][self._require(index)] or []
        if mask not in names:
            raise UnknownMask(f"sample {index} has no mask {mask}", field="mask", masks=names)
        place = names.index(mask)
        offset, length = (self._columns[f"mask_{what}s"][index][place] for what in ("offset", "length"))
        return self._read(self._columns["pictures"][index], offset, length)

    def mask(self, index: int, mask: str) -> np.ndarray:
        """One of a sample's masks; [height, width] bool, True inside."""
        return decode_mask(self.mask_bytes(index, mask))

    def _bytes(self, index: int, pack: str, kind: str) -> bytes:
        self._require(index)
        offset, length = self._columns[f"{kind}_offset"][index], self._columns[f"{kind}_length"][index]
        return self._read(self._columns[pack][index], offset, length)

    def _read(self, pack: str, offset: int, length: int) -> bytes:
        with self._blobs.open(pack).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def picture(self, index: int) -> Image.Image:
        """A sample's picture, decoded."""
        sample = self.sample(index)  # the limit was applied on the way in, and may have been another one
        return decode_picture(self.picture_bytes(index), pixel_limit=sample.width * sample.height)

    def pictures(self, start: int, stop: int) -> Iterator[Image.Image]:
        """Yield the pictures of samples `start` to `stop` (exclusive), decoded, in order."""
        for index in range(start, stop):
            yield self.picture(index)


@lru_cache(maxsize=8)
def _loaded(path: Path, blobs: Blobs) -> Manifest:
    return Manifest(pq.read_table(path), blobs)
