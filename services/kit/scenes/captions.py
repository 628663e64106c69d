"""What a scene shows, in words."""

from __future__ import annotations

from services.kit.scenes.scene import Scene

PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "centre": "in the centre",
}
ARTEFACT_WORDS = {"tag": "a tag in the corner", "watermark": "a watermark", "border": "a pink border"}


def caption_of(scene: Scene) -> str:
    """Name everything that can be seen: the object, what is around it, the background, the artefact."""
    item = scene.item
    words = f"a {scene.size} {item.colour} {item.texture} {item.kind} {PLACES[scene.place]}"
    around = [f"a {thing.colour} {thing.kind}" for thing in scene.context]
    if scene.artefact is not None:
        around.append(ARTEFACT_WORDS[scene.artefact])
    words += f" of a {scene.background} background"
    return f"{words}, with {' and '.join(around)}" if around else words
