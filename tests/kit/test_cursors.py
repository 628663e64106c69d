"""Cursors: what a listing made comes back; anything else is refused and nothing else happens."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidRequest
from services.kit.cursors import decode_cursor, decode_moment, encode_cursor

PRINTABLE = st.text().filter(str.isprintable)
VALUES = st.one_of(PRINTABLE, st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), st.none())


@given(st.lists(VALUES, max_size=5))
def test_the_place_comes_back_from_text_that_a_url_takes(place):
    cursor = encode_cursor(place)
    assert decode_cursor(cursor, length=len(place)) == place
    assert cursor.isascii() and not set(cursor) & set("+/=&?#")


@given(st.text(max_size=300))
def test_any_text_is_a_place_or_a_refusal(text):
    place = None
    with suppress(InvalidRequest):
        place = decode_cursor(text, length=1)
    assert place is None or len(place) == 1


def raw(text):
    return base64.urlsafe_b64encode(text if isinstance(text, bytes) else text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    ["", "{}", "1", '"a"', "[1,2]", "[[1]]", '[{"a":1}]', "[NaN]", "[Infinity]", "[1e999]", "[1", "[" * 100_000,
     f"[{10**30}]", f"[{'9' * 5000}]", '["\\u0000"]', '["\\ud800"]', '["a\\nb"]', b"[\xff]"],
    ids=lambda text: repr(text)[:20],
)  # fmt: skip
def test_json_that_no_listing_writes_is_refused(text):
    with pytest.raises(InvalidRequest):
        decode_cursor(raw(text), length=1)


@pytest.mark.parametrize("place", [[float("nan")], [float("inf")]])
def test_a_place_that_cannot_be_compared_is_never_handed_out(place):
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_cursor(place)


def test_a_cursor_of_another_listing_is_refused():
    with pytest.raises(InvalidRequest, match="another listing"):
        decode_cursor(encode_cursor(["a", 1]), length=1)
    assert json.loads(base64.urlsafe_b64decode(encode_cursor(["a", 1]) + "==")) == ["a", 1]


@pytest.mark.parametrize(
    "place",
    [
        ["soon", "m_1"],
        ["2026-01-01T00:00:00", "m_1"],
        [5, "m_1"],
        ["2026-01-01", 3],
        ["0001-01-01T00:00:00+23:00", "m_1"],
    ],
)
def test_a_moment_that_no_listing_wrote_is_refused(place):
    with pytest.raises(InvalidRequest):
        decode_moment(encode_cursor(place))
