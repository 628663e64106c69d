from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from contracts.errors import (
    ConstantFeatures,
    InvalidRequest,
    NoConcepts,
    NonNegativeRequired,
    TooFewPoints,
)
from services.explanation.concepts.discovery.linear import Codes, KMeans, NonNegative, PrincipalDirections, Subspaces
from services.explanation.concepts.discovery.manifold import DenseRegions, Manifold, dense_regions, embed
from services.explanation.concepts.discovery.registry import METHODS, discovery
from services.explanation.concepts.memberships import require_memberships
from services.explanation.concepts.neighbours import Neighbours, nearest
from services.explanation.concepts.quality import (
    assign,
    most_typical_seed,
    quality,
    stability,
    two_nn_dimension,
    validity,
)

SMALL = Manifold(neighbours=15, dimensions=4, min_cluster_size=60, min_samples=10)


def rings(seed: int = 0, m: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Two circles, one within the other, in 16 dimensions."""
    draw = np.random.default_rng(seed)
    angle = draw.uniform(0, 2 * np.pi, 2 * m)
    radius = np.repeat([1.0, 3.0], m)
    flat = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    wide = np.hstack([flat, np.zeros((2 * m, 14))]) + 0.05 * draw.normal(size=(2 * m, 16))
    return wide.astype(np.float32), np.repeat([0, 1], m)


def blobs(k: int = 4, m: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(k), m)
    centres = 6 * draw.normal(size=(k, 8))
    return (centres[labels] + draw.normal(size=(k * m, 8))).astype(np.float32), labels


def test_curved_concepts_are_found_where_centroids_fail():
    x, labels = rings()
    found = Manifold(neighbours=30, dimensions=4, min_cluster_size=150, min_samples=10).fit(x)
    assert adjusted_rand_score(labels, found.values.argmax(axis=1)) > 0.9
    assert adjusted_rand_score(labels, KMeans(2).fit(x).labels) < 0.1


def long_rings(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two thin rings, one inside the other, that embeddings tear."""
    draw = np.random.default_rng(seed)
    sizes, radii = (200, 500), (1.0, 2.5)
    labels = np.repeat([0, 1], sizes)
    angle = draw.uniform(0, 2 * np.pi, sum(sizes))
    flat = np.array(radii)[labels][:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    wide = np.hstack([flat, np.zeros((len(labels), 30))]) + 0.05 * draw.normal(size=(len(labels), 32))
    return wide.astype(np.float32), labels


def test_what_the_embedding_tore_apart_is_joined_and_memberships_add_up():
    x, labels = long_rings(1)
    made = {"neighbours": 20, "dimensions": 4, "min_cluster_size": 60, "min_samples": 10, "selection": "eom"}
    torn, whole = Manifold(**made).fit(x), Manifold(**made, mend=True).fit(x)
    assert torn.k > 2 and whole.k == 2 and whole.facts["joined"] == torn.k - 2
    known = whole.labels >= 0
    assert adjusted_rand_score(labels[known], whole.labels[known]) == 1
    np.testing.assert_allclose(whole.values.sum(1), torn.values.sum(1), atol=1e-5)
    pairs = {(a, b) for a, b in zip(torn.labels.tolist(), whole.labels.tolist(), strict=True) if a >= 0}
    assert len(pairs) == torn.k  # each piece went into one concept


def test_concepts_with_a_gap_between_them_stay_apart():
    x, _ = blobs()
    made = {"neighbours": 15, "dimensions": 4, "min_cluster_size": 80, "min_samples": 10, "selection": "eom"}
    whole = Manifold(**made, mend=True).fit(x)
    assert whole.facts["joined"] == 0 and whole.k == 4


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_gives_valid_memberships_for_blobs(method):
    x, labels = blobs()
    parameters = {
        "manifold": {"neighbours": 15, "dimensions": 4, "min_cluster_size": 80, "min_samples": 10},
        "dense": {"min_cluster_size": 60, "min_samples": 10},
        "sae": {"k": 4},
    }.get(method, {"k": 8 if method == "pca" else 4})
    found = discovery(method, parameters).fit(np.maximum(x, 0) if method == "sae" else x, seed=1)
    require_memberships(found.values)
    assert found.values.shape == (600, found.k) and found.values.dtype == np.float32
    assert found.labels.shape == (600,) and found.labels.dtype == np.int32
    if method in {"manifold", "dense", "kmeans"}:
        assert adjusted_rand_score(labels, found.labels) > 0.9


PROGRAM = """
import hashlib, numpy as np
from services.explanation.concepts.discovery.manifold import Manifold
x = np.random.default_rng(3).normal(size=(300, 6)).astype('float32'); x[:150] += 8
found = Manifold(10, 3, min_cluster_size=40, min_samples=5).fit(x, seed=7)
digest = hashlib.sha256(found.embedding.tobytes() + found.values.tobytes()).hexdigest()
"""


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    here: dict[str, str] = {}
    exec(PROGRAM, here)
    told = subprocess.run([sys.executable, "-c", PROGRAM + "print(digest)"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == here["digest"]


def test_a_graph_of_other_points_is_an_error_and_not_ignored():
    x, _ = blobs()
    graph = nearest(x, 15)
    with pytest.raises(ValueError, match="does not fit"):
        embed(x[:-1], graph, dimensions=3, min_dist=0.1, seed=0, size=15)
    narrow = Neighbours(graph.index[:, :10], graph.distance[:, :10])
    with pytest.raises(ValueError, match="does not fit"):
        embed(x, narrow, dimensions=3, min_dist=0.1, seed=0, size=15)


def test_copies_of_points_share_their_memberships_and_none_is_undefined():
    x, _ = blobs(k=3, m=100)
    tripled = np.repeat(x, 3, axis=0)
    found = SMALL.fit(tripled)
    assert np.isfinite(found.values).all()
    assert np.array_equal(found.values[0::3], found.values[2::3])
    assert found.values.shape[0] == 900


def test_one_cloud_is_no_concepts_and_the_refusal_says_what_to_change():
    cloud = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    with pytest.raises(NoConcepts, match="lower `min_cluster_size`"):
        dense_regions(cloud, min_cluster_size=140, min_samples=10)


def test_unusable_features_are_refused_before_any_work():
    x, _ = blobs()
    with pytest.raises(TooFewPoints):
        Manifold().fit(x[:20])
    with pytest.raises(ConstantFeatures):
        Manifold().fit(np.ones((100, 4), np.float32))
    with pytest.raises(InvalidRequest):
        DenseRegions().fit(np.full((100, 4), np.nan, np.float32))
    with pytest.raises(NonNegativeRequired):
        NonNegative(4, split_signs=False).fit(x)
    with pytest.raises(NonNegativeRequired):
        Codes().fit(x)
    with pytest.raises(NoConcepts):
        KMeans(1).fit(x)
    with pytest.raises(TooFewPoints):
        KMeans(50).fit(x[:40])


def test_an_unknown_method_or_parameter_names_the_known_ones():
    with pytest.raises(InvalidRequest) as refusal:
        discovery("umap")
    assert "manifold" in refusal.value.facts["known"]
    with pytest.raises(InvalidRequest) as refusal:
        discovery("kmeans", {"clusters": 4})
    assert refusal.value.facts["known"] == ["k"]


def test_principal_directions_keep_both_signs():
    x = np.random.default_rng(1).normal(size=(200, 5)) * [9, 1, 1, 1, 1]
    found = PrincipalDirections(2).fit(x.astype(np.float32))
    assert found.k == 2
    assert (found.values[:, 0] > 0).sum() + (found.values[:, 1] > 0).sum() == 200
    assert PrincipalDirections(2, one_sided=True).fit(x.astype(np.float32)).noise_share == pytest.approx(0.25, abs=0.1)


def test_subspaces_of_tiny_clusters_are_dropped():
    x, _ = blobs(k=3, m=50)
    far = np.vstack([x, np.full((1, 8), 500, np.float32)])
    assert Subspaces(4).fit(far).k == 3


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_intrinsic_dimension_of_flat_pieces_is_theirs(dimension):
    draw = np.random.default_rng(dimension)
    flat = np.hstack([draw.random((2000, dimension)), np.zeros((2000, 9 - dimension))])
    assert two_nn_dimension(flat) == pytest.approx(dimension, rel=0.15)


def test_quality_figures_of_separate_blobs_are_good_ones():
    x, _ = blobs()
    found = SMALL.fit(x)
    measured = quality(x, found, group=np.repeat(np.arange(4), 150))
    assert measured.concepts == found.k
    assert measured.validity == validity(found.embedding, found.labels)
    assert measured.validity > 0.2
    assert measured.trustworthiness > 0.85
    assert measured.few_samples.all()  # each blob is one sample here
    assert quality(x, KMeans(4).fit(x)).validity is None


def test_stability_is_one_for_equal_labels_and_falls_with_disorder():
    labels = np.repeat([0, 1, 2, -1], 50)
    renamed = np.repeat([2, 0, 1, -1], 50)
    assert [score.tolist() for score in stability([labels, renamed])] == [[1, 1, 1], [1, 1, 1]]
    half = labels.copy()
    half[:25] = -1
    assert stability([labels, half])[0].tolist() == [0.5, 1, 1]


def test_the_most_typical_seed_agrees_best_with_the_others():
    draw = np.random.default_rng(0)
    good = np.repeat(np.arange(4), 50)
    assert most_typical_seed([draw.integers(0, 4, 200), good, good]) == 1


def test_new_points_get_the_memberships_of_their_neighbours():
    x, labels = blobs()
    values = np.eye(4, dtype=np.float32)[labels]
    new, truth = blobs(seed=0)
    assert (assign(new + 0.01, x, values).argmax(axis=1) == truth).mean() > 0.99
    assert np.allclose(assign(x, x, values), values, atol=1e-4)
    with pytest.raises(InvalidRequest):
        assign(new[:, :3], x, values)
