"""Heat maps as pictures: red speaks for the score, blue against it, over the picture in grey."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

FOR, AGAINST = np.array([214.0, 30.0, 38.0]), np.array([33.0, 92.0, 196.0])
QUANTILE = 0.995
GREY = 0.55


def on_pixels(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps to pixels: channels summed, coarser maps interpolated bilinearly. -> [B, H, W]."""
    summed = maps.sum(1) if maps.ndim == 4 else maps
    if tuple(summed.shape[1:]) == size:
        return summed
    return interpolate(summed.unsqueeze(1), size=size, mode="bilinear", align_corners=False).squeeze(1)


def heat_picture(relevance: np.ndarray, pixels: np.ndarray) -> Image.Image:
    """Lay a map over a picture.

    Parameters
    ----------
    relevance : [H, W], signed; the 99.5 % quantile of |a| has full colour, so that one spike does not hide the rest.
    pixels : [H, W, 3] uint8.
    """
    size = np.abs(relevance)
    scale = float(np.quantile(size, QUANTILE)) or float(size.max()) or 1.0
    strength = np.clip(size / scale, 0, 1)[..., None]
    grey = 255 * (1 - GREY) + GREY * pixels.mean(axis=-1, keepdims=True)
    colour = np.where(relevance[..., None] > 0, FOR, AGAINST)
    return Image.fromarray((grey * (1 - strength) + colour * strength).round().astype(np.uint8))


def png(picture: Image.Image) -> bytes:
    """PNG bytes; equal pictures give equal bytes."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=6)
    return out.getvalue()
