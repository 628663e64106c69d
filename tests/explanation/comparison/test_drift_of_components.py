import numpy as np
import pytest

from services.explanation.comparison.drift import FATES, State, drift_of, jaccard


def state(vectors, *, ids, values, good=None, clarity=0.8, ceiling=0.9) -> State:
    rows = np.array(vectors, np.float32)
    count = len(rows)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return State(
        vectors=unit,
        centred=unit,
        ceiling=np.full(count, ceiling),
        good=np.ones(count, bool) if good is None else np.array(good),
        ids=np.array(ids, np.int64),
        values=np.array(values, np.float32),
        n_valid=(np.array(ids) >= 0).sum(axis=1),
        clarity=np.full(count, clarity, np.float32),
    )


BANK = np.array([[0, 0, 0, 1.0]] * 3, np.float32)
EYE = np.eye(4).tolist()
IDS = [[0, 1], [2, 3], [4, 5]]
ONES = [[1.0, 1.0]] * 3


def fates(drift) -> list[str]:
    return [FATES[number] for number in drift.fate]


def test_a_state_has_not_drifted_from_itself():
    same = state(EYE[:3], ids=IDS, values=ONES)
    drift = drift_of(same, same, BANK, threshold=0.5, same_samples=True)
    assert fates(drift) == ["kept"] * 3
    assert drift.cosine.tolist() == [1, 1, 1] and drift.overlap.tolist() == [1, 1, 1]
    assert drift.scale.tolist() == [1, 1, 1] and drift.clarity_change.tolist() == [0, 0, 0]
    assert drift.nearest.tolist() == [0, 1, 2]


def test_components_that_changed_places_have_changed_and_are_found_where_they_went():
    old = state(EYE[:3], ids=IDS, values=ONES)
    new = state([EYE[1], EYE[0], EYE[2]], ids=[IDS[1], IDS[0], IDS[2]], values=ONES)
    drift = drift_of(old, new, BANK, threshold=0.5, same_samples=True)
    assert fates(drift) == ["changed", "changed", "kept"]
    assert drift.nearest.tolist() == [1, 0, 2]
    assert drift.overlap.tolist() == [0, 0, 1]


def test_stronger_activations_are_a_change_of_scale_and_not_of_meaning():
    old = state(EYE[:3], ids=IDS, values=[[1, 3], [-1, -1], [0, 0]])
    new = state(EYE[:3], ids=IDS, values=[[2, 6], [-0.5, -0.5], [1, 1]])
    drift = drift_of(old, new, BANK, threshold=0.5, same_samples=False)
    assert drift.scale[:2].tolist() == [2, 0.5] and np.isnan(drift.scale[2])
    assert np.isnan(drift.overlap).all()


def test_components_are_lost_gained_or_absent():
    old = state(EYE[:3], ids=IDS, values=ONES, good=[True, False, False])
    new = state(EYE[:3], ids=IDS, values=ONES, good=[False, True, False])
    drift = drift_of(old, new, BANK, threshold=0.5, same_samples=True)
    assert fates(drift) == ["lost", "gained", "absent"]
    assert np.isnan(drift.cosine).all()


def test_a_diffuse_component_is_not_said_to_have_changed():
    old = state(EYE[:3], ids=IDS, values=ONES, ceiling=0.1)
    new = state([EYE[1], EYE[0], EYE[2]], ids=IDS, values=ONES)
    assert fates(drift_of(old, new, BANK, threshold=0.5, same_samples=True)) == ["undecided"] * 2 + ["kept"]


def test_jaccard_counts_shared_samples_and_no_empty_places():
    ours = np.array([[1, 2, 3], [4, -1, -1], [-1, -1, -1], [7, 8, -1]])
    theirs = np.array([[3, 1, 9], [4, -1, -1], [-1, -1, -1], [1, 2, 3]])
    assert jaccard(ours, theirs)[[0, 1, 3]] == pytest.approx([0.5, 1, 0])
    assert np.isnan(jaccard(ours, theirs)[2])
