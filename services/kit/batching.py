"""Dynamic batching: single requests that arrive together are computed together, by the one thread that owns a model."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from contracts.errors import DeadlinePassed, TooManyRequests
from services.kit.deadlines import refuse_late, seconds_left
from services.kit.departures import departure

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_ITEMS = 32
WAIT_SECONDS = 0.003  # about half of the shortest forward pass
MOST_WAITING = 128


@dataclass
class Waiting(Generic[Item, Result]):
    """One request in the queue, until when its caller waits, and whether the caller has gone."""

    item: Item
    ends: float | None
    gone: threading.Event | None
    answer: Future[Result] = field(default_factory=Future)

    def wanted(self, now: float) -> bool:
        """Whether somebody still waits for the answer."""
        if self.answer.cancelled() or (self.gone is not None and self.gone.is_set()):
            return False
        return self.ends is None or now < self.ends


class Batcher(Generic[Item, Result]):
    """Gathers items for at most `wait` seconds or `most` items, and hands them to `run` in one call.

    A request alone waits for nobody, unless the last batch had company: then it waits for as many as came then, since
    callers that came at once come at once again. Without company the wait begins when others are queued behind it.
    If a batch fails every item of it is run alone once, so that one bad input does not fail its neighbours.

    Parameters
    ----------
    run : items -> one result each, in order; called by one thread only.
    queue : requests that may wait; one more is refused with 429.
    order : sorts the items of a batch, such as texts by length.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        *,
        name: str,
        most: int = MOST_ITEMS,
        wait: float = WAIT_SECONDS,
        queue: int = MOST_WAITING,
        order: Callable[[Item], int] | None = None,
    ) -> None:
        self._run, self._most, self._wait, self._limit, self._order = run, most, wait, queue, order
        self._name = name
        self._queue: deque[Waiting[Item, Result]] = deque()
        self._arrived = threading.Condition()
        self._thread: threading.Thread | None = None
        self._enough = 1  # requests that are not waited beyond
        self.batches: deque[int] = deque(maxlen=1000)  # sizes of the latest ones

    def __call__(self, item: Item) -> Result:
        """Compute one item together with whatever else is asked for at this moment.

        Raises
        ------
        TooManyRequests : the queue is full. DeadlinePassed : nobody waits any more. Whatever `run` raises for it.
        """
        refuse_late()
        left = seconds_left()
        waiting = Waiting[Item, Result](item, None if left is None else time.monotonic() + left, departure())
        with self._arrived:
            if len(self._queue) >= self._limit:
                detail = f"{self._limit} requests wait for {self._name}"
                raise TooManyRequests(detail, limit=self._limit, retry_after=1)
            self._queue.append(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"batch-{self._name}", daemon=True)
                self._thread.start()
            if len(self._queue) == 1 or len(self._queue) >= self._enough:
                self._arrived.notify()  # not for each: waking up only to wait on takes the callers' time
        try:
            return waiting.answer.result(timeout=left)
        except CancelledError as left_out:
            raise DeadlinePassed("the caller had gone before its turn came") from left_out
        except TimeoutError as late:
            waiting.answer.cancel()
            raise DeadlinePassed("the answer did not come in time") from late

    def _work(self) -> None:
        while True:
            batch = self._take()
            if batch:
                self.batches.append(len(batch))
                self._answer(batch)

    def _take(self) -> list[Waiting[Item, Result]]:
        with self._arrived:
            while not self._queue:
                self._arrived.wait()
            ends, last = time.monotonic() + self._wait, self.batches[-1] if self.batches else 1
            self._enough = self._most if last == 1 else min(last, self._most)
            while len(self._queue) < self._enough and (last > 1 or len(self._queue) > 1):
                if (left := ends - time.monotonic()) <= 0:
                    break
                self._arrived.wait(left)
            taken = [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]
        now = time.monotonic()
        wanted = []
        for waiting in taken:
            if waiting.wanted(now) and waiting.answer.set_running_or_notify_cancel():
                wanted.append(waiting)
            else:
                waiting.answer.cancel()
        if self._order is not None:
            order = self._order
            wanted.sort(key=lambda waiting: order(waiting.item))
        return wanted

    def _answer(self, batch: list[Waiting[Item, Result]]) -> None:
        try:
            results = self._run([waiting.item for waiting in batch])
        except Exception as error:  # whatever it is, it is told to whoever asked for this item
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for waiting in batch:
                self._answer([waiting])
            return
        for waiting, result in zip(batch, results, strict=True):
            waiting.answer.set_result(result)
