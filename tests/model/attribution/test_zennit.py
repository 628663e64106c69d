"""Closed forms agree with zennit in float64."""

import pytest

from benchmarks.zennit_peer import NETS, RULES, build, canonical, zennit_relevance
from services.model.attribution import attribute


@pytest.fixture(scope="module", params=NETS)
def net(request):
    model, x = build(request.param)
    return model, canonical(model), x


@pytest.mark.parametrize("rule", RULES)
def test_relevance_is_zennits_to_ten_digits_and_conserved(net, rule):
    model, prepared, x = net
    theirs = zennit_relevance(prepared, x, 3, rule)
    ours = attribute(model, x, 3, rule)
    assert float((ours.relevance - theirs).abs().max() / theirs.abs().max()) < 1e-10
    assert ours.diagnostics.conservation_gap < 1e-10
    assert ours.diagnostics.forward_change == 0
