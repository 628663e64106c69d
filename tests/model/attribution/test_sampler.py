"""Plays are unbiased: their mean is the closed form, within its error."""

import pytest
import torch

from services.model.attribution import attribute, sample_plays
from services.model.attribution.errors import BadInputs
from tests.model.attribution.nets import FunctionalResidual, Transformer, doubles, mlp, seeded

DENSE = ["lrp0", "epsilon", "gamma", "zplus", "alpha2_beta1", "stake_cap", "sharp", "soft"]
CASES = [
    *((mlp, doubles(1, 12), rule, 200_000) for rule in DENSE),
    *((lambda: seeded(FunctionalResidual), doubles(1, 3, 6, 6), rule, 50_000) for rule in ("gamma", "zplus", "flat")),
    *((lambda: seeded(Transformer), doubles(1, 3, 8, 8), rule, 50_000) for rule in ("attnlrp", "cp_plus_abs")),
]


@pytest.mark.parametrize(
    ("make", "x", "rule", "plays"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_mean_over_plays_is_the_closed_form(make, x, rule, plays):
    model = make()
    exact, found = attribute(model, x, 1, rule), sample_plays(model, x, 1, rule, plays=plays)
    assert bool(((found.relevance - exact.relevance).abs() <= found.bound(5)).all())
    absorbed = sum(exact.diagnostics.absorbed.values())
    assert abs(found.absorbed - absorbed) <= 5 * found.absorbed_error + 5 * found.largest / plays
    assert found.largest > 0


def test_plays_of_a_mass_preserving_rule_all_weigh_the_score():
    found = sample_plays(mlp(), doubles(1, 12), 1, "magnitude", plays=1000)
    score = float(mlp()(doubles(1, 12))[0, 1])
    assert found.largest == pytest.approx(abs(score), rel=1e-3)


def test_a_kept_play_goes_from_the_score_to_an_input_or_is_absorbed():
    found = sample_plays(seeded(Transformer), doubles(1, 3, 8, 8), 1, "cp_gamma", plays=100, paths=20)
    assert len(found.paths) == 20
    assert {path[0].name for path in found.paths} == {"linear"}
    assert {path[0].entry for path in found.paths} == {(0, 1)}
    assert {path[-1].name for path in found.paths} <= {"input", "absorbed"}


def test_the_seed_decides():
    first, again, other = (sample_plays(mlp(), doubles(1, 12), 1, plays=100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.relevance, again.relevance)
    assert not torch.equal(first.relevance, other.relevance)


@pytest.mark.parametrize("arguments", [{"rule": "gradient"}, {"plays": 1}, {"inputs": doubles(2, 12)}])
def test_what_is_no_game_is_refused(arguments):
    given = {"inputs": doubles(1, 12)} | arguments
    with pytest.raises(BadInputs):
        sample_plays(mlp(), given.pop("inputs"), 0, **given)
