"""Encoders are loaded once for all tests of this folder; a packaged photograph is a real one."""

import os
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from contracts.errors import UnknownEncoder
from services.explanation.encoders.registry import EncoderCache

CACHE = EncoderCache()


def photograph(name: str) -> Image.Image:
    return Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    return [photograph("chelsea.png"), photograph("rocket.jpg"), photograph("coffee.png")]


@pytest.fixture(scope="session")
def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def offline():
    return CACHE.get("imagenet-minilm")


@pytest.fixture(scope="session")
def dino():
    try:
        return CACHE.get("dino")
    except UnknownEncoder as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(error.detail)
