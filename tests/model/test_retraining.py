"""Retraining against an artefact: the split, the groups, the batches, and checkpoints that change nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from contracts.corrections import NoCounterexamples
from services.model.retrained import require_counterexamples
from services.model.retraining import Checkpoint, Recipe, Retraining, balanced, groups, otsu, presence
from services.model.training.errors import NonFiniteParameterError


def brute_force_otsu(values):
    def between(t):
        low, high = values[values <= t], values[values > t]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else -1

    return max(np.unique(values), key=between)


@pytest.mark.parametrize("seed", range(5))
def test_otsu_finds_the_split_of_largest_variance_between(seed):
    values = np.random.default_rng(seed).normal(size=60).round(1)
    assert otsu(values) == brute_force_otsu(values)


def test_presence_follows_the_units_and_ignores_their_scale_and_the_dead_ones():
    draw = np.random.default_rng(0)
    truth = np.arange(200) % 4 == 0
    strong = truth[:, None] * 3 + draw.random((200, 3))
    activations = np.concatenate([strong * [1, 100, 0.01], np.zeros((200, 1)), draw.random((200, 2)) * 50], axis=1)
    assert (presence(activations, [0, 1, 2, 3]) == truth).all()
    assert not presence(activations, [3]).any()


def test_every_group_comes_equally_often_and_a_batch_depends_on_its_step_alone():
    truth = np.array([0] * 90 + [1] * 9 + [2] * 1)
    present = np.arange(100) % 3 == 0
    found = groups(truth, present)
    assert set(found) == {(0, False), (0, True), (1, False), (1, True), (2, True)}
    rows = list(found.values())
    batch = balanced(rows, 50, seed=1, step=7)
    counts = [int(np.isin(batch, some).sum()) for some in rows]
    assert counts == [10] * 5
    assert (balanced(rows, 50, seed=1, step=7) == batch).all() and (balanced(rows, 50, seed=1, step=8) != batch).any()


def session(seed=0, **told):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(1))
    truth, present = (x[:, 0] > 0).long().numpy(), (x[:, 1] > 0).numpy()
    recipe = Recipe(steps=12, batch=16, seed=seed, **told)
    return Retraining(model, recipe, truth, present, lambda rows: x[torch.from_numpy(rows)])


def test_cut_into_segments_it_ends_with_the_same_bytes():
    whole = session().run(12)
    first = session().run(5)
    kept = Checkpoint.of(first.arrays(), first.step)
    second = session().run(12, kept)
    assert second.step == 12 and whole.arrays().keys() == second.arrays().keys()
    for name, value in whole.arrays().items():
        assert value.tobytes() == second.arrays()[name].tobytes(), name


def test_normalisation_keeps_its_statistics_and_the_parameters_move():
    one = session()
    before = {name: part.clone() for name, part in one.model.state_dict().items()}
    after = one.run(12).model
    assert torch.equal(before["1.running_mean"], after["1.running_mean"])
    assert all(not torch.equal(before[name], after[name]) for name in ("0.weight", "3.bias"))


def test_the_rate_is_constant_and_then_falls_to_nothing():
    recipe = Recipe(steps=100, rate=0.5)
    assert recipe.rate_at(0) == recipe.rate_at(40) == 0.5
    assert recipe.rate_at(70) == pytest.approx(0.25) and 0 < recipe.rate_at(99) < 0.01


def test_what_is_not_finite_is_named():
    broken = session()
    with torch.no_grad():
        broken.model[3].weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteParameterError, match="is not finite after 2 steps"):
        broken.run(2)


def test_pictures_that_never_show_the_artefact_apart_are_refused():
    truth = np.repeat([0, 1, 2], 10)
    with pytest.raises(NoCounterexamples, match=r"a 0 and 10, b 10 and 0, c 10 and 0"):
        require_counterexamples(truth, truth == 0, ["a", "b", "c"])
    require_counterexamples(truth, np.arange(30) % 2 == 0, ["a", "b", "c"])
