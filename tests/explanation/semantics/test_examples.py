import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import NonFiniteActivation
from services.explanation.semantics.examples import EMPTY, Spread, TopK, evidence


def reference(values: np.ndarray, k: int, *, groups: np.ndarray | None = None, most: int = 0) -> np.ndarray:
    """Ids of the k largest by (value descending, id ascending) in float64, greedily within groups."""
    chosen = np.full((values.shape[1], k), EMPTY)
    for component, column in enumerate(values.astype(np.float64).T):
        taken: dict[int, int] = {}
        kept = []
        for sample in sorted(range(len(column)), key=lambda sample: (-column[sample], sample)):
            group = sample if groups is None else int(groups[sample])
            if groups is None or taken.get(group, 0) < most:
                taken[group] = taken.get(group, 0) + 1
                kept.append(sample)
        chosen[component, : len(kept[:k])] = kept[:k]
    return chosen


@st.composite
def divided(draw):
    """Values with many ties, and an arbitrary division of the samples into batches that come in any order."""
    n, c = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = rng.integers(-3, 4, (n, c)).astype(np.float32) * np.float32(0.1)
    cuts = sorted(draw(st.sets(st.integers(1, n), max_size=5)) | {n})
    starts = [0, *cuts[:-1]]
    batches = draw(st.permutations([(a, b) for a, b in zip(starts, cuts, strict=True) if b > a]))
    return values, batches, draw(st.integers(1, 12)), rng.integers(0, 6, n)


@settings(max_examples=150, deadline=None)
@given(divided())
def test_examples_equal_a_float64_reference_whatever_the_batches(case):
    values, batches, k, _ = case
    top = TopK(values.shape[1], k)
    for start, stop in batches:
        top.update(values[start:stop], np.arange(start, stop))
    np.testing.assert_array_equal(top.ids, reference(values, k))


@settings(max_examples=100, deadline=None)
@given(divided())
def test_collections_of_shards_merge_in_any_order(case):
    values, shards, k, _ = case
    merged = TopK(values.shape[1], k)
    for start, stop in shards:
        one = TopK(values.shape[1], k)
        one.update(values[start:stop], np.arange(start, stop))
        merged.merge(one)
    np.testing.assert_array_equal(merged.ids, reference(values, k))


@settings(max_examples=150, deadline=None)
@given(divided(), st.integers(1, 3))
def test_a_limit_per_group_is_the_greedy_choice_whatever_the_batches(case, most):
    values, batches, k, groups = case
    top = TopK(values.shape[1], k, groups=groups, most=most)
    for start, stop in batches:
        top.update(values[start:stop], np.arange(start, stop))
    np.testing.assert_array_equal(top.ids, reference(values, k, groups=groups, most=most))


@settings(max_examples=60, deadline=None)
@given(divided())
def test_the_lowest_are_the_reference_of_the_negated_values(case):
    values, batches, k, _ = case
    bottom = TopK(values.shape[1], k, largest=False)
    for start, stop in batches:
        bottom.update(values[start:stop], np.arange(start, stop))
    np.testing.assert_array_equal(bottom.ids, reference(-values, k))


def test_positions_travel_with_their_samples():
    values = np.array([[1.0], [5.0], [3.0], [4.0]], np.float32)
    top = TopK(1, 3, positions=True)
    top.update(values[:2], np.array([0, 1]), np.array([[10], [11]], np.int32))
    top.update(values[2:], np.array([2, 3]), np.array([[12], [13]], np.int32))
    assert top.ids.tolist() == [[1, 3, 2]]
    assert top.positions.tolist() == [[11, 13, 12]]


def test_a_component_that_is_always_negative_has_the_samples_it_comes_from():
    """Starting from zero instead of -inf leaves id -1, which reads as the last picture."""
    values = -np.array([[3.0, 1.0, 2.0, 5.0, 4.0]], np.float32).T
    top = TopK(1, 3)
    top.update(values, np.arange(5))
    assert top.ids.tolist() == [[1, 2, 0]]
    assert top.values.tolist() == [[-1.0, -2.0, -3.0]]


def test_values_that_bfloat16_cannot_tell_apart_keep_their_order():
    values = (np.float32(0.5) + np.arange(200, dtype=np.float32)[:, None] * np.float32(1e-5)).astype(np.float32)
    top = TopK(1, 20)
    top.update(values, np.arange(200))
    assert top.ids[0].tolist() == list(range(199, 179, -1))


def test_two_runs_number_samples_alike():
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    runs = []
    for _ in range(2):
        top = TopK(3, 5)
        top.update(values, np.arange(40))
        runs.append(top.ids)
    np.testing.assert_array_equal(*runs)


def test_fewer_samples_than_asked_for_leave_empty_places():
    top = TopK(1, 4)
    top.update(np.array([[2.0], [7.0]], np.float32), np.array([0, 1]))
    assert top.ids.tolist() == [[1, 0, EMPTY, EMPTY]]
    assert top.values[0, 2:].tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_by_name(bad):
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = bad
    with pytest.raises(NonFiniteActivation, match="component 2 is not finite on sample 8") as refusal:
        TopK(4, 2).update(values, np.array([7, 8, 9]))
    assert refusal.value.facts == {"channel": 2, "sample": 8}


def test_spread_over_batches_is_that_of_the_whole():
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    spread = Spread.of(3)
    for batch in np.array_split(values, 7):
        spread.update(batch)
    np.testing.assert_array_equal(spread.minimum, values.min(axis=0))
    np.testing.assert_array_equal(spread.maximum, values.max(axis=0))
    np.testing.assert_allclose(spread.mean, values.mean(axis=0, dtype=np.float64), rtol=1e-6)


def test_a_component_that_does_not_vary_is_dead_on_its_own_scale():
    columns = {"zero": [0, 0, 0], "constant": [7, 7, 7], "rounding": [1e4, 1e4 + 0.005, 1e4], "alive": [0, 0, 1e-3]}
    spread = Spread.of(4)
    spread.update(np.array(list(columns.values()), np.float32).T)
    assert dict(zip(columns, spread.dead.tolist(), strict=True)) == {
        "zero": True, "constant": True, "rounding": True, "alive": False,
    }  # fmt: skip


def test_evidence_of_an_unsigned_layer_is_what_lies_above_zero():
    values = np.array([[3.0, 1.0, 0.0, 0.0], [2.0, 1.0, 0.5, 0.1]], np.float32)
    ids = np.array([[0, 1, 2, 3], [0, 1, 2, EMPTY]])
    counted = evidence(values, ids, np.zeros(2, np.float32), sign=1, signed=False)
    assert counted.tolist() == [2, 3]


def test_evidence_of_a_signed_layer_lies_strictly_beyond_the_mean_on_its_side():
    values = np.array([[-1.0, -2.0, -3.0]], np.float32)
    ids, mean = np.array([[0, 1, 2]]), np.array([-2.0], np.float32)
    assert evidence(values, ids, mean, sign=1, signed=True).tolist() == [1]
    assert evidence(values, ids, mean, sign=-1, signed=True).tolist() == [1]
