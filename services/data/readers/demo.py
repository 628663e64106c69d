"""The demo's pictures: seeded crops of the photographs that scikit-image and scikit-learn ship."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from contracts.data import DemoSource
from contracts.errors import UnreadableSource
from services.data.readers.port import Listed, Listing
from services.kit.keys import sha256_of, sha256_of_file
from services.kit.packaged import package_folder

SMALLEST_SHARE = 0.35
SIDE = 320


@dataclass(frozen=True)
class Photograph:
    """One photograph: the package that ships it, its file, and what it shows."""

    package: str
    file: str
    shows: str


PHOTOGRAPHS = (
    Photograph("skimage", "data/astronaut.png", "astronaut"),
    Photograph("skimage", "data/brick.png", "brick wall"),
    Photograph("skimage", "data/camera.png", "cameraman"),
    Photograph("skimage", "data/cell.png", "cell"),
    Photograph("skimage", "data/chelsea.png", "cat"),
    Photograph("sklearn", "datasets/images/china.jpg", "palace"),
    Photograph("skimage", "data/clock_motion.png", "clock"),
    Photograph("skimage", "data/coffee.png", "coffee"),
    Photograph("skimage", "data/coins.png", "coins"),
    Photograph("skimage", "data/chessboard_RGB.png", "chessboard"),
    Photograph("sklearn", "datasets/images/flower.jpg", "flower"),
    Photograph("skimage", "data/grass.png", "grass"),
    Photograph("skimage", "data/gravel.png", "gravel"),
    Photograph("skimage", "data/horse.png", "horse"),
    Photograph("skimage", "data/hubble_deep_field.jpg", "galaxies"),
    Photograph("skimage", "data/ihc.png", "tissue"),
    Photograph("skimage", "data/moon.png", "moon"),
    Photograph("skimage", "data/motorcycle_left.png", "motorcycle"),
    Photograph("skimage", "data/page.png", "page"),
    Photograph("skimage", "data/retina.jpg", "retina"),
    Photograph("skimage", "data/rocket.jpg", "rocket"),
    Photograph("skimage", "data/text.png", "text"),
)


def path_of(photograph: Photograph) -> Path:
    """Where a photograph lies.

    Raises
    ------
    UnreadableSource : its package is not installed, or does not ship it.
    """
    folder = package_folder(photograph.package)
    path = folder / photograph.file if folder else None
    if path is None or not path.is_file():
        raise UnreadableSource(f"{photograph.package} does not ship {photograph.file}", field="source")
    return path


@lru_cache(maxsize=4)
def _open(path: Path) -> Image.Image:
    picture: Image.Image = Image.open(path)
    if picture.mode in ("1", "I;16", "F"):
        picture = picture.convert("L")
    return picture.convert("RGB")


def list_demo(source: DemoSource) -> Listing:
    """Draw the crops: equally many of each photograph, squares of 35 to 100 % of its shorter side.

    The same seed gives the same boxes on every machine; the photographs' own hashes are part of the listing's.
    """
    draw = np.random.default_rng(source.seed)
    entries, hashes = [], []
    for number, photograph in enumerate(PHOTOGRAPHS):
        path = path_of(photograph)
        hashes.append(sha256_of_file(path))
        count = source.crops // len(PHOTOGRAPHS) + (number < source.crops % len(PHOTOGRAPHS))
        width, height = _open(path).size
        for crop in range(count):
            side = round(min(width, height) * draw.uniform(SMALLEST_SHARE, 1.0))
            left, top = int(draw.integers(0, width - side + 1)), int(draw.integers(0, height - side + 1))
            stem = path.stem
            entries.append(
                Listed(
                    {"photograph": number}, f"{stem}/{crop:03d}.png", label=photograph.shows, group=stem,
                    box=(left, top, left + side, top + side),
                )
            )  # fmt: skip
    digest = sha256_of({"photographs": hashes, "entries": [entry.as_json() for entry in entries], "side": SIDE})
    return Listing(entries, digest, "photographs of scikit-image and scikit-learn")


def read_demo(entries: Iterable[Listed]) -> Iterator[bytes]:
    """Yield the crops as PNG, larger ones reduced to 320 px."""
    for entry in entries:
        photograph = PHOTOGRAPHS[int(entry.where["photograph"])]  # type: ignore[arg-type]
        crop = _open(path_of(photograph)).crop(entry.box)
        if crop.width > SIDE:
            crop = crop.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        crop.save(out, "PNG", compress_level=1)
        yield out.getvalue()
