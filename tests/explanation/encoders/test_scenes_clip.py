"""The packaged open_clip model knows what scenes show: words find their pictures among held-out scenes."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from contracts.data import ScenesSource
from services.explanation.encoders.registry import load_encoder
from services.kit.scenes import COLOURS, SHAPES, TEXTURES, caption_of, draw_scene, render
from services.kit.scenes.checkpoints import packaged_encoder

N = 240


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(packaged_encoder(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def shown(encoder):
    source = ScenesSource(n=N, split="test")
    scenes = [draw_scene(source, index) for index in range(N)]
    return scenes, encoder.encode_images([Image.fromarray(render(scene).pixels) for scene in scenes])


def chosen(encoder, rows, texts):
    return (rows @ encoder.encode_texts(texts).T).argmax(axis=1)


def test_captions_find_their_own_picture(encoder, shown):
    scenes, rows = shown
    found = (encoder.encode_texts([caption_of(scene) for scene in scenes]) @ rows.T).argmax(axis=1)
    assert (found == np.arange(N)).mean() > 0.8


@pytest.mark.parametrize(
    ("factor", "names", "least"), [("colour", COLOURS, 0.9), ("texture", TEXTURES, 0.85), ("shape", SHAPES, 0.6)]
)
def test_words_for_one_factor_name_it_on_held_out_scenes(encoder, shown, factor, names, least):
    scenes, rows = shown
    prompts = [f"a {name}" if factor == "shape" else f"a {name} thing" for name in names]
    truth = [list(names).index(scene.factors()[factor]) for scene in scenes]
    assert (chosen(encoder, rows, prompts) == truth).mean() > least


def test_the_tag_is_found_by_its_words(encoder, shown):
    scenes, rows = shown
    score = rows @ encoder.encode_texts(["a tag in the corner"])[0]
    assert roc_auc_score([scene.artefact == "tag" for scene in scenes], score) > 0.95
