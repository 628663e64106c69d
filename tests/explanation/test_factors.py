"""Components ranked by how well they detect a recorded property of the samples."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from contracts.errors import UnknownFactor, UnknownLayer
from tests.explanation.planted import CALLER, CONCEPTS, N, activations, concepts_of


def test_the_detector_of_a_concept_leads_and_figures_are_scikit_learns(built):
    shown = concepts_of(N)
    for concept, name in enumerate(CONCEPTS):
        scores = built.service.factors(CALLER, "colours", "maps", f"label={name}", k=200)
        assert (scores.n, scores.n_with) == (N, int((shown == concept).sum()))
        areas = [score.auroc for score in scores.components]
        assert areas == sorted(areas, reverse=True)
        values = activations(N)["maps"]["values"].astype(np.float16)
        for score in scores.components[:10]:
            wanted = roc_auc_score(shown == concept, values[:, score.component.index] * score.component.sign)
            assert score.auroc == pytest.approx(wanted, abs=1e-12)
        assert scores.components[0].auroc > 0.95


def test_the_two_sides_of_a_signed_component_have_opposite_scores(built):
    scores = built.service.factors(CALLER, "colours", "tokens", f"label={CONCEPTS[0]}", k=200).components
    sides = {(score.component.index, score.component.sign): score.auroc for score in scores}
    assert all(sides[index, 1] + sides[index, -1] == pytest.approx(1) for index, sign in sides if sign < 0)
    assert any(sign < 0 for _, sign in sides)


def test_what_is_not_recorded_is_refused_with_what_is(built):
    with pytest.raises(UnknownFactor) as refusal:
        built.service.factors(CALLER, "colours", "maps", "artefact=tag")
    assert f"label={CONCEPTS[0]}" in refusal.value.facts["factors"]
    with pytest.raises(UnknownLayer):
        built.service.factors(CALLER, "colours", "sky", f"label={CONCEPTS[0]}")
