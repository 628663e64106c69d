from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, rand_score

from contracts.errors import InvalidMembership, NoConcepts, PointMismatch, TooFewPoints
from services.explanation.concepts.chance import WeightedDifference, expected_difference, expected_minimum
from services.explanation.concepts.memberships import (
    Memberships,
    SeedAveraged,
    crisp_labels,
    one_hot,
    require_memberships,
    under_noise_mode,
    with_noise_column,
)
from services.explanation.concepts.rand_index import (
    align,
    compare,
    crisp_alignment,
    exact_alignment,
    mean_self_alignment,
    sample_pairs,
    sampled_alignment,
)
from tests.explanation.concepts.fuzzy import P, Q, fuzzy


def exact(ours, theirs):
    return exact_alignment(Memberships.of(ours), Memberships.of(theirs))


def test_agreement_of_pairs_is_the_golden_one():
    assert np.allclose(np.concatenate(list(Memberships.of(P).blocks(3))), [0.8, 0.3, 0, 0.5, 0.2, 0.7])
    assert np.allclose(np.concatenate(list(Memberships.of(Q).blocks(3))), [0.6, 0.1, 0.3, 0.5, 0.3, 0.7])


@pytest.mark.parametrize(
    ("mode", "gri", "chance", "aci"),
    [("asis", 0.8666667, 0.7166667, 0.5294118), ("noise_column", 0.8666667, 0.6944444, 0.5636364)],
)
def test_the_golden_alignment(mode, gri, chance, aci):
    ours, theirs, _ = under_noise_mode(P, Q, mode)
    found = exact(ours, theirs)
    assert (found.gri, found.chance, found.aci) == pytest.approx((gri, chance, aci), abs=1e-6)


def test_chance_is_the_mean_over_every_permutation():
    permuted = [exact(P, Q[list(order)]).gri for order in itertools.permutations(range(4))]
    assert exact(P, Q).chance == pytest.approx(np.mean(permuted), abs=1e-14)


def test_chance_lies_within_three_standard_errors_of_thirty_permutations():
    ours, theirs = fuzzy(500, 12, seed=1, noise=0.4), fuzzy(500, 9, seed=2, noise=0.2)
    draw = np.random.default_rng(3)
    permuted = [exact(ours, theirs[draw.permutation(500)]).gri for _ in range(30)]
    error = np.std(permuted, ddof=1) / np.sqrt(30)
    assert abs(exact(ours, theirs).chance - np.mean(permuted)) < 3 * error


def test_crisp_indices_are_those_of_scikit_learn():
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 7, 300), draw.integers(0, 4, 300)
    b[:150] = a[:150] % 4
    fuzzy_form, table = exact(one_hot(a), one_hot(b)), crisp_alignment(a, b)
    for found in (fuzzy_form, table):
        assert found.gri == pytest.approx(rand_score(a, b), abs=1e-12)
        assert found.aci == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.5, 0.75, 0.95])
def test_unrelated_clusterings_have_a_corrected_index_of_zero_whatever_the_noise(noise):
    ours, theirs = fuzzy(1500, 40, seed=4, noise=noise), fuzzy(1500, 40, seed=5, noise=noise)
    found = exact(ours, theirs)
    assert found.gri > 0.6
    assert abs(found.aci) < 0.01


def test_order_of_concepts_and_of_points_does_not_matter_and_sides_may_be_exchanged():
    ours, theirs = fuzzy(250, 6, seed=6), fuzzy(250, 9, seed=7)
    ours[:, :6] = 0.5 * ours + 0.5 * theirs[:, :6]
    draw = np.random.default_rng(8)
    points = draw.permutation(250)
    reference = exact(ours, theirs)
    for other in (
        exact(ours[:, draw.permutation(6)], theirs[:, draw.permutation(9)]),
        exact(ours[points], theirs[points]),
        exact(theirs, ours),
        exact(np.column_stack([ours, np.zeros(250)]), theirs),
    ):
        assert (other.gri, other.aci) == pytest.approx((reference.gri, reference.aci), abs=1e-12)
    assert exact(ours, ours).aci == pytest.approx(1, abs=1e-12)


def test_blocks_of_any_size_give_the_same_index():
    one, other = Memberships.of(fuzzy(103, 5, seed=9)), Memberships.of(fuzzy(103, 5, seed=10))
    assert exact_alignment(one, other, block=7).gri == pytest.approx(exact_alignment(one, other).gri, abs=1e-14)


def test_sampled_pairs_stay_within_four_standard_errors_of_the_exact_index():
    ours, theirs = fuzzy(900, 8, seed=11), fuzzy(900, 8, seed=12)
    sampled = sampled_alignment(Memberships.of(ours), Memberships.of(theirs), pairs=40_000, seed=1)
    assert 0 < sampled.error <= 0.5 / np.sqrt(40_000)
    assert abs(sampled.gri - exact(ours, theirs).gri) < 4 * sampled.error
    assert sampled == sampled_alignment(Memberships.of(ours), Memberships.of(theirs), pairs=40_000, seed=1)


