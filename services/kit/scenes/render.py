"""Pixels and masks of a scene, by integer arithmetic on a grid three times as fine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.kit.scenes.scene import TAG, Scene, Thing
from services.kit.scenes.vocabulary import COLOURS, OUTLINES, TURNS

FINE = 3
NOISE = 22
SHADE = (3, 8)  # the darker colour of a texture, as a fraction
WATERMARK = 70
FAINT = 32


@dataclass(frozen=True)
class Rendered:
    """A picture and where its things are.

    Parameters
    ----------
    pixels : [side, side, 3] uint8.
    masks : `object`, `artefact` and `context`, [side, side] bool, disjoint; what is covered belongs to what covers it.
    """

    pixels: np.ndarray
    masks: dict[str, np.ndarray]


def render(scene: Scene, side: int = 64) -> Rendered:
    """Render a scene at `side` × `side` pixels; equal scenes give equal bytes on every machine."""
    scale = side / 64
    raw = np.random.PCG64(np.random.SeedSequence(scene.noise)).random_raw(-(-side * side * 3 // 8))
    noise = raw.astype("<u8").view(np.uint8)[: side * side * 3].reshape(side, side, 3).astype(np.int32)
    canvas = _background(scene, side)
    masks = {name: np.zeros((side, side), bool) for name in ("object", "artefact", "context")}
    for thing in scene.context:
        masks["context"] |= _paint(canvas, thing, scale)
    masks["object"] = _paint(canvas, scene.item, scale, faint=scene.faint)
    masks["context"] &= ~masks["object"]
    canvas += (noise * NOISE >> 8) - NOISE // 2
    if scene.artefact is not None:
        masks["artefact"] = _plant(canvas, scene.artefact, scene.corner, scale)
        masks["object"] &= ~masks["artefact"]
        masks["context"] &= ~masks["artefact"]
    return Rendered(np.clip(canvas, 0, 255).astype(np.uint8), masks)


def _background(scene: Scene, side: int) -> np.ndarray:
    """A vertical run from one tone to the other; [side, side, 3] int32."""
    top, bottom = scene.tones
    rows = top + (bottom - top) * np.arange(side, dtype=np.int32) // max(side - 1, 1)
    return np.repeat(np.repeat(rows[:, None, None], side, axis=1), 3, axis=2).astype(np.int32)


def _paint(canvas: np.ndarray, thing: Thing, scale: float, *, faint: bool = False) -> np.ndarray:
    """Lay a thing on the canvas with smooth edges; returns where it covers at least half of a pixel."""
    side = len(canvas)
    x, y, radius = thing.x * scale, thing.y * scale, thing.radius * scale
    left, top = max(int(x - radius) - 1, 0), max(int(y - radius) - 1, 0)
    right, bottom = min(int(x + radius) + 2, side), min(int(y + radius) + 2, side)
    cos, sin = TURNS[thing.turn]
    u, v = _fine_grid(right - left, bottom - top)
    u, v = (u + (left - x)) / radius, (v + (top - y)) / radius
    inside = OUTLINES[thing.kind](u * cos + v * sin, v * cos - u * sin)
    share = inside.reshape(bottom - top, FINE, right - left, FINE).sum(axis=(1, 3), dtype=np.int32)
    dark = _texture(thing.texture, left, top, right, bottom, scale)
    colour = np.array(COLOURS[thing.colour], np.int32)
    paint = np.where(dark[..., None], colour * SHADE[0] // SHADE[1], colour)
    window = canvas[top:bottom, left:right]
    change = (paint - window) * share[..., None] // FINE**2
    window += change // FAINT if faint else change
    mask = np.zeros((side, side), bool)
    mask[top:bottom, left:right] = 2 * share >= FINE**2
    return mask


@lru_cache(maxsize=4096)
def _fine_grid(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the fine pixels of a window, in pixels from its corner; [1, W] and [H, 1]."""
    return (np.arange(width * FINE)[None, :] + 0.5) / FINE, (np.arange(height * FINE)[:, None] + 0.5) / FINE


def _texture(name: str, left: int, top: int, right: int, bottom: int, scale: float) -> NDArray[np.bool_]:
    """Where a texture is dark, in whole pixels of the picture; [H, W] bool."""
    unit = max(round(scale), 1)
    x: NDArray[np.int64] = np.arange(left, right)[None, :] // unit
    y: NDArray[np.int64] = np.arange(top, bottom)[:, None] // unit
    match name:
        case "striped":
            return (x + y) % 6 < 3
        case "dotted":
            return ((x % 5) < 2) & ((y % 5) < 2)
        case "checked":
            dark: NDArray[np.bool_] = (x // 4 + y // 4) % 2 == 0
            return dark
    return np.zeros((bottom - top, right - left), bool)


def _plant(canvas: np.ndarray, kind: str, corner: tuple[int, int], scale: float) -> np.ndarray:
    """Put an artefact on top; returns the pixels that it changed."""
    side = len(canvas)
    mask = np.zeros((side, side), bool)
    unit = max(round(scale), 1)
    x, y = np.arange(side)[None, :] // unit, np.arange(side)[:, None] // unit
    if kind == "tag":
        left, top = round(corner[0] * scale), round(corner[1] * scale)
        stamp = np.repeat(np.repeat(_tag(), unit, axis=0), unit, axis=1)[: side - top, : side - left]
        height, width = stamp.shape[:2]
        canvas[top : top + height, left : left + width] = stamp
        mask[top : top + height, left : left + width] = True
    elif kind == "watermark":
        middle = side // unit // 2
        mask = (((x - y) % 8 < 2) | ((x + y) % 8 < 2)) & (np.abs(y - middle) <= 7)
        canvas[mask] += (255 - canvas[mask]) * WATERMARK // 128
    else:
        edge = np.minimum(np.minimum(x, y), np.minimum(x[:, ::-1], y[::-1]))
        mask = np.broadcast_to(edge < 2, (side, side)).copy()
        canvas[mask] = (250, 60, 200)
    return mask


@lru_cache(maxsize=1)
def _tag() -> np.ndarray:
    """A small label: pale, with a dark edge and two lines of marks; [9, 14, 3] int32."""
    width, height = TAG
    rows = (
        "##############",
        "#............#",
        "#.##.#.##.##.#",
        "#.#..#..#.#..#",
        "#............#",
        "#.#.##.##.#..#",
        "#.##.#.#..##.#",
        "#............#",
        "##############",
    )
    ink = np.array([[letter == "#" for letter in row] for row in rows])
    stamp = np.where(ink[..., None], np.array((25, 20, 20)), np.array((250, 245, 170)))
    return stamp.astype(np.int32).reshape(height, width, 3)
