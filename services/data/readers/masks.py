"""Masks beside pictures: `tabby.mask-object.png` says which pixels of `tabby.jpg` belong to `object`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import numpy as np

from contracts.errors import UnsafePicture
from services.data.readers.port import Masked
from services.kit.pictures import decode_picture

NAMED = re.compile(r"(?P<stem>.+)\.mask-(?P<mask>[a-z][a-z0-9_-]{0,39})")


def masks_among(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Which of some pictures are masks: picture -> mask's name -> the mask's file; a mask of nothing is a picture."""
    stems: dict[str, list[str]] = {}
    candidates = []
    for name in names:
        path = PurePosixPath(name)
        found = NAMED.fullmatch(path.stem)
        if found is None:
            stems.setdefault(str(path.with_suffix("")), []).append(name)
        else:
            candidates.append((str(path.with_name(found["stem"])), found["mask"], name))
    known: dict[str, dict[str, str]] = {}
    for stem, mask, name in sorted(candidates):
        for picture in stems.get(stem, []):
            known.setdefault(picture, {})[mask] = name
    return known


def masked(picture: bytes, masks: Mapping[str, bytes]) -> bytes | Masked | UnsafePicture:
    """Join a picture with its masks, True where a mask is at least half white; a broken one refuses the picture."""
    if not masks:
        return picture
    decoded: dict[str, np.ndarray] = {}
    for name, data in masks.items():
        try:
            decoded[name] = np.asarray(decode_picture(data).convert("L")) >= 128
        except UnsafePicture as refusal:
            return UnsafePicture(f"its mask {name}: {refusal.detail}", field="picture")
    return Masked(picture, decoded)
