"""Generated scenes with known truth: shapes, colours, textures, places, distractors and a planted artefact."""

from services.kit.scenes.captions import caption_of
from services.kit.scenes.phrases import phrase_of
from services.kit.scenes.render import Rendered, render
from services.kit.scenes.scene import GENERATOR, Scene, Thing, draw_scene, rate
from services.kit.scenes.vocabulary import ARTEFACTS, BACKGROUNDS, COLOURS, CONTEXTS, MASKS, SHAPES, SIZES, TEXTURES

__all__ = [
    "ARTEFACTS", "BACKGROUNDS", "COLOURS", "CONTEXTS", "GENERATOR", "MASKS", "SHAPES", "SIZES", "TEXTURES",
    "Rendered", "Scene", "Thing", "caption_of", "draw_scene", "phrase_of", "rate", "render",
]  # fmt: skip
