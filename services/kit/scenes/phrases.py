"""Partial captions: what a caption writer might mention of a scene, for training a text encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.kit.scenes.captions import ARTEFACT_WORDS, PLACES
from services.kit.scenes.scene import Scene

OPENINGS = ("", "", "", "a picture of ", "a photo of ", "an image of ")


def phrase_of(scene: Scene, draw: Callable[[], float]) -> str:
    """Mention a random part of a scene, in the words and order of `caption_of`.

    Parameters
    ----------
    draw : uniform numbers of [0, 1).
    """
    item = scene.item
    around = [f"a {thing.colour} {thing.kind}" if draw() < 0.5 else f"a {thing.kind}" for thing in scene.context]
    if scene.artefact is not None:
        around.append(ARTEFACT_WORDS[scene.artefact])
    opening = OPENINGS[int(draw() * len(OPENINGS))]
    if around and draw() < 0.25:  # the surroundings alone
        return opening + _some(around, draw)
    words = [word for word, share in ((scene.size, 0.3), (item.colour, 0.6), (item.texture, 0.5)) if draw() < share]
    words.append(item.kind if draw() < 0.9 else "thing")
    phrase = f"{opening}a {' '.join(words)}"
    placed = draw() < 0.4
    if placed:
        phrase += f" {PLACES[scene.place]}"
    if draw() < 0.3:
        phrase += f" {'of' if placed else 'on'} a {scene.background} background"
    return f"{phrase}, with {_some(around, draw)}" if around and draw() < 0.8 else phrase


def _some(names: Sequence[str], draw: Callable[[], float]) -> str:
    """Join a random part of the names, at least one."""
    chosen = [name for name in names if draw() < 0.7]
    return " and ".join(chosen or [names[int(draw() * len(names))]])
