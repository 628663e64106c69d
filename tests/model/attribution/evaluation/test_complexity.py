import math

import pytest
import torch

from services.model.attribution.evaluation import (
    completeness_gap,
    effective_complexity,
    entropy,
    gini,
    interval,
    paired_interval,
)
from services.model.attribution.evaluation.errors import BadMaps


def test_gini_of_even_single_and_graded_maps():
    maps = torch.tensor([[1.0, 1, 1, 1], [0, 0, -5, 0], [1, 2, 3, 4]])
    assert gini(maps).tolist() == pytest.approx([0, 0.75, 0.25])
    assert math.isnan(gini(torch.zeros(1, 4)))


def test_entropy_of_even_and_single_maps():
    assert entropy(torch.tensor([[1.0, -1, 1, -1], [0, 2, 0, 0]])).tolist() == pytest.approx([math.log(4), 0])


def test_effective_complexity_does_not_depend_on_the_unit():
    maps = torch.tensor([[1.0, 1e-7, 0.5, 0]])
    assert effective_complexity(maps).item() == effective_complexity(1e-6 * maps).item() == 2


def test_completeness_is_a_residual_not_an_equality():
    """Quantus 0.6.0 compares floats for equality, after it normalised the attributions away."""
    maps = torch.tensor([[0.1, 0.2, 0.3], [1.0, 1.0, 1.0]])
    gap = completeness_gap(maps, torch.tensor([0.6, 4.0]))
    assert gap[0].item() == pytest.approx(0, abs=1e-7)
    assert gap[1].item() == 0.25
    assert completeness_gap(maps[1:], torch.tensor([4.0]), baseline=torch.tensor([1.0])).item() == 0
    with pytest.raises(BadMaps):
        completeness_gap(maps, torch.tensor([1.0]))


def test_intervals_cover_the_mean_and_count_what_is_undefined():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[:10] = torch.nan
    found = interval(values)
    assert (found.n, found.undefined) == (390, 10)
    assert found.mean == pytest.approx(values[10:].mean().item())
    half = 1.96 * values[10:].std().item() / 390**0.5
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)
    assert interval(values) == found


def test_a_paired_interval_is_narrower_than_the_methods_noise():
    base = torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = paired_interval(base + 0.1, base)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_nothing_defined_has_no_interval():
    assert math.isnan(interval(torch.full((3,), math.nan)).mean)
