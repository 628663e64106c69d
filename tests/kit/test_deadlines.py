"""Deadlines: an inner one cannot outlast an outer one, and what is late is refused."""

import httpx
import pytest

from contracts.base import Caller, Right
from contracts.data import DataService
from contracts.errors import DeadlinePassed, Unavailable
from services.kit.breaker import Breaker
from services.kit.deadlines import HEADER, refuse_late, seconds_left, seconds_of, within
from services.kit.remote import remote


def test_the_nearest_end_holds():
    assert seconds_left() is None
    with within(5), within(60):
        assert 4 < seconds_left() <= 5
    with within(-1), pytest.raises(DeadlinePassed):
        refuse_late()
    assert seconds_left() is None


ME = Caller(user="me", workspace="ours", rights=frozenset(Right))


@pytest.mark.parametrize("text", [None, "", "soon", "-1", "0", "nan", "inf"])
def test_what_is_no_positive_number_is_no_deadline(text):
    assert seconds_of(text) is None


def test_a_call_takes_no_longer_than_what_is_left_and_says_so():
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((float(request.headers[HEADER]), request.extensions["timeout"]["read"]))
        raise httpx.ConnectError("nobody there")

    client = httpx.Client(base_url="http://shelf", transport=httpx.MockTransport(answer))
    breaker = Breaker()
    shelf = remote(DataService, client, credentials=lambda _: {}, seconds=30, name="shelf", breaker=breaker)
    with within(2), pytest.raises(Unavailable) as refused:
        shelf.dataset(ME, "b")
    assert refused.value.facts["service"] == "shelf"
    assert len(seen) == 3 and all(header <= 2.0 and timeout <= 2.0 for header, timeout in seen)
    with pytest.raises(Unavailable):
        shelf.dataset(ME, "b")
    assert breaker.is_open
    asked = len(seen)
    with pytest.raises(Unavailable, match="for a while"):
        shelf.dataset(ME, "b")
    assert len(seen) == asked
