"""What scenes are made of: names, colours, and the outlines of things as inequalities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Coordinates = NDArray[np.float64]
Inside = NDArray[np.bool_]
Outline = Callable[[Coordinates, Coordinates], Inside]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (235, 220, 50),
    "green": (45, 170, 60),
    "cyan": (60, 205, 215),
    "blue": (45, 75, 220),
    "purple": (150, 50, 190),
    "white": (240, 240, 240),
}
TEXTURES = ("plain", "striped", "dotted", "checked")
BACKGROUNDS: dict[str, tuple[int, int]] = {"dark": (22, 62), "grey": (100, 140)}
SIZES: dict[str, tuple[int, int]] = {"small": (9, 11), "large": (14, 17)}
# cos and sin of -20, -10, 0, 10 and 20 degrees, written out: a library's last bit may differ between machines
TURNS = (
    (0.9396926207859084, -0.3420201433256687),
    (0.984807753012208, -0.17364817766693033),
    (1.0, 0.0),
    (0.984807753012208, 0.17364817766693033),
    (0.9396926207859084, 0.3420201433256687),
)


def _circle(u: Coordinates, v: Coordinates) -> Inside:
    return u * u + v * v <= 0.92


def _square(u: Coordinates, v: Coordinates) -> Inside:
    return np.maximum(np.abs(u), np.abs(v)) <= 0.8


def _triangle(u: Coordinates, v: Coordinates) -> Inside:
    return (v <= 0.62) & (1.9 * np.abs(u) <= v + 0.98)


def _star(u: Coordinates, v: Coordinates) -> Inside:
    up = (v <= 0.5) & (1.7320508 * np.abs(u) <= v + 1.0)
    down = (v >= -0.5) & (1.7320508 * np.abs(u) <= 1.0 - v)
    return up | down


def _cross(u: Coordinates, v: Coordinates) -> Inside:
    x, y = np.abs(u), np.abs(v)
    return (np.minimum(x, y) <= 0.27) & (np.maximum(x, y) <= 0.95)


def _ring(u: Coordinates, v: Coordinates) -> Inside:
    square = u * u + v * v
    return (square <= 0.95) & (square >= 0.36)


def _bar(u: Coordinates, v: Coordinates) -> Inside:
    return (np.abs(u - v) <= 0.45) & (np.abs(u + v) <= 1.35)


def _moon(u: Coordinates, v: Coordinates) -> Inside:
    return (u * u + v * v <= 0.95) & ((u - 0.45) * (u - 0.45) + v * v >= 0.55)


def _chevron(u: Coordinates, v: Coordinates) -> Inside:
    return (np.abs(v + 0.5 - np.abs(u)) <= 0.35) & (np.abs(u) <= 0.95)


def _grid(u: Coordinates, v: Coordinates) -> Inside:
    x, y = np.abs(np.abs(u) - 0.42), np.abs(np.abs(v) - 0.42)
    return (np.minimum(x, y) <= 0.14) & (np.maximum(np.abs(u), np.abs(v)) <= 0.98)


SHAPES: dict[str, Outline] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}
CONTEXTS: dict[str, Outline] = {"bar": _bar, "moon": _moon, "chevron": _chevron, "grid": _grid}
OUTLINES = SHAPES | CONTEXTS
ARTEFACTS = ("tag", "watermark", "border")
MASKS = ("object", "artefact", "context")
