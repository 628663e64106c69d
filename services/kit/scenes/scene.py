"""A scene as a record of its factors, drawn from (seed, split, index) alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from contracts.data import Factor, ScenesSource
from services.kit.scenes.vocabulary import BACKGROUNDS, COLOURS, CONTEXTS, SHAPES, SIZES, TEXTURES, TURNS

GENERATOR = 2  # raise it when the same source gives other pictures, captions or factors
SPLITS = ("train", "validation", "test")
BASE_RATE = 1 / len(SHAPES)
TRIES = 8
CONTEXT_RADII = (5, 6)
TAG = (14, 9)
_DRAWS = 14 + len(CONTEXTS) * (4 + 2 * TRIES)


@dataclass(frozen=True)
class Thing:
    """One drawn thing; lengths in pixels of a 64-px picture, `turn` an index into `TURNS`."""

    kind: str
    colour: str
    texture: str
    x: float
    y: float
    radius: float
    turn: int


@dataclass(frozen=True)
class Scene:
    """Everything that a picture is rendered from.

    Parameters
    ----------
    item : the object; its kind is the class.
    context : smaller things beneath it.
    artefact : what is planted, or None.
    faint : the object is drawn at 1/32 of its contrast: its shape can hardly be told, its mask is still there.
    corner : left and top of the tag, whether or not there is one, so that it can be added to any scene.
    noise : key of the pixel noise; not changed by adding or removing things.
    """

    index: int
    item: Thing
    context: tuple[Thing, ...]
    background: str
    tones: tuple[int, int]
    artefact: str | None
    corner: tuple[int, int]
    noise: tuple[int, ...]
    faint: bool = False

    @property
    def size(self) -> str:
        """`small` or `large`."""
        return "large" if self.item.radius >= SIZES["large"][0] else "small"

    @property
    def place(self) -> str:
        """Where the object is: the side of the centre that it is farthest towards, or the centre."""
        dx, dy = self.item.x - 32, self.item.y - 32
        if max(abs(dx), abs(dy)) < 5:
            return "centre"
        if abs(dx) >= abs(dy):
            return "right" if dx > 0 else "left"
        return "bottom" if dy > 0 else "top"

    def with_artefact(self, kind: str | None) -> Scene:
        """The same scene with another artefact, or with none: every other pixel stays as it is."""
        return replace(self, artefact=kind)

    def factors(self) -> dict[str, Factor]:
        """All that varies, by name. Context things are one truth value each."""
        present = {thing.kind for thing in self.context}
        return {
            "shape": self.item.kind,
            "colour": self.item.colour,
            "texture": self.item.texture,
            "size": self.size,
            "place": self.place,
            "background": self.background,
            "artefact": self.artefact or "none",
            "faint": self.faint,
            **{kind: kind in present for kind in CONTEXTS},
            "x": self.item.x,
            "y": self.item.y,
            "radius": self.item.radius,
            "turn": self.item.turn,
        }


def rate(strength: float, *, confounded: bool) -> float:
    """Share of pictures with a cue.

    With a base rate of 1 / classes, the cue is equally common at every strength, and `strength` is the correlation
    (phi) between the cue and its class: 0 independent, 1 the same thing.
    """
    return BASE_RATE + strength * (1 - BASE_RATE) if confounded else BASE_RATE * (1 - strength)


def uniforms(key: tuple[int, ...], count: int) -> np.ndarray:
    """`count` numbers of [0, 1) from PCG64's raw stream, whose bits NumPy guarantees; float64."""
    raw = np.random.PCG64(np.random.SeedSequence(key)).random_raw(count)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


def draw_scene(source: ScenesSource, index: int) -> Scene:
    """Draw scene `index` of a source; equal arguments give an equal scene, whatever was drawn before.

    Raises
    ------
    IndexError : outside 0 … n - 1.
    """
    if not 0 <= index < source.n:
        raise IndexError(f"scene {index} of {source.n}")
    key = (source.seed, SPLITS.index(source.split), index)
    numbers = iter(uniforms((*key, 0), _DRAWS).tolist())

    def draw() -> float:
        return float(next(numbers))

    def one_of(names: tuple[str, ...]) -> str:
        return names[int(draw() * len(names))]

    shape, colour, texture = one_of(tuple(SHAPES)), one_of(tuple(COLOURS)), one_of(TEXTURES)
    least, most = SIZES[one_of(tuple(SIZES))]
    radius = least + draw() * (most - least)
    room = 62 - 2 * radius
    x, y = radius + 1 + draw() * room, radius + 1 + draw() * room
    item = Thing(shape, colour, texture, round(x, 2), round(y, 2), round(radius, 2), int(draw() * len(TURNS)))
    background = one_of(tuple(BACKGROUNDS))
    low, high = BACKGROUNDS[background]
    tones = (low + int(draw() * (high - low)), low + int(draw() * (high - low)))
    present = draw() < rate(source.strength, confounded=shape == source.confounded)
    planted = {"never": False, "always": True, "confounded": present}[source.planting]
    corner = _corner(draw())
    context = _context(source, item, draw)
    return Scene(
        index, item, context, background, tones, source.artefact if planted else None, corner, (*key, 1),
        faint=draw() < source.faint,
    )  # fmt: skip


def _corner(number: float) -> tuple[int, int]:
    """One of the four corners, one to three pixels off the edge."""
    place = int(number * 36)
    corner, off_x, off_y = place // 9, 1 + place % 3, 1 + place // 3 % 3
    left = off_x if corner % 2 == 0 else 64 - TAG[0] - off_x
    top = off_y if corner < 2 else 64 - TAG[1] - off_y
    return left, top


def _context(source: ScenesSource, item: Thing, draw: Callable[[], float]) -> tuple[Thing, ...]:
    """Draw each kind by itself; every kind takes the same number of draws, so that one never moves another."""
    placed: list[Thing] = []
    for kind in CONTEXTS:
        share = source.distractors
        if kind == source.context:
            share = rate(source.context_strength, confounded=item.kind == source.context_class)
        present, colour = draw() < share, tuple(COLOURS)[int(draw() * len(COLOURS))]
        radius, turn = CONTEXT_RADII[int(draw() * len(CONTEXT_RADII))], int(draw() * len(TURNS))
        spots = [
            (1 + radius + draw() * (62 - 2 * radius), 1 + radius + draw() * (62 - 2 * radius)) for _ in range(TRIES)
        ]
        if present:
            x, y = _clearest(spots, radius, (item, *placed))
            placed.append(Thing(kind, colour, "plain", round(x, 2), round(y, 2), radius, turn))
    return tuple(placed)


def _clearest(spots: list[tuple[float, float]], radius: float, taken: tuple[Thing, ...]) -> tuple[float, float]:
    """The first spot where nothing is covered, or else the one with the most room."""

    def room(spot: tuple[float, float]) -> float:
        return min(
            math.sqrt((spot[0] - thing.x) ** 2 + (spot[1] - thing.y) ** 2) - thing.radius - radius for thing in taken
        )

    return next((spot for spot in spots if room(spot) >= 0), max(spots, key=room))
