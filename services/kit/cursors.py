"""Opaque cursors of keyset listings: where the next page begins, as text that clients only pass back."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from contracts.errors import InvalidRequest

Place = str | int | float | None


def encode_cursor(place: Sequence[Place]) -> str:
    """Encode the sort values of a page's last item."""
    text = json.dumps(list(place), separators=(",", ":"), allow_nan=False).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _plain(value: object) -> bool:
    """Whether a database takes the value: no NaN, no integer beyond 64 bits, no NUL or lone surrogate."""
    match value:
        case str():
            return value.isprintable()
        case float():
            return math.isfinite(value)
        case int():
            return abs(value) < 1 << 63
    return value is None


def decode_cursor(cursor: str, *, length: int) -> list[Place]:
    """Decode a cursor of `length` values.

    Raises
    ------
    InvalidRequest : not one of ours, or of another listing.
    """
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise InvalidRequest("this cursor was not made by a listing", field="cursor") from error
    plain = isinstance(place, list) and all(_plain(value) for value in place)
    if not plain or len(place) != length:
        raise InvalidRequest("this cursor belongs to another listing", field="cursor")
    return list(place)


def decode_moment(cursor: str) -> tuple[datetime, str]:
    """Decode the cursor of a listing by time: behind (created_at, id).

    Raises
    ------
    InvalidRequest : not one of ours, or of another listing.
    """
    moment, last = decode_cursor(cursor, length=2)
    if not isinstance(moment, str) or not isinstance(last, str):
        raise InvalidRequest("this cursor belongs to another listing", field="cursor")
    try:
        created = datetime.fromisoformat(moment)
        if created.tzinfo is None:
            raise InvalidRequest("this cursor belongs to another listing", field="cursor")
        return created.astimezone(UTC), last
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("this cursor belongs to another listing", field="cursor") from error
