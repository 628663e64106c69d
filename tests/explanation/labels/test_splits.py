import numpy as np
import pytest

from contracts.errors import HeldOutOverlap, TooFewGroups
from services.explanation.labels.splits import Split, split_by_group


def test_groups_stay_whole_and_shares_are_kept():
    groups = np.repeat(np.arange(200), 5)
    split = split_by_group(groups, seed=1)
    parts = [split.probe, split.tune, split.held_out]
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    assert [len(part) / 1000 for part in parts] == pytest.approx([0.70, 0.05, 0.25], abs=0.02)
    seen = [set(groups[part].tolist()) for part in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_every_part_has_a_group_even_with_ten():
    for seed in range(20):
        split = split_by_group(np.arange(10), seed=seed)
        assert min(len(split.probe), len(split.tune), len(split.held_out)) >= 1


def test_too_few_groups_are_an_error_and_never_all_for_everything():
    with pytest.raises(TooFewGroups, match="9 groups"):
        split_by_group(np.repeat(np.arange(9), 100))


def test_samples_that_made_labels_may_not_judge_them():
    with pytest.raises(HeldOutOverlap):
        Split(np.array([0, 1]), np.array([2]), np.array([1, 3]), np.arange(4))
    with pytest.raises(HeldOutOverlap):
        Split(np.array([0]), np.array([2]), np.array([1]), np.array([7, 7, 8]))
