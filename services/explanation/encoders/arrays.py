"""What every encoder does with its pictures and its rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from services.explanation.encoders.port import FloatArray


def unit_rows(values: FloatArray) -> FloatArray:
    """Divide each row of [B, d] by its length (computed in float64); rows of length 0 stay 0."""
    wide = np.asarray(values, dtype=np.float64)
    return (wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def squared(picture: Image.Image, side: int) -> Image.Image:
    """Resize the shorter edge to `side` (bicubic) and cut the centre: RGB, side x side."""
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    scale = side / min(rgb.size)
    width, height = (max(side, round(edge * scale)) for edge in rgb.size)
    small = rgb if rgb.size == (width, height) else rgb.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return small.crop((left, top, left + side, top + side))


def pixels(
    pictures: Sequence[Image.Image], side: int, *, mean: Sequence[float], deviation: Sequence[float]
) -> FloatArray:
    """Stack pictures into a standardised [B, 3, side, side] float32 array (memory order channels-last)."""
    stack = np.stack([np.asarray(squared(picture, side)) for picture in pictures])  # [B, side, side, 3]
    scaled = stack.astype(np.float32) / np.float32(255)
    standard = (scaled - np.asarray(mean, np.float32)) / np.asarray(deviation, np.float32)
    return standard.transpose(0, 3, 1, 2)
