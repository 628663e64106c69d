"""Pictures for the dry run: photographs of an installed package if there are any, and seeded noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from contracts.model import Preprocessing
from services.kit.packaged import package_folder
from services.model.preprocess import to_batch

if TYPE_CHECKING:
    from torch import Tensor


def sample_batch(how: Preprocessing) -> Tensor:
    """Up to three photographs and one picture of noise; [B, 3, crop, crop] float32, B >= 1, always the same."""
    folder = package_folder("skimage")
    names = ("astronaut.png", "coffee.png", "chelsea.png")
    paths = [folder / "data" / name for name in names] if folder else []
    pictures = [Image.open(path, formats=("PNG",)) for path in paths if path.is_file()]
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return to_batch([*pictures, Image.fromarray(noise)], how)
