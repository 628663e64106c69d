"""Which of the cuts that were tried is taken."""

import pytest

from contracts.training import PruningRequest, PruningStep
from services.model.errors import UncutError
from services.model.pruned import chosen_step


def step(amount, accuracy):
    return PruningStep(amount=amount, channels=1, parameters=1, macs=1, accuracy=accuracy)


def asked(**fields):
    return PruningRequest(name="n", model="m_1", dataset="d_1", amounts=[0.1, 0.2, 0.4], **fields)


TRIED = [step(0.1, 0.90), step(0.2, 0.885), step(0.4, 0.93)]


def test_the_largest_share_within_the_loss_is_taken_and_one_that_is_named_whatever_it_costs():
    before = step(0.0, 0.90)
    assert chosen_step(before, TRIED[:2], asked(loss=0.0)).amount == 0.1
    assert chosen_step(before, TRIED[:2], asked(loss=0.02)).amount == 0.2
    assert chosen_step(before, TRIED, asked(loss=0.0)).amount == 0.4  # one that got better is within any loss
    assert chosen_step(step(0.0, 1.0), TRIED, asked(amount=0.2, loss=0.0)).amount == 0.2


def test_without_a_share_within_the_loss_the_best_is_named():
    with pytest.raises(UncutError, match=r"the best, 0\.4, has 0\.930"):
        chosen_step(step(0.0, 1.0), TRIED, asked(loss=0.02))
