"""Alignment against a calibrated null: planted concepts are found, and chance is not."""

import numpy as np
import pytest

from services.explanation.audits.alignment import Calibrator, align, of_components, significances, strongest
from services.explanation.audits.words import content_words, related
from services.explanation.semantics.embeddings import unit_rows
from services.explanation.semantics.significance import q_values, tail_shares

DRAW = np.random.default_rng(0)
CONCEPTS = unit_rows(DRAW.normal(size=(6, 64)))
BACKGROUND = unit_rows(DRAW.normal(size=(300, 64)))
OFFSET = unit_rows(DRAW.normal(size=64))


def components(topics, *, n=30, purity=0.8):
    """Unit means of n pictures, each of a topic or of a background name, all with a common offset."""
    rows = []
    for topic in topics:
        names = BACKGROUND[DRAW.integers(0, len(BACKGROUND), n)]
        if topic is not None:
            names[: int(purity * n)] = CONCEPTS[topic]
        rows.append(unit_rows(names + 2 * OFFSET + DRAW.normal(size=(n, 64)) / 8).mean(0))
    return unit_rows(np.array(rows))


CALIBRATOR = Calibrator(components([None] * 400), BACKGROUND)
NOBODY = np.zeros((6, 300), dtype=bool)


def test_planted_topics_are_found_and_nothing_else_is():
    topics = [place % 6 if place < 60 else None for place in range(200)]
    found = significances([align(components(topics), CONCEPTS, CALIBRATOR)], NOBODY)
    truth = np.array([[topic == concept for concept in range(6)] for topic in topics])
    flagged = found.q[0] <= 0.05
    assert found.tests == 200 * 6
    assert (flagged & truth).sum() == truth.sum()
    assert (flagged & ~truth).sum() <= 0.1 * flagged.sum()


def test_z_does_not_depend_on_an_offset_that_all_pictures_share():
    rows = components([0, 1, None])
    z = align(rows, CONCEPTS, CALIBRATOR).z
    assert z[0, 0] > 5 and z[1, 1] > 5 and np.abs(z[2]).max() < 5


def test_layers_are_one_family():
    one, two = components([0] * 5 + [None] * 40), components([None] * 45)
    whole = significances([align(np.concatenate([one, two]), CONCEPTS, CALIBRATOR)], NOBODY)
    parts = significances([align(one, CONCEPTS, CALIBRATOR), align(two, CONCEPTS, CALIBRATOR)], NOBODY)
    np.testing.assert_allclose(np.concatenate(parts.q), whole.q[0], rtol=1e-6)
    assert parts.tests == whole.tests == 90 * 6 and parts.pool == 90 * 300
    assert parts.smallest_p == pytest.approx(1 / (1 + 90 * 300))


def test_related_names_are_left_out_of_a_concepts_null_and_of_no_other():
    aligned = align(components([0, 1, 2, None] * 10), CONCEPTS, CALIBRATOR)
    mask = NOBODY.copy()
    mask[0, :20], mask[3, :20], mask[4, 250:] = True, True, True
    found = significances([aligned], mask)
    for concept in range(6):
        expected = tail_shares(aligned.z[:, concept], aligned.null[:, ~mask[concept]])
        np.testing.assert_allclose(found.p[0][:, concept], expected, rtol=1e-12)
    np.testing.assert_allclose(found.q[0], q_values(found.p[0]), rtol=1e-12)
    assert found.pool == 40 * 250


def test_a_row_without_spread_is_not_significances():
    rows = np.concatenate([components([0]), np.zeros((1, 64), np.float32)])
    same = Calibrator(CALIBRATOR.bank, np.repeat(BACKGROUND[:1], 50, axis=0))
    assert np.isnan(align(rows, CONCEPTS, same).z).all()
    found = significances([align(rows, CONCEPTS, same)], np.zeros((6, 50), bool))
    assert found.tests == 0 and np.isnan(found.q[0]).all()


def test_no_rows_and_no_concepts_are_no_error():
    empty = align(np.zeros((0, 64), np.float32), CONCEPTS, CALIBRATOR)
    assert significances([empty], NOBODY).q[0].shape == (0, 6)
    assert significances([align(components([0]), CONCEPTS[:0], CALIBRATOR)], NOBODY[:0]).tests == 0


def test_a_component_has_the_row_of_its_strongest_prototype():
    z = np.array([[1.0, 5.0], [3.0, np.nan], [np.nan, np.nan]], np.float32)
    best = strongest(z, np.array([0, 0, 2]), 3)
    assert best.tolist() == [[1, 0], [-1, -1], [-1, -1]]
    taken = of_components(np.array([[10, 20], [30, 40], [50, 60]], float), best)
    assert taken[0].tolist() == [30, 20] and np.isnan(taken[1:]).all()


def test_words_relate_names_to_concepts():
    assert content_words("A Photo of the red_tags, in a corner") == {"red", "tag", "corner"}
    found = related(["a tag in the corner", "moons"], ["a red tag", "the corner shop", "a moon", "a stage"])
    assert found.tolist() == [[True, True, False, False], [False, False, True, False]]
