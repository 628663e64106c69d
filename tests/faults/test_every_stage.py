"""A worker is killed in the middle of every stage kind that there is; each job ends with the bytes of a quiet run."""

import sys

import pytest

from orchestration.bootstrap import build
from tests.faults.everything import artifacts, run_all, settings_in


@pytest.mark.slow
def test_a_kill_in_every_stage_kind_loses_nothing_and_changes_no_byte(quiet, capsys):
    folder = quiet.home.parent
    disturbed = settings_in(folder / "disturbed")
    killed = run_all(disturbed, folder, kills=True)
    expected, found = artifacts(quiet.home), artifacts(disturbed.home)
    differing = sum(expected[key] != found.get(key) for key in expected)
    with capsys.disabled():
        sys.stderr.write(
            f"\nkilled in {len(killed)} stage kinds ({', '.join(killed)}): {differing} lost or differing\n"
        )
    assert build(quiet).registry.names == set(killed), "a stage kind that no job here has"
    assert expected == found
