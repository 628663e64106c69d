"""Scenes as arrays for training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from contracts.data import ScenesSource
from services.kit.scenes import SHAPES, Scene, draw_scene, render


@dataclass(frozen=True)
class Pictures:
    """Rendered scenes.

    Parameters
    ----------
    scenes : their records, in order.
    pixels : [N, side, side, 3] uint8.
    labels : [N] int64, position of the shape in `SHAPES`.
    """

    scenes: list[Scene]
    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scenes)


def pictures_of(source: ScenesSource) -> Pictures:
    """Render a whole source."""
    return rendered([draw_scene(source, index) for index in range(source.n)], source.side)


def rendered(scenes: list[Scene], side: int = 64) -> Pictures:
    """Render scenes, such as those of a source with the artefact put in or taken out."""
    pixels = np.stack([render(scene, side).pixels for scene in scenes])
    names = list(SHAPES)
    return Pictures(scenes, pixels, np.array([names.index(scene.item.kind) for scene in scenes]))


def to_input(pixels: np.ndarray) -> Tensor:
    """Scale uint8 pixels to [-1, 1]; [B, 3, side, side] float32. What `nets.HOW` does at this size."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


@dataclass(frozen=True)
class Course:
    """The batches of a training run, and the pictures that they need.

    Parameters
    ----------
    batches : positions in `pictures`, one array a step.
    """

    pictures: Pictures
    batches: list[np.ndarray]


def course_of(source: ScenesSource, *, size: int, steps: int, seed: int) -> Course:
    """Draw the batches of a run, then render what they need: the first steps alone need few pictures."""
    batches = list(shuffled(source.n, size, steps, torch.Generator().manual_seed(seed)))
    used = np.unique(np.concatenate(batches))
    pictures = rendered([draw_scene(source, int(index)) for index in used], source.side)
    return Course(pictures, [np.searchsorted(used, batch) for batch in batches])


def shuffled(count: int, size: int, steps: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    """Yield `steps` batches of indices, each epoch in a new order; a rest smaller than a batch is left out."""
    done = 0
    while True:
        order = torch.randperm(count, generator=generator).numpy()
        for start in range(0, count - size + 1, size):
            if done == steps:
                return
            done += 1
            yield order[start : start + size]
