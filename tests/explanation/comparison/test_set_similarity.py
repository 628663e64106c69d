import numpy as np
import pytest

from contracts.comparison import TooManyToPair
from services.explanation.comparison.centring import mean_direction, place, unit_without
from services.explanation.comparison.pairing import mutual_nearest, one_to_one
from services.explanation.comparison.similarity import (
    chance_of_nearest,
    nearest_in,
    relative_similarity,
    set_similarity,
    standard_score,
)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def rows_of(n: int, width: int = 16, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, width)))


AXES = np.eye(2, dtype=np.float32)


# --- similarity of sets ---------------------------------------------------------------------------
def test_the_golden_sets_are_half_alike_one_way_and_wholly_the_other():
    assert set_similarity(AXES, AXES[:1]) == 0.5
    assert set_similarity(AXES[:1], AXES) == 1.0


def test_a_set_is_wholly_alike_to_itself_in_any_order_and_in_any_rotation_of_both():
    vectors = rows_of(300)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0].astype(np.float32)
    assert set_similarity(vectors, vectors[::-1]) == pytest.approx(1, abs=1e-6)
    other = rows_of(200, seed=2)
    assert set_similarity(vectors @ turn, other @ turn) == pytest.approx(set_similarity(vectors, other), abs=1e-6)
    assert set_similarity(vectors, vectors @ turn) < 0.9


def test_nearest_by_group_equals_the_full_matrix(monkeypatch):
    monkeypatch.setattr("services.explanation.comparison.similarity.BLOCK", 7)
    ours, theirs = rows_of(40), rows_of(25, seed=1)
    found = nearest_in(ours, theirs, np.array([10, 0, 15]))
    cosine = ours @ theirs.T
    assert found.score[:, [0, 2]] == pytest.approx(np.stack([cosine[:, :10].max(1), cosine[:, 10:].max(1)], 1))
    assert found.index[:, 2].tolist() == (10 + cosine[:, 10:].argmax(1)).tolist()
    assert np.isneginf(found.score[:, 1]).all()
    best, row = found.overall()
    assert best == pytest.approx(cosine.max(1)) and row.tolist() == cosine.argmax(1).tolist()


# --- chance ---------------------------------------------------------------------------------------
def test_chance_for_one_vector_is_the_mean_over_the_bank_and_grows_with_the_other_side():
    ours, bank = rows_of(50), rows_of(400, seed=3)
    chance = chance_of_nearest(ours, np.array([50]), bank, [1, 10, 400], draws=400)
    assert chance.expected[0] == pytest.approx((ours @ bank.T).mean(axis=1), abs=0.05)
    assert (chance.expected[1] > chance.expected[0] + 0.2).all()
    assert (chance.expected[2] > chance.expected[1]).all()
    assert (chance.expected[2] <= (ours @ bank.T).max(axis=1) + 1e-5).all()


def test_chance_of_a_group_is_the_mean_of_its_components(monkeypatch):
    monkeypatch.setattr("services.explanation.comparison.similarity.BLOCK", 16)
    chance = chance_of_nearest(rows_of(50), np.array([13, 0, 37]), rows_of(90, seed=3), [30, 5])
    for size in (0, 1):
        assert chance.groups[size, :, 0].mean() == pytest.approx(chance.expected[size, :13].mean(), abs=1e-5)
        assert chance.groups[size, :, 2].mean() == pytest.approx(chance.expected[size, 13:].mean(), abs=1e-5)
    assert (chance.groups[:, :, 1] == 0).all()


def test_random_sets_are_as_alike_as_chance_says():
    draw = np.random.default_rng(4)
    pictures = unit(draw.normal(size=(2000, 32)) + 0.5)
    sets = unit(pictures[draw.integers(0, 2000, (1200, 20))].mean(axis=1))
    ours, theirs, bank = sets[:100], sets[100:200], sets[200:]
    chance = chance_of_nearest(ours, np.array([100]), bank, [100], draws=40)
    assert abs(standard_score(set_similarity(ours, theirs), chance.groups[0, :, 0])) < 3


def test_a_score_has_no_z_where_draws_do_not_vary():
    assert standard_score(1.0, np.array([0.5, 0.5])) is None
    assert standard_score(1.0, np.array([0.0, 0.5, 1.0])) == pytest.approx(1.0)


