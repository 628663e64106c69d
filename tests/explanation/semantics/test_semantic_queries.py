import numpy as np
import pytest

from contracts.errors import BadTemplate, EmptyPrompt
from services.explanation.semantics.queries import (
    TEMPLATES,
    background_names,
    fill,
    mixed_direction,
    remembering,
    template_nulls,
    text_directions,
)
from tests.explanation.planted import CONCEPTS, PlantedEncoder


@pytest.fixture(scope="module")
def encode():
    return PlantedEncoder().encode_texts


@pytest.fixture(scope="module")
def nulls(encode):
    return template_nulls(encode, TEMPLATES, null="template", background=[])


@pytest.mark.parametrize("count", [1, 3, 5])
def test_many_texts_at_once_equal_single_calls(encode, nulls, count):
    """Prompts built template by template and read back text by text give texts each other's directions."""
    together = text_directions(encode, CONCEPTS[:count], templates=TEMPLATES, nulls=nulls)
    single = [text_directions(encode, [word], templates=TEMPLATES, nulls=nulls)[0] for word in CONCEPTS[:count]]
    np.testing.assert_allclose(together, single, atol=1e-6)


def test_every_text_finds_its_own_axis_first(encode, nulls):
    directions = text_directions(encode, CONCEPTS, templates=TEMPLATES, nulls=nulls)
    assert directions[:, : len(CONCEPTS)].argmax(axis=1).tolist() == list(range(len(CONCEPTS)))


def test_a_direction_is_the_mean_over_templates_minus_their_nulls(encode):
    templates = ("{}", "a photo of a {}")
    nulls = template_nulls(encode, templates, null="template", background=[])
    np.testing.assert_array_equal(nulls, encode(["", "a photo of a"]))
    by_hand = (encode(["cat"])[0] - nulls[0] + encode(["a photo of a cat"])[0] - nulls[1]).astype(np.float64)
    found = text_directions(encode, ["cat"], templates=templates, nulls=nulls)[0]
    np.testing.assert_allclose(found, by_hand / np.linalg.norm(by_hand), atol=1e-6)


def test_the_centroid_null_is_the_mean_over_the_background(encode):
    nulls = template_nulls(encode, ("a {}",), null="centroid", background=["cat", "clock", "bus"])
    np.testing.assert_allclose(nulls[0], encode(["a cat", "a clock", "a bus"]).mean(axis=0), atol=1e-6)


def test_without_null_nothing_is_subtracted(encode):
    assert not template_nulls(encode, TEMPLATES, null="none", background=[]).any()


def test_one_prompt_ranks_components_as_the_difference_of_cosines_does(encode, nulls):
    """mean_t [cos(v, u(t(p))) - cos(v, nu_t)] is the score times the length before normalising."""
    vectors = np.random.default_rng(0).normal(size=(50, 32))
    filled = encode([fill(template, "sky") for template in TEMPLATES])
    difference = (vectors @ (filled - nulls).T).mean(axis=1)
    score = vectors @ text_directions(encode, ["sky"], templates=TEMPLATES, nulls=nulls)[0]
    np.testing.assert_array_equal(np.argsort(difference), np.argsort(score))
    ratio = difference / score
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_a_text_is_put_in_as_it_is():
    assert fill("a photo of a {}", "{0} {x} {}") == "a photo of a {0} {x} {}"
    assert fill("a  {} ", " big   cat ") == "a big cat"


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "", "{0}"])
def test_a_template_without_exactly_one_place_is_refused(encode, template):
    with pytest.raises(BadTemplate) as refusal:
        text_directions(encode, ["cat"], templates=("{}", template), nulls=np.zeros((2, 32), np.float32))
    assert refusal.value.field == "templates"


def test_a_text_that_is_its_own_null_is_refused(encode, nulls):
    with pytest.raises(EmptyPrompt, match="'  '"):
        text_directions(encode, ["cat", "  "], templates=TEMPLATES, nulls=nulls)


def test_a_mix_follows_its_weights():
    axes = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(mixed_direction([axes[0], axes[1]], [3, -4]), [0.6, -0.8, 0], atol=1e-7)


def test_terms_that_cancel_out_are_refused():
    axis = np.eye(2, dtype=np.float32)[0]
    with pytest.raises(EmptyPrompt):
        mixed_direction([axis, axis], [1, -1])


def test_background_names_are_the_same_every_time_and_all_different():
    names = background_names(300)
    assert names == background_names(300)
    assert len(set(names)) == 300
    assert set(names) <= set(background_names(1000))


def test_a_remembering_encoder_embeds_each_text_once_and_answers_alike():
    port = PlantedEncoder()
    encode = remembering(port.encode_texts)
    first, again = encode(["cat", "sky", "cat"]), encode(["sky", "clock"])
    assert port.texts_encoded == 3
    np.testing.assert_array_equal(first, PlantedEncoder().encode_texts(["cat", "sky", "cat"]))
    np.testing.assert_array_equal(again, PlantedEncoder().encode_texts(["sky", "clock"]))
