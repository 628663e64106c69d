"""Dynamic batching: together when asked together, alone when alone, and nobody pays for a neighbour."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from contracts.errors import DeadlinePassed, TooManyRequests
from services.kit import departures
from services.kit.batching import Batcher
from services.kit.deadlines import within


class Model:
    """Doubles numbers, one batch at a time, when it is let."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.entered = threading.Event()
        self.seen: list[list[int]] = []

    def run(self, items: list[int]) -> list[int]:
        self.seen.append(items)
        self.entered.set()
        assert self.free.wait(20)
        if -1 in items:
            raise ValueError("a bad input")
        return [2 * item for item in items]


def busy(batcher: Batcher, model: Model, pool: ThreadPoolExecutor):
    """Let the model be busy with one item, so that what comes now has to wait."""
    first = pool.submit(batcher, 1)
    assert model.entered.wait(20)
    return first


def wait_until_queued(batcher: Batcher, count: int) -> None:
    while len(batcher._queue) < count:
        pass


def test_what_waits_together_is_computed_together_and_in_the_given_order():
    model = Model()
    batcher = Batcher(model.run, name="numbers", order=lambda item: item)
    with ThreadPoolExecutor(12) as pool:
        first = busy(batcher, model, pool)
        others = [pool.submit(batcher, item) for item in (5, 3, 9, 7)]
        wait_until_queued(batcher, 4)
        model.free.set()
        assert [first.result(), *(other.result() for other in others)] == [2, 10, 6, 18, 14]
    assert model.seen == [[1], [3, 5, 7, 9]]


def test_callers_that_came_together_are_waited_for_and_one_alone_waits_for_nobody_else():
    model = Model()
    model.free.set()
    batcher = Batcher(model.run, name="numbers", wait=20)
    with ThreadPoolExecutor(12) as pool:
        batcher.batches.append(3)
        first = pool.submit(batcher, 1)
        wait_until_queued(batcher, 1)
        assert not model.entered.wait(0.05)
        others = [pool.submit(batcher, item) for item in (2, 3)]
        assert [one.result(timeout=10) for one in (first, *others)] == [2, 4, 6]  # long before the wait ends
        batcher.batches.append(1)
        assert batcher(4) == 8
    assert sorted(model.seen[0]) == [1, 2, 3] and model.seen[1:] == [[4]]


def test_a_bad_input_fails_alone():
    model = Model()
    batcher = Batcher(model.run, name="numbers")
    with ThreadPoolExecutor(12) as pool:
        busy(batcher, model, pool)
        good, bad = pool.submit(batcher, 4), pool.submit(batcher, -1)
        wait_until_queued(batcher, 2)
        model.free.set()
        assert good.result() == 8
        with pytest.raises(ValueError, match="a bad input"):
            bad.result()


def test_a_full_queue_refuses_with_429():
    model = Model()
    batcher = Batcher(model.run, name="numbers", queue=2)
    with ThreadPoolExecutor(12) as pool:
        busy(batcher, model, pool)
        waiting = [pool.submit(batcher, item) for item in (2, 3)]
        wait_until_queued(batcher, 2)
        with pytest.raises(TooManyRequests) as refused:
            batcher(4)
        assert (refused.value.status, refused.value.facts["retry_after"]) == (429, 1)
        model.free.set()
        assert [one.result() for one in waiting] == [4, 6]


def test_whoever_has_gone_or_is_late_is_left_out_before_the_forward_pass():
    model, gone = Model(), threading.Event()
    batcher = Batcher(model.run, name="numbers")

    def leaving(item: int) -> int:
        departures._gone.set(gone)
        with within(20):
            return batcher(item)

    def late(item: int) -> int:
        with within(0.05):
            return batcher(item)

    with ThreadPoolExecutor(12) as pool:
        first = busy(batcher, model, pool)
        left = pool.submit(leaving, 50)
        wait_until_queued(batcher, 1)
        with pytest.raises(DeadlinePassed):
            late(60)
        stays = pool.submit(batcher, 70)
        wait_until_queued(batcher, 3)
        gone.set()
        model.free.set()
        assert (first.result(), stays.result()) == (2, 140)
        assert left.exception(timeout=20) is not None
    assert model.seen == [[1], [70]]


def test_a_client_that_hangs_up_is_noticed_while_its_request_is_worked_on():
    import asyncio

    noticed: list[bool] = []

    async def app(scope, receive, send):
        assert (await receive())["body"] == b"x"
        event = departures.departure()
        for _ in range(200):
            if event.is_set():
                break
            await asyncio.sleep(0.01)
        noticed.append(event.is_set())

    messages = [{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    asyncio.run(departures.Departures(app)({"type": "http"}, receive, None))
    assert noticed == [True]
