"""Offline work of the data service: reading a range of a source, and joining the ranges into a dataset."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from typing import BinaryIO, cast

from PIL import Image
from pydantic import JsonValue

from contracts.data import Dataset, DatasetRef, RejectedFile, Sample
from contracts.errors import NoGoodFile, UnsafePicture
from services.data.corpora import read_corpus
from services.data.readers.port import Listed, Masked, listed
from services.data.readers.registry import READERS
from services.data.repository import publish_dataset
from services.data.service import Data, digest_of
from services.kit.keys import sha256_of
from services.kit.masks import encode_mask
from services.kit.pictures import Entry, Place, decode_picture, encode_picture, encode_thumbnail, write_manifest
from services.kit.stages import StageFunction, Work


def stages(data: Data) -> tuple[StageFunction, ...]:
    """The stages of this service. All that decides their bytes is in the parts, not in the worker's settings."""
    return (
        StageFunction("ingest", 3, ingest),
        StageFunction("manifest", 3, manifest),
        StageFunction("corpus", 1, read_corpus),
    )


def ingest(work: Work) -> None:
    """Read, check and re-encode the entries of one part; what cannot be read is recorded and skipped."""
    pixel_limit = int(cast(int, work.spec["pixel_limit"]))
    entries = [listed(cast(dict[str, JsonValue], record)) for record in cast(list[JsonValue], work.spec["entries"])]
    good: list[dict[str, JsonValue]] = []
    rejected: list[dict[str, JsonValue]] = []
    with (
        work.writing("pictures") as pictures,
        work.writing("thumbnails") as thumbnails,
        pictures.open("wb") as picture_pack,
        thumbnails.open("wb") as thumbnail_pack,
    ):
        for entry, data in zip(entries, READERS[str(work.spec["kind"])](entries), strict=True):
            try:
                if isinstance(data, UnsafePicture):
                    raise data
                masked = data if isinstance(data, Masked) else Masked(data, {})
                picture = decode_picture(masked.picture, pixel_limit=pixel_limit)
                _require_fitting(picture, masked)
            except UnsafePicture as refusal:
                found = RejectedFile(name=entry.name, reason=type(refusal).__name__, detail=refusal.detail)
                rejected.append(found.model_dump())
            else:
                record = _store(entry, picture, picture_pack, thumbnail_pack)
                good.append({**record, "masks": _store_masks(masked, picture_pack)})
            work.advance(1)
    work.emit_record("fragment", {"good": good, "rejected": rejected})


def _require_fitting(picture: Image.Image, masked: Masked) -> None:
    for name, mask in masked.masks.items():
        if mask.shape != (picture.height, picture.width):
            size = f"{mask.shape[1]} × {mask.shape[0]} pixels, the picture {picture.width} × {picture.height}"
            raise UnsafePicture(f"its mask {name} has {size}", field="picture")


def _store(entry: Listed, picture: Image.Image, pictures: BinaryIO, thumbnails: BinaryIO) -> dict[str, JsonValue]:
    encoded, small = encode_picture(picture), encode_thumbnail(picture)
    record: dict[str, JsonValue] = {
        "name": entry.name,
        "label": entry.label,
        "caption": entry.caption,
        "group": entry.group,
        "box": list(entry.box) if entry.box else None,
        "factors": cast(dict[str, JsonValue], entry.factors),
        # of the pixels: the same picture in another file format is the same picture
        "sha256": hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest(),
        "width": picture.width,
        "height": picture.height,
        "picture": [pictures.tell(), len(encoded)],
        "thumbnail": [thumbnails.tell(), len(small)],
    }
    pictures.write(encoded)
    thumbnails.write(small)
    return record


def _store_masks(masked: Masked, pack: BinaryIO) -> JsonValue:
    """Write masks behind their picture; name, offset, length and hash of each."""
    stored: list[JsonValue] = []
    for name, mask in masked.masks.items():
        encoded = encode_mask(mask)
        stored.append([name, pack.tell(), len(encoded), hashlib.sha256(encoded).hexdigest()])
        pack.write(encoded)
    return stored


def manifest(work: Work) -> None:
    """Number all samples, find duplicates, and publish the dataset.

    Raises
    ------
    NoGoodFile : nothing could be read.
    """
    entries, rejected, drawn = _joined(work)
    if not entries:
        named = [f"{file['name']}: {file['detail']}" for file in rejected[:5]]
        raise NoGoodFile(f"none of {len(rejected)} files could be read", field="source", rejected=list(named))
    with work.writing("manifest") as path:
        write_manifest(path, entries)
    work.emit_record("rejected", {"rejected": rejected})
    dataset = _dataset(work, [entry.sample for entry in entries], drawn, rejected=len(rejected))
    keys = {"manifest": work.keys["manifest"], "rejected": work.keys["rejected"]}
    work.emit_record("dataset", {"id": dataset.ref.id})
    work.when_published(lambda db: publish_dataset(db, work.workspace, dataset, **keys))
    work.result = dataset.ref.id
    work.advance(1)


def _joined(work: Work) -> tuple[list[Entry], list[dict[str, JsonValue]], list[str]]:
    """Entries of all parts, what was rejected, and the hashes of the masks."""
    entries: list[Entry] = []
    drawn: list[str] = []
    rejected: list[dict[str, JsonValue]] = []
    first: dict[str, int] = {}
    for number in range(int(cast(int, work.spec["parts"]))):
        role = f"{number:05d}"
        fragment = json.loads(work.path(f"fragment/{role}").read_bytes())
        packs = work.inputs[f"pictures/{role}"], work.inputs[f"thumbnails/{role}"]
        rejected += fragment["rejected"]
        for record in fragment["good"]:
            place, small = record.pop("picture"), record.pop("thumbnail")
            box, masks = record.pop("box"), record.pop("masks")
            corners = dict(zip(("left", "top", "right", "bottom"), box, strict=True)) if box else None
            index = len(entries)
            earlier = first.setdefault(record["sha256"], index)
            sample = Sample(
                index=index, box=corners, duplicate_of=earlier if earlier != index else None,
                masks=[mask[0] for mask in masks], **record,
            )  # fmt: skip
            drawn += [mask[3] for mask in masks]
            of_masks = tuple(Place(packs[0], *mask[1:3]) for mask in masks)
            entries.append(Entry(sample, Place(packs[0], *place), Place(packs[1], *small), of_masks))
    return entries, rejected, drawn


def _dataset(work: Work, samples: list[Sample], drawn: list[str], *, rejected: int) -> Dataset:
    hashes = [sample.sha256 for sample in samples]
    order = sha256_of([*(sample.model_dump(mode="json") for sample in samples), *drawn])
    ref = DatasetRef(
        id=f"d_{order[:16]}",
        name=str(work.spec["name"]),
        content_sha256=digest_of(sorted(hashes)),
        order_sha256=order,
        n=len(samples),
    )
    return Dataset(
        ref=ref,
        source=str(work.spec["title"]),
        labels=sorted(Counter(sample.label for sample in samples if sample.label is not None)),
        n_captions=sum(sample.caption is not None for sample in samples),
        n_groups=len({sample.group for sample in samples if sample.group is not None}),
        n_duplicates=sum(sample.duplicate_of is not None for sample in samples),
        n_rejected=rejected,
        lineage=work.keys["manifest"],
        created_at=datetime.now(UTC),
    )
