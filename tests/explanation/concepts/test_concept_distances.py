from __future__ import annotations

import numpy as np
import pytest

from services.explanation.concepts.chance import expected_difference
from services.explanation.concepts.distances import concept_distances, pair_spread
from services.explanation.concepts.matching import (
    Match,
    match_concepts,
    matched_null,
    optimal_pairs,
    partners,
    too_rare,
    universal_cliques,
)
from services.explanation.concepts.memberships import Memberships, one_hot
from services.explanation.concepts.rand_index import exact_alignment
from tests.explanation.concepts.fuzzy import P, Q, double_loop, fuzzy


def test_the_golden_distances_and_matching():
    found = concept_distances(P, Q)
    assert np.allclose(found.d, [[0.0833333, 0.2250000, 0.1416667], [0.1166667, 0.1750000, 0.1416667]], atol=1e-6)
    golden = [[0.1470588, 0.4909091, 0.3090909], [0.2121212, 0.3962264, 0.3207547]]
    assert np.allclose(found.dt, golden, atol=1e-6)
    rows, columns = optimal_pairs(-found.d)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (1, 2)]


def test_the_matched_sum_bounds_the_global_distance():
    found = concept_distances(P, Q)
    n = len(P)
    bound = found.d[0, 0] + found.d[1, 2] + found.spread_theirs[1] / (n * (n - 1))
    assert bound == pytest.approx(0.3833333, abs=1e-6)
    assert bound >= 1 - exact_alignment(Memberships.of(P), Memberships.of(Q)).gri


@pytest.mark.parametrize("noise", [0.0, 0.9])
def test_one_sort_equals_the_double_loop(noise):
    ours, theirs = fuzzy(120, 7, seed=1, noise=noise), fuzzy(120, 5, seed=2)
    ours[ours < 0.05] = 0
    theirs[theirs < 0.3] = 0
    assert np.abs(concept_distances(ours, theirs).d - double_loop(ours, theirs)).max() < 1e-12


@pytest.mark.parametrize("noise", [0.0, 0.9])
def test_memberships_as_they_are_stored_give_the_same_distances(noise):
    ours, theirs = fuzzy(3000, 6, seed=1, noise=noise), fuzzy(3000, 5, seed=2, noise=noise)
    stored = concept_distances(ours.astype(np.float32), theirs.astype(np.float32))
    exact = concept_distances(ours, theirs)
    assert np.abs(stored.d - exact.d).max() < 1e-8
    assert np.abs(stored.kappa - exact.kappa).max() < 1e-6
    same = concept_distances(ours.astype(np.float32), ours.astype(np.float32))
    assert (np.diag(same.d) == 0).all()


def test_the_spread_is_the_sum_over_pairs():
    values = np.random.default_rng(0).random(60)
    assert pair_spread(values) == pytest.approx(np.abs(values[:, None] - values[None]).sum() / 2, abs=1e-10)


def test_triangle_inequality_and_symmetry():
    sides = [fuzzy(80, 4, seed=s, noise=0.3) for s in range(3)]
    for name in ("d", "ds"):
        ab, bc, ac = (getattr(concept_distances(sides[i], sides[j]), name) for i, j in ((0, 1), (1, 2), (0, 2)))
        through = (ab[:, :, None] + bc[None, :, :]).min(axis=1)
        assert (ac <= through + 1e-12).all()
    assert np.allclose(concept_distances(sides[0], sides[1]).d, concept_distances(sides[1], sides[0]).d.T, atol=1e-14)


def test_the_size_free_distance_alone_breaks_the_triangle_and_its_metric_form_does_not():
    a, c = np.eye(10)[:, :1], np.eye(10)[:, 1:2]
    b, rest = a + c, np.zeros((10, 1))
    pair = lambda x, y: concept_distances(np.hstack([x, rest]), np.hstack([y, rest]))  # noqa: E731
    assert pair(a, c).dt[0, 0] == pytest.approx(0.8888889)
    assert pair(a, b).dt[0, 0] + pair(b, c).dt[0, 0] < pair(a, c).dt[0, 0]
    assert pair(a, b).ds[0, 0] + pair(b, c).ds[0, 0] >= pair(a, c).ds[0, 0]


