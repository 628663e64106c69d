"""Planted concepts: curved and round regions in a wide space, with scattered noise between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WIDTH = 64
THICKNESS = 0.04


@dataclass(frozen=True)
class Planted:
    """Points of known concepts: features [n, 64] float32, labels [n] int (-1 is noise)."""

    features: np.ndarray
    labels: np.ndarray


def ring(draw: np.random.Generator, m: int, radius: float) -> np.ndarray:
    """Points on a circle around the origin: [m, 3]."""
    angle = draw.uniform(0, 2 * np.pi, m)
    return radius * np.column_stack([np.cos(angle), np.sin(angle), np.zeros(m)])


def spiral(draw: np.random.Generator, m: int, start: float) -> np.ndarray:
    """Points on one arm of a spiral of one turn, evenly along its length: [m, 3]."""
    turn = np.sqrt(draw.uniform(0.05, 1, m))
    angle = 2 * np.pi * turn + start
    return 3 * turn[:, None] * np.column_stack([np.cos(angle), np.sin(angle), np.zeros(m)])


def sheet(draw: np.random.Generator, m: int, height: float) -> np.ndarray:
    """Points on a wide, wavy sheet at some height: [m, 3]."""
    x, y = draw.uniform(-3, 3, (2, m))
    return np.column_stack([x, y, height + 0.3 * np.sin(2 * x)])


def blob(draw: np.random.Generator, m: int, centre: np.ndarray) -> np.ndarray:
    """Points of a Gaussian: [m, 3]."""
    return centre + 0.25 * draw.normal(size=(m, 3))


def shapes(kind: str, draw: np.random.Generator, m: int) -> list[np.ndarray]:
    """The concepts of one kind, each about [m, 3]."""
    if kind == "rings":
        return [ring(draw, round(m * radius / 2.2), radius) for radius in (1.0, 2.2, 3.4)]  # equally dense
    if kind == "spirals":
        return [spiral(draw, m, start) for start in (0.0, np.pi)]
    if kind == "sheets":
        return [sheet(draw, m, height) for height in (-1.2, 0.0, 1.2)]
    if kind == "blobs":
        return [blob(draw, m, centre) for centre in 3 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, 0]])]
    raise ValueError(f"no such shapes: {kind}")


def planted(kind: str, *, m: int = 1000, noise: float = 0.1, seed: int = 0) -> Planted:
    """Points of one kind of concept in 64 dimensions, a share `noise` of all points scattered in the same volume.

    The three dimensions of the shapes are turned into a random place of the wide space, every coordinate is blurred by
    a Gaussian, and the noise fills the shapes' bounding box in three dimensions with a wider blur in the others.
    """
    draw = np.random.default_rng([seed, len(kind)])
    parts = shapes(kind, draw, m)
    points = np.concatenate(parts)
    labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    scattered = round(len(points) * noise / (1 - noise))
    low, high = points.min(axis=0), points.max(axis=0)
    wide = np.zeros((len(points) + scattered, WIDTH))
    wide[: len(points), :3] = points
    wide[len(points) :, :3] = draw.uniform(low, high, (scattered, 3))
    wide[: len(points)] += THICKNESS * draw.normal(size=(len(points), WIDTH))
    wide[len(points) :] += 5 * THICKNESS * draw.normal(size=(scattered, WIDTH))
    turn, _ = np.linalg.qr(draw.normal(size=(WIDTH, WIDTH)))
    order = draw.permutation(len(wide))
    all_labels = np.concatenate([labels, np.full(scattered, -1)])
    return Planted((wide @ turn)[order].astype(np.float32), all_labels[order])
