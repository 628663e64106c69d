import numpy as np
import pytest

from contracts.errors import BadTemplate, EmptyVocabulary, LabelTooLong
from services.explanation.labels.vocabularies import (
    frame_vectors,
    imagenet,
    path_safe,
    text_vectors,
    vocabulary_of,
)
from services.explanation.semantics.embeddings import unit_rows


def encode(texts):
    return unit_rows(np.stack([np.random.default_rng(sum(map(ord, text))).normal(size=6) for text in texts]))


def test_names_that_differ_in_case_underscores_or_space_are_one():
    made = vocabulary_of(["academic_gown", "Academic  Gown", "dog", "", "cafe\u0301", "caf\u00e9"])
    assert made.names == ("academic gown", "dog", "caf\u00e9")
    assert made.merged == 3


def test_the_hash_is_of_the_names_in_order():
    one, other = vocabulary_of(["a", "b"]), vocabulary_of(["b", "a"])
    assert one.sha256 != other.sha256
    assert one.sha256 == vocabulary_of(["a", "A", "b"]).sha256


@pytest.mark.parametrize("names", [[], ["one"], ["one", "ONE", " "]])
def test_fewer_than_two_names_are_refused(names):
    with pytest.raises(EmptyVocabulary) as refusal:
        vocabulary_of(names)
    assert refusal.value.field == "vocabulary"


def test_a_name_of_ten_thousand_characters_is_refused_with_its_place():
    with pytest.raises(LabelTooLong, match="10,000 characters") as refusal:
        vocabulary_of(["fine", "x" * 10_000])
    assert refusal.value.facts["index"] == 1
    assert len(vocabulary_of(["x" * 200, "y"]).names) == 2


def test_the_imagenet_vocabularies_have_names_and_definitions():
    small, large = imagenet("imagenet-1k"), imagenet("imagenet-22k")
    assert len(small.names) + small.merged == 1000
    assert len(large.names) + large.merged == 21_841
    assert small.names[0] == "tench"
    assert "fish" in small.definitions[0]
    assert all(small.definitions)


def test_text_vectors_are_means_over_templates_and_only_on_request_of_length_one():
    plain = text_vectors(encode, ["cat", "dog"], ["{}", "a {}"])
    np.testing.assert_allclose(plain[0], encode(["cat", "a cat"]).mean(axis=0), atol=1e-6)
    assert (np.linalg.norm(plain, axis=1) < 0.999).all()
    np.testing.assert_allclose(np.linalg.norm(text_vectors(encode, ["cat"], ["{}", "a {}"], unit=True), axis=1), 1)
    np.testing.assert_allclose(
        frame_vectors(encode, ["cat"])[0], encode(["A photo of a cat"])[0] - encode(["A photo of a"])[0], atol=1e-6
    )


def test_a_template_has_exactly_one_place():
    with pytest.raises(BadTemplate):
        text_vectors(encode, ["cat"], ["a {} of {}"])


def test_names_become_parts_of_paths_without_separators():
    assert path_safe("a/b") == "a_b"
    assert path_safe("../..") == "_"
