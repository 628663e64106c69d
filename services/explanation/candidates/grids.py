"""Pictures side by side, as a vision-language model is shown them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image

SIDE = 3
SHOWN = SIDE * SIDE
GROUND = (128, 128, 128)


def grid_of(pictures: Sequence[Image.Image], canvas: int) -> Image.Image:
    """Lay up to nine pictures on a square, row by row, each whole and centred in its cell.

    Parameters
    ----------
    pictures : RGB, best first; cells without one stay grey.
    canvas : side of the square in pixels; cells are canvas // 3 wide.

    Returns
    -------
    RGB picture of canvas × canvas pixels; equal pictures give equal pixels under one version of Pillow.

    Source: 3 × 3 cells with LANCZOS as in the reference code of Contrastive Semantic Projection (arXiv 2604.22477),
    which stretches pictures to 42 px cells; here proportions stay, and the size is a parameter.
    """
    cell = canvas // SIDE
    laid = Image.new("RGB", (canvas, canvas), GROUND)
    for place, picture in enumerate(pictures[:SHOWN]):
        scale = cell / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        small = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        row, column = divmod(place, SIDE)
        laid.paste(small, (column * cell + (cell - width) // 2, row * cell + (cell - height) // 2))
    return laid


def hash_of(grid: Image.Image) -> str:
    """sha256 of a grid's size and pixels, whatever file format it travels in."""
    return hashlib.sha256(f"{grid.width}x{grid.height}:".encode() + grid.tobytes()).hexdigest()
