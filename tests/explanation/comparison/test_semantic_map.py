import json

import numpy as np
import pytest
from safetensors import safe_open

from contracts.errors import UnknownSnapshot
from services.explanation.comparison.layout import principal_plane, semantic_plane
from services.explanation.comparison.service import Comparisons
from services.kit.arrays import unpack_arrays
from tests.explanation.planted import CALLER, STRANGER


def topics(n: int, *, of: int, width: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres, topic = draw.normal(size=(of, width)), draw.integers(0, of, n)
    rows = centres[topic] + 0.4 * draw.normal(size=(n, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), topic


def neighbour_share(plane: np.ndarray, topic: np.ndarray) -> float:
    distance = ((plane[:, None] - plane[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return float((topic[distance.argmin(axis=1)] == topic).mean())


# --- numerics -------------------------------------------------------------------------------------
def test_a_plane_keeps_topics_together_and_is_the_same_for_the_same_seed():
    vectors, topic = topics(300, of=6)
    plane = semantic_plane(vectors, seed=3)
    assert plane.shape == (300, 2) and plane.dtype == np.float32
    assert neighbour_share(plane, topic) > 0.95
    assert np.array_equal(plane, semantic_plane(vectors, seed=3))
    assert np.abs(plane).max() == pytest.approx(1)


def test_more_vectors_than_are_fitted_are_placed_among_their_neighbours(monkeypatch):
    monkeypatch.setattr("services.explanation.comparison.layout.MOST_FITTED", 200)
    vectors, topic = topics(500, of=5)
    assert neighbour_share(semantic_plane(vectors), topic) > 0.95


def test_equal_vectors_do_not_break_the_neighbour_graph():
    vectors, _ = topics(40, of=2)
    plane = semantic_plane(np.concatenate([vectors[:1].repeat(30, axis=0), vectors]))
    assert np.isfinite(plane).all()


def test_the_principal_plane_of_points_in_a_plane_is_that_plane():
    flat = np.array([[3, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
    assert principal_plane(flat) == pytest.approx(np.array([[1, 0], [-1, 0], [0, 1 / 3], [0, -1 / 3]]), abs=1e-6) or (
        principal_plane(flat) == pytest.approx(np.array([[-1, 0], [1, 0], [0, -1 / 3], [0, 1 / 3]]), abs=1e-6)
    )
    assert principal_plane(np.ones((3, 4), np.float32)).tolist() == [[0, 0]] * 3
    assert principal_plane(np.zeros((0, 4), np.float32)).shape == (0, 2)


# --- the operation --------------------------------------------------------------------------------
def test_a_map_has_one_row_for_each_component_with_a_vector(own, tmp_path):
    answer = Comparisons(own.service).semantic_map(CALLER, "colours", "pca")
    arrays = unpack_arrays(answer.body)
    tables = {name: own.service.opened(CALLER, "colours").tables(name) for name in ("maps", "tokens")}
    good = {name: np.flatnonzero(table.vectors["state"] == 0) for name, table in tables.items()}
    assert [(arrays["layer"] == number).sum() for number in (0, 1)] == [len(rows) for rows in good.values()]
    assert arrays["index"][: len(good["maps"])].tolist() == tables["maps"].examples["index"][good["maps"]].tolist()
    assert arrays["clarity"][: len(good["maps"])] == pytest.approx(tables["maps"].vectors["clarity"][good["maps"]])
    assert set(arrays["sign"].tolist()) == {1, -1}
    assert arrays["xy"].shape == (len(arrays["layer"]), 2)
    path = tmp_path / "map"
    path.write_bytes(answer.body)
    with safe_open(path, framework="numpy") as file:
        facts = json.loads(file.metadata()["facts"])
    assert facts == {"snapshot": own.snapshot, "layers": ["maps", "tokens"], "layout": "pca", "seed": 0}


def test_a_map_is_computed_once_and_again_when_its_bytes_are_damaged(own, monkeypatch):
    made = []
    at = "services.explanation.comparison.maps.principal_plane"
    monkeypatch.setattr(at, lambda vectors: made.append(1) or principal_plane(vectors))
    first = Comparisons(own.service).semantic_map(CALLER, "colours", "pca")
    again = Comparisons(own.fresh_service()).semantic_map(CALLER, "colours", "pca")
    assert (again.etag, again.body, len(made)) == (first.etag, first.body, 1)
    own.blobs.path(first.etag).write_bytes(b"rotten")
    assert Comparisons(own.fresh_service()).semantic_map(CALLER, "colours", "pca").body == first.body
    assert len(made) == 2


def test_the_map_of_another_workspace_is_unknown(own):
    with pytest.raises(UnknownSnapshot):
        Comparisons(own.service).semantic_map(STRANGER, "colours")
