"""Verdicts, shares and evidence on hand-made numbers."""

import numpy as np

from services.explanation.audits.verdicts import (
    VERDICTS,
    Evidence,
    Rules,
    decide,
    discoveries_needed,
    distinct_examples,
    relevance_shares,
    totals,
)

RULES = Rules(fdr=0.05, min_distinct=5, min_clarity_z=1.0, unexpected=0.1)
NAN = np.nan


def verdicts(*, valid, spurious, forbidden, judged=True, distinct=9, clarity_z=3.0, share=0.0):
    n = len(valid)
    evidence = Evidence(
        np.broadcast_to(judged, n), np.broadcast_to(distinct, n), np.broadcast_to(clarity_z, n).astype(float),
        np.broadcast_to(share, n).astype(float),
    )  # fmt: skip
    columns = [np.asarray(q, float).reshape(n, -1) for q in (valid, spurious, forbidden)]
    return [VERDICTS[place] for place in decide(evidence, *columns, RULES)]


def test_a_component_is_named_by_the_lists_that_it_reaches():
    found = verdicts(
        valid=[0.5, 0.5, 0.01, 0.05, NAN], spurious=[0.5, 0.04, 0.01, 0.9, NAN], forbidden=[0.01, 0.9, 0.9, 0.9, NAN]
    )
    assert found == ["forbidden", "spurious", "mixed", "valid", "idle"]


def test_forbidden_beats_valid_and_one_concept_of_a_list_is_enough():
    assert verdicts(valid=[0.01], spurious=[0.01], forbidden=[[0.9, 0.05]]) == ["forbidden"]


def test_a_relevant_component_that_no_list_explains_is_unexpected():
    assert verdicts(valid=[0.2, 0.2], spurious=[0.2, 0.2], forbidden=[1, 1], share=[0.1, 0.09]) == [
        "unexpected",
        "idle",
    ]


def test_without_evidence_or_clarity_nothing_is_judged():
    q = {"valid": [0.5], "spurious": [0.001], "forbidden": [0.001]}
    assert verdicts(**q, distinct=4) == ["insufficient_evidence"]
    assert verdicts(**q, judged=False) == ["insufficient_evidence"]
    assert verdicts(**q, clarity_z=0.9) == ["unclear"]
    assert verdicts(**q, clarity_z=NAN) == ["unclear"]
    assert verdicts(**q, distinct=4, clarity_z=0.0) == ["insufficient_evidence"]


def test_an_empty_list_finds_nothing():
    assert verdicts(valid=[0.01], spurious=np.zeros((1, 0)), forbidden=np.zeros((1, 0))) == ["valid"]


def test_shares_are_of_absolute_relevance_and_totals_count_every_component_once():
    share = relevance_shares(np.array([3.0, -1.0, 0.0, 4.0]))
    assert share.tolist() == [0.375, 0.125, 0.0, 0.5]
    assert relevance_shares(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    counts, shares = totals(np.array([1, 1, 5, 3], np.uint8), share)
    assert counts.tolist() == [0, 2, 0, 1, 0, 1, 0, 0]
    assert shares.tolist() == [0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]


def test_how_many_discoveries_are_needed_at_the_smallest_p():
    assert discoveries_needed(1e-6, 1000, 0.05) == 1
    assert discoveries_needed(1e-4, 1000, 0.05) == 2
    assert discoveries_needed(0.001, 1000, 0.05) == 20


def test_examples_of_one_group_count_once_and_empty_places_not_at_all():
    group = np.array([0, 0, 1, 2, 2])
    ids = np.array([[0, 1, 2, 3], [0, 1, -1, -1], [3, 4, 2, 0], [-1, -1, -1, -1]])
    assert distinct_examples(ids, np.array([4, 2, 2, 0]), group).tolist() == [3, 1, 1, 0]
