from __future__ import annotations

import numpy as np
import pytest

from services.explanation.concepts.flow import flow_edges
from services.explanation.concepts.layout import concept_map, typical_points
from services.explanation.concepts.memberships import one_hot


def test_points_flow_where_they_go_and_not_where_chance_sends_them():
    source = np.repeat([0, 1, 2], 100)
    target = np.where(source == 0, 1, 0)
    edges = {(edge.source, edge.target): edge for edge in flow_edges(one_hot(source), one_hot(target))}
    assert set(edges) == {(0, 1), (1, 0), (2, 0)}
    assert (edges[0, 1].points, edges[0, 1].share_of_source, edges[0, 1].share_of_target) == (100, 1, 1)
    assert edges[1, 0].share_of_target == pytest.approx(0.5)
    draw = np.random.default_rng(0)
    assert not flow_edges(one_hot(draw.integers(0, 3, 600)), one_hot(draw.integers(0, 3, 600)))


def test_concepts_of_the_same_points_lie_together_on_the_map():
    values = np.zeros((300, 3), np.float32)
    values[:100, 0], values[:100, 1], values[150:250, 2] = 0.5, 0.45, 1
    places = concept_map(values)
    assert places.shape == (3, 2) and np.abs(places).max() == pytest.approx(1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert apart[0, 1] < 0.5 * min(apart[0, 2], apart[1, 2])
    assert np.array_equal(places, concept_map(values))


def test_examples_begin_with_the_medoid_and_show_each_sample_once():
    draw = np.random.default_rng(1)
    features = draw.normal(size=(60, 4)).astype(np.float32)
    membership = np.where(np.arange(60) < 30, 0.9, 0.0)
    features[7] = features[:30].mean(axis=0)
    rows = typical_points(features, membership, np.arange(60) // 2, most=10)
    assert rows[0] == 7
    assert len(rows) == 10 and len(set(rows // 2)) == 10 and (rows < 30).all()
    assert len(typical_points(features, np.zeros(60), np.arange(60))) == 0
