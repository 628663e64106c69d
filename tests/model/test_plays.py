"""Plays as the service tells them: from the score down, with places in the picture."""

import pytest
import torch

from contracts.attribution import PlaysRequest, SampleOf, UnknownMethod, UnknownOutput
from contracts.errors import UnknownSample
from services.model.attribution.composites import composite, without_biases
from services.model.attribution.rules import AffineRule
from services.model.attribution.sampler import Step
from services.model.plays import step_of
from tests.model.test_attributions import ME, models  # noqa: F401


def ask(**fields) -> PlaysRequest:
    return PlaysRequest.model_validate({"sample": SampleOf(dataset="d", index=1), "plays": 24} | fields)


@pytest.mark.parametrize(("net", "rule"), [("cnn", "gamma"), ("vit", "cp_gamma")])
def test_plays_lead_from_the_score_to_the_picture_or_are_absorbed(models, net, rule):  # noqa: F811
    found = models.plays(ME, net, ask(rule=rule, target=2))
    assert (found.target.index, found.rule, len(found.plays)) == (2, rule, 24)
    assert {play.steps[0].component for play in found.plays} == {2}  # the output they start from
    ended = [play for play in found.plays if play.ended == "picture"]
    assert len(ended) > 4
    for play in ended:
        assert play.steps[-1].function == "picture"
        assert play.steps[-1].component in (0, 1, 2)  # its colour
    placed = [step for play in found.plays for step in play.steps if step.x is not None]
    assert all(0 < step.x < 1 and 0 < step.y < 1 for step in placed)
    assert all(play.steps[-1].function != "picture" for play in found.plays if play.ended == "absorbed")
    assert found.picture.startswith(b"\x89PNG")
    again = models.plays(ME, net, ask(rule=rule, target=2))
    other = models.plays(ME, net, ask(rule=rule, target=2, seed=1))
    assert again == found != other


def test_biases_end_more_plays(models):  # noqa: F811
    absorbed = [
        sum(play.ended == "absorbed" for play in models.plays(ME, "cnn", ask(plays=64, biases=biases)).plays)
        for biases in (False, True)
    ]
    assert absorbed[0] < absorbed[1]


def test_without_biases_no_affine_rule_has_them():
    for name in ("gamma", "attnlrp", "epsilon_plus_flat"):
        rules = [each.rule for each in without_biases(composite(name)).assignments]
        affine = [rule for rule in rules if isinstance(rule, AffineRule)]
        assert affine and not any(rule.use_bias for rule in affine)
        assert any(each.rule.use_bias for each in composite(name).assignments if isinstance(each.rule, AffineRule)) or (
            name == "attnlrp"
        )


@pytest.mark.parametrize(
    ("step", "x", "y"),
    [
        (Step("conv2d", (0, 7, 1, 3), (1, 8, 4, 4)), 0.875, 0.375),
        (Step("unbind", (0, 1, 2, 3), (1, 2, 5, 8)), None, None),  # heads of an attention
        (Step("transpose", (0, 2, 1, 3), (1, 5, 2, 8)), None, None),
        (Step("linear", (0, 3, 5), (1, 5, 8)), 0.25, 0.75),  # a class token before four patches
        (Step("linear", (0, 0, 5), (1, 5, 8)), None, None),
        (Step("softmax", (0, 1, 2, 2), (1, 2, 4, 4)), None, None),
        (Step("linear", (0, 4), (1, 8)), None, None),
    ],
)
def test_places_are_shares_of_the_picture(step, x, y):
    found = step_of(step)
    assert (found.x, found.y) == (x, y)


def test_what_is_no_game_is_refused(models):  # noqa: F811
    for rule in ("gradient", "gradcam", "nothing"):
        with pytest.raises(UnknownMethod):
            models.plays(ME, "cnn", ask(rule=rule))
    with pytest.raises(UnknownOutput):
        models.plays(ME, "cnn", ask(target=99))
    with pytest.raises(UnknownSample):
        models.plays(ME, "cnn", ask(sample=SampleOf(dataset="d", index=999)))
    assert torch.is_grad_enabled()
