"""Masks: which pixels of a picture belong to something; stored as PNG with one bit a pixel."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def encode_mask(mask: np.ndarray) -> bytes:
    """Encode a [height, width] bool array."""
    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).convert("1", dither=Image.Dither.NONE).save(out, "PNG")
    return out.getvalue()


def decode_mask(data: bytes) -> np.ndarray:
    """Read back what `encode_mask` wrote; [height, width] bool."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        return np.asarray(picture.convert("1"), dtype=bool)
