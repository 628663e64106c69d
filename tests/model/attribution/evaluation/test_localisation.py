import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from services.model.attribution.evaluation import (
    LOCALISATION,
    attribution_localisation,
    auc,
    focus,
    mass_accuracy,
    patch_maps,
    patch_masks,
    pixel_maps,
    pointing_game,
    rank_accuracy,
    top_k_intersection,
)
from services.model.attribution.evaluation.errors import BadMaps, BadMetricParameter

MAP = torch.tensor([[[4.0, 1.0], [-3.0, 2.0]]])
MASK = torch.tensor([[[True, False], [False, True]]])
EMPTY = torch.zeros_like(MASK)


def test_golden_figures_of_a_map_that_fits_on_a_hand():
    assert pointing_game(MAP, MASK).item() == 1
    assert pointing_game(MAP, MASK, weighted=True).item() == 0.5
    assert mass_accuracy(MAP, MASK).item() == pytest.approx(6 / 7)
    assert mass_accuracy(MAP, MASK, evidence="absolute").item() == pytest.approx(6 / 10)
    assert rank_accuracy(MAP, MASK).item() == 1
    assert rank_accuracy(MAP, MASK, evidence="absolute").item() == 0.5
    assert top_k_intersection(MAP, MASK, k=3).item() == pytest.approx(2 / 3)
    assert top_k_intersection(MAP, MASK, k=1, concept_influence=True).item() == 2
    assert attribution_localisation(MAP, MASK, weighted=True).item() == pytest.approx(6 / 7 * 4 / 2)
    assert auc(MAP, MASK).item() == 1
    assert auc(MAP, MASK, evidence="absolute").item() == pytest.approx(0.75)


@pytest.mark.parametrize("metric", LOCALISATION.values(), ids=LOCALISATION)
def test_an_empty_mask_is_undefined_and_never_a_hit(metric):
    extra = {"k": 2} if metric is top_k_intersection else {}
    figures = metric(torch.cat([MAP, MAP]), torch.cat([EMPTY, MASK]), **extra)
    assert math.isnan(figures[0])
    assert not math.isnan(figures[1])


def test_a_constant_map_scores_what_chance_would():
    constant = torch.ones(1, 4, 4)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :2] = True
    assert pointing_game(constant, mask).item() == 2 / 16
    assert rank_accuracy(constant, mask).item() == 2 / 16
    assert top_k_intersection(constant, mask, k=5).item() == 2 / 16
    assert auc(constant, mask).item() == 0.5
    assert attribution_localisation(constant, mask, weighted=True).item() == 1


def test_ties_at_the_threshold_count_by_their_share():
    tied = torch.tensor([[3.0, 1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, False, False]])
    assert rank_accuracy(tied, mask).item() == pytest.approx((1 + 1 / 3) / 2)


def test_auc_equals_scikit_learn_with_many_ties():
    draw = torch.Generator().manual_seed(1)
    maps = torch.randint(-3, 4, (8, 60), generator=draw).double()
    masks = torch.rand(8, 60, generator=draw) < 0.3
    expected = [roc_auc_score(mask.numpy(), scores.numpy()) for mask, scores in zip(masks, maps, strict=True)]
    assert auc(maps, masks).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_mask_over_everything_leaves_the_auc_undefined():
    assert math.isnan(auc(MAP, torch.ones_like(MASK)))


def test_a_map_without_positive_evidence_has_no_shares():
    assert math.isnan(mass_accuracy(-MAP.abs(), MASK))


def test_a_batch_is_the_samples_one_by_one():
    draw = torch.Generator().manual_seed(2)
    maps = torch.randn(5, 6, 6, generator=draw)
    masks = torch.rand(5, 6, 6, generator=draw) < 0.4
    for name, metric in LOCALISATION.items():
        extra = {"k": 7} if name == "top_k_intersection" else {}
        single = torch.cat([metric(maps[i : i + 1], masks[i : i + 1], **extra) for i in range(5)])
        assert torch.equal(metric(maps, masks, **extra), single), name


def test_localisation_does_not_depend_on_batch_or_channels():
    """Quantus 0.6.0 takes the pixel count from two samples fewer, so that its weight depends on the batch."""
    for batch in (1, 2, 4):
        maps = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(3)).expand(batch, 8, 8)
        mask = torch.zeros(batch, 8, 8, dtype=torch.bool)
        mask[:, :4, :4] = True
        share = (maps[0, :4, :4].sum() / maps[0].sum()).item()
        assert attribution_localisation(maps, mask, weighted=True).tolist() == pytest.approx([share * 4] * batch)


def test_negative_evidence_is_no_localisation():
    """Quantus 0.6.0 takes absolute values by default, so that evidence against the class counts for it."""
    against = torch.tensor([[[-9.0, 1.0], [0.0, 0.0]]])
    mask = torch.tensor([[[True, False], [False, False]]])
    assert attribution_localisation(against, mask).item() == 0


def test_signed_mass_is_refused():
    with pytest.raises(BadMetricParameter):
        mass_accuracy(MAP, MASK, evidence="signed")


def test_focus_of_a_mosaic():
    mosaic = torch.zeros(1, 4, 4)
    mosaic[0, 0, 0], mosaic[0, 3, 3], mosaic[0, 0, 3] = 3.0, 1.0, -5.0
    cells = torch.tensor([[[True, False], [False, False]]])
    assert focus(mosaic, cells).item() == 0.75


def test_patches_sum_pixels_and_take_the_majority_of_the_mask():
    maps = torch.arange(16.0).view(1, 4, 4)
    assert patch_maps(maps, 2).tolist() == [[[10, 18], [42, 50]]]
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :3] = True
    assert patch_masks(mask, 2).tolist() == [[[True, False], [False, False]]]
    assert patch_masks(mask, 2, share=0.25).tolist() == [[[True, True], [False, False]]]


def test_channels_are_summed_with_their_sign():
    assert pixel_maps(torch.tensor([[[[1.0]], [[-3.0]]]])).item() == -2


@pytest.mark.parametrize(
    ("maps", "masks"),
    [
        (MAP * math.nan, MASK),
        (MAP, torch.ones(1, 3, 3)),
        (MAP, MASK * 0.5),
        (torch.zeros(0, 4), torch.zeros(0, 4)),
    ],
    ids=["nan", "shape", "grey mask", "no sample"],
)
def test_what_cannot_be_measured_is_refused(maps, masks):
    with pytest.raises(BadMaps):
        rank_accuracy(maps, masks)


def test_k_beyond_the_features_is_refused():
    with pytest.raises(BadMetricParameter):
        top_k_intersection(MAP, MASK, k=5)