def test_pairs_across_groups_never_join_points_of_one_sample():
    group = np.repeat(np.arange(10), 5)
    i, j = sample_pairs(50, 2000, seed=0, group=group)
    assert len(i) == 2000 and (group[i] != group[j]).all()
    with pytest.raises(PointMismatch):
        sample_pairs(50, 10, group=np.zeros(50))


def test_the_interval_holds_the_index_and_widens_when_points_hang_together():
    ours, theirs = fuzzy(600, 5, seed=13), fuzzy(600, 5, seed=14)
    theirs = 0.5 * ours + 0.5 * theirs
    alone = align(ours, theirs, seed=2)
    assert alone.interval[0] < alone.aci < alone.interval[1]
    copies = align(np.repeat(ours[:60], 10, axis=0), np.repeat(theirs[:60], 10, axis=0), seed=2)
    grouped = align(
        np.repeat(ours[:60], 10, axis=0), np.repeat(theirs[:60], 10, axis=0), seed=2, group=np.repeat(range(60), 10)
    )
    assert np.diff(grouped.interval) > 2 * np.diff(copies.interval)


def test_two_noise_points_count_as_together_unless_noise_is_a_concept():
    rows = np.array([[0, 0], [0, 0], [1, 0]], float)
    pair = np.array([0, 0]), np.array([1, 2])
    assert Memberships(rows).pairs(*pair).tolist() == [1.0, 0.5]
    assert Memberships(with_noise_column(rows)).pairs(*pair).tolist() == [1.0, 0.0]


def test_excluding_noise_reports_coverage_and_gives_up_below_two_hundred_points():
    ours, theirs = fuzzy(600, 4, seed=15, noise=0.3), fuzzy(600, 4, seed=16)
    found = align(ours, theirs, mode="exclude", interval=False)
    assert found.coverage == pytest.approx((ours.sum(axis=1) >= 0.5).mean())
    assert align(fuzzy(600, 4, seed=17, noise=0.9), theirs, mode="exclude") is None


def test_a_trivial_pair_is_degenerate_and_not_perfect():
    everything = np.column_stack([np.ones(20), np.zeros(20)])
    found = exact(everything, everything)
    assert found.aci is None and found.degenerate


def test_the_mean_over_seeds_reaches_higher_than_one_seed():
    clean = fuzzy(400, 6, seed=20)
    seeds = [0.7 * clean + 0.3 * fuzzy(400, 6, seed=21 + s) for s in range(4)]
    one = mean_self_alignment(seeds)
    two = compare(
        SeedAveraged([Memberships.of(s) for s in seeds[:2]]), SeedAveraged([Memberships.of(s) for s in seeds[2:]]),
        group=np.arange(400), interval=False,
    )  # fmt: skip
    assert two.aci > one


def test_weights_of_one_are_no_weights_and_counts_repeat_values():
    draw = np.random.default_rng(30)
    x, y = draw.random(50), draw.random(50)
    weighted = WeightedDifference(x, y)
    assert weighted(np.ones(50)) == pytest.approx(expected_difference(x, y), abs=1e-14)
    counts = draw.integers(0, 4, 50)
    repeated = expected_difference(np.repeat(x, counts), np.repeat(y, counts))
    assert weighted(counts.astype(float)) == pytest.approx(repeated, abs=1e-14)


def test_the_expected_minimum_is_that_of_all_pairs():
    draw = np.random.default_rng(31)
    x, y = draw.random((2, 400)) ** 4, draw.random((3, 400)) ** 9
    direct = [[np.minimum.outer(a, b).mean() for b in y] for a in x]
    assert np.allclose(expected_minimum(x, y), direct, rtol=1e-5)


def test_bad_memberships_are_refused_by_name():
    good = fuzzy(10, 3, seed=0)
    nan, negative, heavy = good.copy(), good.copy(), good.copy()
    nan[4, 1], negative[2, 0], heavy[7] = np.nan, -0.1, 0.5
    for broken, row in ((nan, 4), (negative, 2), (heavy, 7)):
        with pytest.raises(InvalidMembership) as refusal:
            require_memberships(broken)
        assert refusal.value.facts["row"] == row
    with pytest.raises(NoConcepts):
        require_memberships(good[:, :1])
    with pytest.raises(TooFewPoints):
        require_memberships(good, smallest=200)
    with pytest.raises(PointMismatch):
        align(good, fuzzy(11, 3, seed=0))


def test_labels_and_one_hot_rows_are_inverse_and_noise_stays_noise():
    labels = np.array([2, -1, 0, 1, 2])
    assert crisp_labels(one_hot(labels)).tolist() == labels.tolist()