def test_chance_of_crisp_concepts_is_the_closed_form():
    draw = np.random.default_rng(3)
    a, b = draw.random(3000) < 0.1, draw.random(3000) < 0.3
    found = concept_distances(np.column_stack([a, ~a]).astype(float), np.column_stack([b, ~b]).astype(float))
    p, q = a.mean(), b.mean()
    u, v = 2 * p * (1 - p), 2 * q * (1 - q)
    assert found.chance[0, 0] == pytest.approx(0.5 * (u * (1 - v) + v * (1 - u)), rel=0.01)
    assert abs(found.kappa[0, 0]) < 0.02


def test_chance_of_fuzzy_concepts_is_the_mean_over_permutations():
    ours, theirs = fuzzy(300, 3, seed=4), fuzzy(300, 3, seed=5)
    i, j = np.triu_indices(300, 1)
    direct = 0.5 * expected_difference(np.abs(ours[i, 0] - ours[j, 0]), np.abs(theirs[i, 1] - theirs[j, 1]))
    assert concept_distances(ours, theirs).chance[0, 1] == pytest.approx(direct, rel=0.01)


def test_a_concept_matches_itself_perfectly_and_a_constant_one_nothing():
    ours = fuzzy(300, 4, seed=6)
    found = concept_distances(ours, np.column_stack([ours, np.zeros(300)]))
    assert np.allclose(np.diag(found.kappa), 1, atol=1e-9)
    assert np.isnan(found.kappa[:, 4]).all()


def planted(seed: int, n: int = 3000):
    """Six concepts that both sides have (in another order) and two that each has alone; 30 % noise; some disorder."""
    draw = np.random.default_rng(seed)
    shared = draw.choice(7, n, p=[0.3, *[0.7 / 6] * 6]) - 1
    ours, theirs = shared.copy(), np.where(shared >= 0, (shared + 2) % 6, -1)
    ours[draw.random(n) < 0.06], ours[draw.random(n) < 0.06] = 6, 7
    theirs[draw.random(n) < 0.06], theirs[draw.random(n) < 0.06] = 6, 7
    return one_hot(ours), one_hot(theirs)


def test_shared_concepts_are_universal_and_the_others_unique():
    ours, theirs = planted(0)
    null = matched_null(ours, theirs, permutations=20, points=1000)
    matches = match_concepts(concept_distances(ours, theirs), null)
    universal = {(m.ours, m.theirs) for m in matches if m.relation == "universal"}
    assert universal == {(a, (a + 2) % 6) for a in range(6)}
    assert {m.ours for m in matches if m.relation == "unique"} == {6, 7, None}
    assert all(m.q <= 0.05 for m in matches if m.q is not None)


def test_unrelated_concepts_are_rarely_called_shared():
    called = 0
    for seed in range(8):
        ours, theirs = fuzzy(600, 10, seed=40 + seed, noise=0.5), fuzzy(600, 10, seed=80 + seed, noise=0.5)
        null = matched_null(ours, theirs, permutations=20, points=600, seed=seed)
        matches = match_concepts(concept_distances(ours, theirs), null)
        called += any(m.relation in {"universal", "shared", "weak"} for m in matches)
    assert called <= 2


def test_without_permutations_everything_is_undecided():
    ours, theirs = planted(1, 500)
    matches = match_concepts(concept_distances(ours, theirs), np.empty(0))
    assert {m.relation for m in matches} == {"undecided"}


def test_a_rare_concept_is_undecided():
    values = np.zeros((8000, 2))
    values[:4, 0], values[4:, 1] = 1, 1
    assert too_rare(values).tolist() == [True, False]
    matches = match_concepts(
        concept_distances(values, fuzzy(8000, 2, seed=3)), np.zeros(500), rare_ours=too_rare(values)
    )
    assert next(m for m in matches if m.ours == 0).relation == "undecided"


def test_a_concept_that_the_other_side_splits_is_flagged():
    labels = np.random.default_rng(7).integers(0, 3, 900)
    halves = np.where((labels == 0) & (np.arange(900) % 2 == 0), 3, labels)
    ours, theirs = one_hot(labels), one_hot(halves)
    found = partners(ours, theirs, concept_distances(ours, theirs).kappa)
    assert found.divided.tolist() == [True, False, False]
    assert {int(found.best[0]), int(found.second[0])} == {0, 3}


def test_a_clique_needs_every_pair_of_models():
    yes = lambda *pairs: [Match(a, b, "universal") for a, b in pairs]  # noqa: E731
    pairs = {(0, 1): yes((0, 1), (1, 0)), (0, 2): yes((0, 0), (1, 2)), (1, 2): yes((1, 0))}
    assert universal_cliques([2, 2, 3], pairs) == [(0, 1, 0)]
