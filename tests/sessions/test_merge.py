"""Two changes of one text: nothing that anybody wrote is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.sessions.merge import merge

BASE = "one\ntwo\nthree\n"
LINES = st.lists(st.sampled_from("abcdefgh"), max_size=7).map(lambda lines: "".join(f"{line}\n" for line in lines))
TEXTS = st.text(alphabet="ab\n", max_size=12)


@pytest.mark.parametrize(
    ("ours", "theirs", "merged", "both"),
    [
        ("one\ntwo\nthree\n", "ONE\ntwo\nthree\n", "ONE\ntwo\nthree\n", False),
        ("ONE\ntwo\nthree\n", "one\ntwo\nTHREE\n", "ONE\ntwo\nTHREE\n", False),
        ("zero\none\ntwo\nthree\n", "one\ntwo\nthree\nfour\n", "zero\none\ntwo\nthree\nfour\n", False),
        ("one\nTWO\nthree\n", "one\nzwei\nthree\n", "one\nTWO\nzwei\nthree\n", True),
        ("one\nthree\n", "one\nzwei\nthree\n", "one\nzwei\nthree\n", False),
        ("one\nthree\n", "one\ntwo\nTHREE\n", "one\nTHREE\n", False),
        ("", "one\ntwo\nTHREE\n", "THREE\n", False),
        ("one\ntwo\nthree\nours", "one\ntwo\nthree\ntheirs", "one\ntwo\nthree\nours\ntheirs", True),
    ],
    ids=["one side", "apart", "around", "same line", "deleted and changed", "deleted apart", "emptied", "no last end"],
)
def test_changes_are_merged_by_lines_and_kept_twice_where_they_meet(ours, theirs, merged, both):
    found = merge(BASE, ours, theirs)
    assert (found.text, found.both) == (merged, both)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(base=LINES, ours=LINES, theirs=LINES)
def test_every_line_that_somebody_added_is_in_the_result(base, ours, theirs):
    kept = merge(base, ours, theirs).text.split("\n")
    for side in (ours, theirs):
        for line in set(side.split("\n")) - set(base.split("\n")):
            assert line in kept


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(base=TEXTS, changed=TEXTS)
def test_a_change_of_one_side_is_taken_exactly(base, changed):
    assert merge(base, base, changed).text == merge(base, changed, base).text == merge(base, changed, changed).text
    assert merge(base, base, changed).text == changed
