"""A training cut into epochs: the same bytes however it is cut, and honest figures."""

import numpy as np
import pytest
import torch
from torch import nn

from contracts.errors import EmptyClassError, InvalidRequest, LabelsMissingError, UnknownLayer
from contracts.training import TrainingRequest
from services.model.training.errors import NonFiniteParameterError
from services.model.training.session import Checkpoint, Session, result_of, split
from services.model.training.sparsity import near_zero, weights_of
from services.model.training.spiking import SpikingNet

N, CLASSES = 120, 3


def pictures():
    """Three classes of 3x8x8 pictures that differ in which channel is bright."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(N) % CLASSES
    x = torch.randn(N, 3, 8, 8, generator=draw)
    x[torch.arange(N), y] += 1.5
    return x, [f"class {int(label)}" for label in y]


X, LABELS = pictures()


def model():
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, CLASSES),
    )  # fmt: skip


def request(**changes):
    told = {
        "name": "new",
        "model": "m_0",
        "dataset": "d_0",
        "epochs": 4,
        "batch": 16,
        "learning_rate": 0.5,
        "clip": None,
    }
    return TrainingRequest.model_validate(told | changes)


def run(asked, *, apart=False, begin=None):
    """All epochs in one session, or each in a session of its own with the checkpoint stored in between."""
    data, last, session = split(LABELS, [None] * N, asked.validation, asked.seed), None, None
    for epoch in range(asked.epochs):
        if session is None or apart:
            session = Session((begin or model)(), asked, data, lambda rows: X[list(rows)])
        if apart and last is not None:
            last = Checkpoint.of(
                {name: array.copy() for name, array in last.arrays().items()}, last.figures, stopped=last.stopped
            )
        last = session.epoch(epoch, last, lambda units: None)
        if last.stopped:
            break
    return last


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adam", "learning_rate": 0.02}, {"method": "gradient"}])
def test_epochs_in_separate_processes_end_with_the_same_bytes(changes):
    whole, pieces = run(request(**changes)), run(request(**changes), apart=True)
    assert whole.figures == pieces.figures
    one, two = whole.arrays(), pieces.arrays()
    assert one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("method", ["lfp", "gradient"])
def test_training_learns(method):
    figures = run(request(method=method, epochs=8)).figures
    assert figures[-1].validation_accuracy > 0.9 > figures[0].accuracy
    assert figures[-1].loss < figures[0].loss
    assert 0 < figures[-1].gini < 1 and figures[0].sign_flips <= figures[-1].sign_flips < 0.5


@pytest.mark.parametrize("reward", ["sigmoid", "margin", "misclassification"])
def test_other_rewards_teach_as_well_and_go_another_way(reward):
    figures = run(request(reward=reward, epochs=8)).figures
    assert figures[-1].validation_accuracy > 0.9 > figures[0].accuracy
    assert figures[0].loss != run(request(epochs=1)).figures[0].loss


def spiking():
    torch.manual_seed(7)
    return SpikingNet([nn.Sequential(nn.Flatten(), nn.Linear(192, 40)), nn.Linear(40, CLASSES)], steps=8)


@pytest.mark.parametrize(
    "changes", [{"reward": "rate_coded", "learning_rate": 5.0}, {}, {"method": "gradient", "learning_rate": 0.05}]
)
def test_spiking_nets_learn_by_either_way_and_are_cut_as_well(changes):
    asked = request(epochs=6, **changes)
    whole, pieces = run(asked, begin=spiking), run(asked, apart=True, begin=spiking)
    assert whole.figures[-1].validation_accuracy > 0.9
    one, two = whole.arrays(), pieces.arrays()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_reward_that_counts_spikes_needs_some():
    with pytest.raises(InvalidRequest, match="for spiking nets"):
        Session(model(), request(reward="rate_coded"), split(LABELS, [None] * N, 0.2, 0), lambda rows: X[list(rows)])


def test_weights_near_zero_are_counted_by_layer():
    weights = {"a": torch.tensor([1.0, 0.5e-3, 0.0]), "b": torch.tensor([[1e-6, -0.9e-6]]), "dead": torch.zeros(1)}
    assert near_zero(weights) == 3 / 6


def test_every_weight_is_in_the_histogram_once():
    last = run(request(epochs=1))
    held = last.figures[-1].weights
    assert sum(held.counts) == len(weights_in(last)) and len(held.edges) == len(held.counts) + 1
    middle = held.edges.index(-1.0)
    assert sum(held.counts[middle:]) == int((weights_in(last) >= 0.1).sum())


def weights_in(last):
    kept = model()
    kept.load_state_dict(last.model)
    return torch.cat([weight.abs().flatten() for weight in weights_of(kept).values()])


def test_patience_stops_and_keeps_the_best_epoch():
    last = run(request(epochs=60, patience=2, schedule="constant"))
    accuracies = [epoch.validation_accuracy for epoch in last.figures]
    best = accuracies.index(max(accuracies))
    assert last.stopped and len(accuracies) == best + 3 < 60
    upto = run(request(epochs=60, patience=60, schedule="constant"))  # the same way, further
    assert upto.figures[best] == last.figures[best]
    assert not all(torch.equal(last.best[name], last.model[name]) for name in last.best)
    assert result_of(last) is last.best


def test_frozen_modules_stay_as_they_are():
    last, before = run(request(freeze=["0", "1"])), model().state_dict()
    assert torch.equal(last.model["0.weight"], before["0.weight"])
    assert torch.equal(last.model["1.bias"], before["1.bias"])
    assert not torch.equal(last.model["6.weight"], before["6.weight"])


def test_a_module_to_freeze_that_is_not_there_is_refused_with_the_closest():
    data = split(LABELS, [None] * N, 0.2, 0)
    named = nn.Sequential()
    named.add_module("stem", nn.Conv2d(3, 4, 3))
    with pytest.raises(UnknownLayer, match="no module stam") as refusal:
        Session(named, request(freeze=["stam"]), data, lambda rows: X[list(rows)])
    assert refusal.value.facts["closest"] == ["stem"]


@pytest.mark.parametrize(
    ("schedule", "rates"), [("constant", [1, 1, 1]), ("cosine", [1, 0.5, 0]), ("onecycle", [0.04, 0.8117, 0])]
)
def test_learning_rates_are_a_function_of_the_moment(schedule, rates):
    data = split(LABELS, [None] * N, 0.2, 0)
    session = Session(model(), request(schedule=schedule, learning_rate=1.0), data, lambda rows: X[list(rows)])
    assert [session.rate(epoch) for epoch in (0, 2, 4)] == pytest.approx(rates, abs=1e-4)


def test_a_split_keeps_groups_together_and_names_what_is_missing():
    groups = [f"photo {index // 10}" for index in range(N)]
    data = split(LABELS, groups, 0.25, 3)
    assert not {groups[i] for i in data.train} & {groups[i] for i in data.validation}
    assert len(data.validation) == 30 and data.classes == ("class 0", "class 1", "class 2")
    with pytest.raises(LabelsMissingError, match="1 of 120 samples have no label"):
        split([None, *LABELS[1:]], groups, 0.25, 3)
    with pytest.raises(EmptyClassError, match="one group"):
        split(LABELS, ["photo"] * N, 0.25, 3)
    with pytest.raises(EmptyClassError, match="no training sample of photo"):
        split(groups, groups, 0.25, 3)


def test_a_training_that_blows_up_names_the_parameter():
    with pytest.raises(NonFiniteParameterError, match="is not finite"):
        run(request(learning_rate=100.0, method="gradient", clip=None, epochs=30, schedule="constant", momentum=0.99))


def test_bfloat16_learns_too_and_repeats_itself():
    asked = request(precision="bfloat16")
    whole, parts = run(asked), run(asked, apart=True)
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)
    assert all(part.dtype != torch.bfloat16 for part in whole.model.values()), "weights are kept in float32"
    assert whole.figures[-1].validation_accuracy > 0.8
    assert not torch.equal(whole.model["0.weight"], run(request()).model["0.weight"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(InvalidRequest, match="no CUDA device") as refused:
        run(request(device="cuda"))
    assert refused.value.field == "device"