# --- components without what all pictures share ---------------------------------------------------
@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shared", [0.0, 1.5])
def test_the_ceiling_is_what_a_second_draw_of_examples_reaches(noise, shared):
    draw, axes = np.random.default_rng(6), np.eye(64, dtype=np.float32)
    examples = unit(shared * axes[1] + axes[0] + noise * draw.normal(size=(400, 2, 12, 64)) / 8)
    means = examples.mean(axis=2)
    grams = np.einsum("and,amd->anm", examples[:, 0], examples[:, 0])
    clarity = ((grams.sum(axis=(1, 2)) - 12) / (12 * 11)).astype(np.float32)
    length = np.linalg.norm(means, axis=2).astype(np.float32)
    direction = axes[1] if shared else 0 * axes[1]
    placed = [place(unit(means[:, one]), length[:, one], clarity, np.full(400, 12), direction) for one in (0, 1)]
    reached = (placed[0].vectors * placed[1].vectors).sum(axis=1)
    assert placed[0].ceiling.mean() == pytest.approx(reached.mean(), abs=0.015)
    if not shared:
        assert placed[0].ceiling == pytest.approx(clarity / (clarity + (1 - clarity) / 12), abs=1e-5)


def test_random_sets_have_nothing_in_common_once_the_mean_direction_is_gone():
    draw = np.random.default_rng(9)
    pictures = unit(draw.normal(size=(500, 24)) + 0.7)
    bank = unit(pictures[draw.integers(0, 500, (1500, 20))].mean(axis=1))
    direction = mean_direction(bank)
    assert direction @ unit(pictures.mean(axis=0)) > 0.999
    rest = unit_without(direction, bank)
    assert (bank[:50] @ bank[50:].T).mean() > 0.8
    assert abs((rest[:50] @ rest[50:].T).mean()) < 0.02
    assert np.abs(rest @ direction).max() < 1e-5
    assert (unit_without(direction, direction[None]) == 0).all()


def test_relative_similarity_is_zero_at_chance_one_at_the_most_and_undefined_without_room():
    found = relative_similarity(
        np.array([0.2, 0.8, 0.5, 0.9], np.float32),
        np.array([0.2, 0.2, 0.2, 0.88], np.float32),
        np.array([0.8, 0.8, 0.8, 0.9]),
    )
    assert found[:3] == pytest.approx([0, 1, 0.5])
    assert np.isnan(found[3])


# --- pairs ----------------------------------------------------------------------------------------
def test_both_ways_of_pairing_recover_a_permutation():
    vectors, order = rows_of(120), np.random.default_rng(7).permutation(120)
    other = unit(vectors[order] + 0.05 * rows_of(120, seed=8))
    back = np.argsort(order).tolist()
    there, here = (nearest_in(*pair, np.array([120])).index[:, 0] for pair in ((vectors, other), (other, vectors)))
    for ours, theirs in (mutual_nearest(there, here), one_to_one(vectors, other)):
        assert ours.tolist() == list(range(120))
        assert theirs.tolist() == back


def test_an_assignment_gives_each_component_of_the_smaller_side_one_partner_at_the_least_total():
    ours = unit(np.array([[1, 0], [1, 0.1], [0, 1]]))
    theirs = unit(np.array([[1, 0.05], [1, 1]]))
    a, b = one_to_one(ours, theirs)
    cosine = ours @ theirs.T
    totals = [cosine[i, 0] + cosine[j, 1] for i in range(3) for j in range(3) if i != j]
    assert cosine[a, b].sum() == pytest.approx(max(totals))
    assert sorted(b.tolist()) == [0, 1]


def test_mutual_pairs_leave_out_what_is_not_mutual():
    assert [rows.tolist() for rows in mutual_nearest(np.array([1, 1, 0]), np.array([2, 1]))] == [[1, 2], [1, 0]]


def test_an_assignment_that_would_take_hours_is_refused():
    with pytest.raises(TooManyToPair) as refusal:
        one_to_one(np.zeros((5001, 2), np.float32), np.zeros((3, 2), np.float32))
    assert refusal.value.facts == {"limit": 5000}
