"""Examples along all that a component does."""

import numpy as np
import pytest

from contracts.errors import UnknownComponent, UnknownLayer, UnknownSnapshot
from services.explanation import collect
from services.kit.arrays import load_arrays
from tests.explanation.planted import CALLER, STRANGER, N


def column(built, layer: str, index: int) -> np.ndarray:
    opened = built.service.opened(CALLER, "colours")
    block, place = divmod(index, collect.BLOCK)
    return load_arrays(opened.path(f"columns/{layer}"))[f"block_{block:05d}"][:, place].astype(np.float32)


@pytest.mark.parametrize(("layer", "sign"), [("maps", 1), ("tokens", 1), ("tokens", -1)])
def test_sets_of_equal_steps_hold_every_sample_once_and_show_what_lies_in_them(built, layer, sign):
    values = column(built, layer, 2)
    found = built.service.example_range(CALLER, "colours", layer, 2, sign, "activation", 5, 4)
    assert (found.n, len(found.sets), sum(one.n for one in found.sets)) == (N, 5, N)
    step = (values.max() - values.min()) / 5
    ends = [values.max() - k * step if sign > 0 else values.min() + k * step for k in range(6)]
    for number, one in enumerate(found.sets):
        assert sorted((ends[number], ends[number + 1])) == pytest.approx([one.low, one.high], abs=1e-5)
        assert len(one.examples) == min(4, one.n)
        for example in one.examples:
            assert one.low - 1e-6 <= example.activation <= one.high + 1e-6
            assert example.activation == values[example.sample]
    counted = np.histogram(values, bins=np.sort(np.asarray(ends, np.float32)))[0]
    assert [one.n for one in found.sets] == (counted[::-1] if sign > 0 else counted).tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_sets_of_equal_size_follow_the_order_of_activations(built, sign):
    values = column(built, "tokens", 1)
    found = built.service.example_range(CALLER, "colours", "tokens", 1, sign, "quantile", 7, 24)
    assert {one.n for one in found.sets} <= {N // 7, N // 7 + 1}
    ranked = np.sort(values)[::-1] if sign > 0 else np.sort(values)
    assert found.sets[0].examples[0].activation in ranked[:2]
    shown = [example.activation for one in found.sets for example in one.examples]
    assert shown == sorted(shown, reverse=sign > 0)
    first = found.sets[0]
    assert (first.low, first.high) == (ranked[: first.n].min(), ranked[: first.n].max())


def test_examples_of_a_set_are_spread_over_it(built):
    values = column(built, "maps", 0)
    (first, *_) = built.service.example_range(CALLER, "colours", "maps", 0, 1, "quantile", 2, 3).sets
    order = np.argsort(-values, kind="stable")[: first.n]
    assert [one.sample for one in first.examples] == [int(order[int((k + 0.5) * first.n / 3)]) for k in range(3)]


def test_a_component_that_never_changes_has_one_set(built):
    tables = built.service.opened(CALLER, "colours").tables("maps")
    (dead, *_) = np.flatnonzero(tables.examples["dead"])
    found = built.service.example_range(CALLER, "colours", "maps", int(dead), 1, "activation", 8, 2)
    assert [one.n for one in found.sets] == [N]
    assert found.sets[0].low == found.sets[0].high


def test_what_is_not_there_is_refused(built):
    with pytest.raises(UnknownLayer):
        built.service.example_range(CALLER, "colours", "sky", 0)
    with pytest.raises(UnknownComponent):
        built.service.example_range(CALLER, "colours", "maps", 10_000)
    with pytest.raises(UnknownComponent):
        built.service.example_range(CALLER, "colours", "maps", 0, -1)
    assert built.service.example_range(CALLER, "colours", "maps", 0).by == "activation"


def test_other_workspaces_see_nothing(built):
    with pytest.raises(UnknownSnapshot):
        built.service.example_range(STRANGER, "colours", "maps", 0)
