"""Sparsity, pruning criteria, nested masks."""

import pytest
import torch
from torch import nn

from services.model.training.errors import FeedbackOptionError, PruneAllError
from services.model.training.pruning import hold_masks, masks_of, pruned, scores
from services.model.training.sparsity import all_weights, gini, sign_flips, weights_of


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).eval()


def test_gini_of_equal_and_of_single_weights():
    """The reference counts from 0 and is low by 2/n."""
    assert gini(torch.full((50,), -0.3)) == pytest.approx(0, abs=1e-12)
    assert gini(torch.eye(1, 40)[0]) == pytest.approx(1 - 1 / 40, abs=1e-12)
    assert gini(torch.tensor([1.0, 3.0])) == pytest.approx(0.25)
    assert gini(torch.zeros(5)) == 0


def test_sign_flips_count_changes_of_sign_only():
    before = {"a": torch.tensor([1.0, -1.0, 0.0, 2.0])}
    assert sign_flips(before, {"a": torch.tensor([-1.0, -2.0, 3.0, 0.0])}) == 0.25


def test_exactly_the_smallest_share_goes_and_larger_amounts_nest(model):
    found = scores(model, "magnitude")
    half, more = masks_of(found, 0.5), masks_of(found, 0.7)
    flat = torch.cat([mask.flatten() for mask in half.values()])
    assert int((~flat).sum()) == flat.numel() // 2
    size = all_weights(model).abs()
    assert size[~flat].max() <= size[flat].min()
    assert all(bool((half[name] | ~more[name]).all()) for name in half)


def test_the_layer_scope_takes_the_same_share_of_each_layer(model):
    masks = masks_of(scores(model, "magnitude"), 0.5, scope="layer")
    assert [int((~mask).sum()) for mask in masks.values()] == [12, 9]


def test_ties_go_by_place():
    mask = masks_of({"w": torch.ones(2, 3)}, 0.5)["w"]
    assert mask.tolist() == [[False, False, False], [True, True, True]]


def test_relevance_is_the_weight_times_the_gradient_of_the_true_logit(model):
    x = torch.randn(20, 4)
    y = model(x).argmax(-1)
    y[:5] = (y[:5] + 1) % 3  # classified wrongly: no say
    logits = model(x)[torch.arange(20), y][5:].sum()
    due = torch.autograd.grad(logits, model[0].weight)[0] * model[0].weight
    found = scores(model, "relevance", [(x[:8], y[:8]), (x[8:], y[8:])])
    torch.testing.assert_close(found["0.weight"], due.abs().detach(), atol=1e-5, rtol=1e-4)
    each = sum(
        (torch.autograd.grad(model(x[i : i + 1])[0, y[i]], model[0].weight)[0] * model[0].weight).abs()
        for i in range(5, 20)
    )
    torch.testing.assert_close(
        scores(model, "abs_relevance", [(x, y)])["0.weight"], each.detach(), atol=1e-5, rtol=1e-4
    )


def test_random_scores_follow_their_seed(model):
    one, same, other = (scores(model, "random", seed=seed)["0.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_weights_come_back_and_held_masks_stay(model):
    masks, before = masks_of(scores(model, "magnitude"), 0.5), all_weights(model)
    with pruned(model, masks):
        assert int((all_weights(model) == 0).sum()) == before.numel() // 2
    assert torch.equal(all_weights(model), before)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    handle = hold_masks(model, optimiser, masks)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(8, 4)).square().sum().backward()
        optimiser.step()
    assert all(not weights_of(model)[name][~mask].any() for name, mask in masks.items())
    handle.remove()


def test_bad_requests_are_refused(model):
    with pytest.raises(PruneAllError):
        masks_of(scores(model, "magnitude"), 1.0)
    with pytest.raises(FeedbackOptionError, match="needs data"):
        scores(model, "relevance")
    with pytest.raises(FeedbackOptionError, match="magnitude"):
        scores(model, "size")
