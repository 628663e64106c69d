"""From upright RGB pictures to a model's input.

Geometry: the shorter side becomes `resize`, the longer one `int(resize * longer / shorter)`; the crop begins at
`round((side - crop) / 2)`. A place p of the crop lies at `(p + begin) * original / resized` in the picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from contracts.language import ReadsText
from contracts.model import ModelRef, Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

MODES = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


def reads_pictures(ref: ModelRef) -> Preprocessing:
    """How a model's input is made of a picture. Raises `ReadsText` for language models."""
    if ref.preprocessing is None:
        raise ReadsText(f"{ref.name} reads text, no pictures", field="model")
    return ref.preprocessing


def cropped(picture: Image.Image, how: Preprocessing) -> np.ndarray:
    """Resize and cut; [crop, crop, 3] uint8."""
    width, height = picture.size
    shorter = min(width, height)
    size = (int(how.resize * width / shorter), int(how.resize * height / shorter))
    picture = picture.convert("RGB").resize(size, MODES[how.interpolation])
    left, top = round((size[0] - how.crop) / 2), round((size[1] - how.crop) / 2)
    return np.asarray(picture.crop((left, top, left + how.crop, top + how.crop)))


def to_batch(pictures: Iterable[Image.Image], how: Preprocessing) -> Tensor:
    """Preprocess pictures; [B, 3, crop, crop] float32 in channels-last memory."""
    import torch

    pixels = torch.from_numpy(np.stack([cropped(picture, how) for picture in pictures]))
    batch = pixels.float().div_(255).sub_(torch.tensor(how.mean)).div_(torch.tensor(how.std))
    return batch.permute(0, 3, 1, 2)


def batches(pictures: Iterator[Image.Image], how: Preprocessing, size: int, *, ahead: int = 2) -> Iterator[Tensor]:
    """Preprocess batches of `size` in a second thread, at most `ahead` of them before they are needed."""

    def following() -> Tensor | None:
        some = list(islice(pictures, size))
        return to_batch(some, how) if some else None

    with ThreadPoolExecutor(1, thread_name_prefix="preprocess") as pool:  # one thread: an iterator has one reader
        waiting: deque[Future[Tensor | None]] = deque(pool.submit(following) for _ in range(ahead))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(following))
            yield batch
