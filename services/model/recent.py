"""The latest few results of one kind, so that a follow-up request does not compute them again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Recent(Generic[Result]):
    """Keeps `most` results by key, the least recently used goes first. Safe for threads."""

    def __init__(self, most: int = 16) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, Result] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """Return what is kept under `key`, or make and keep it; two at once may both make it, with equal results."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return made


class Budgeted(Generic[Result]):
    """Keeps results by key within a budget of bytes, the least recently used goes first. Safe for threads.

    Parameters
    ----------
    size : bytes of a result; one that is larger than the whole budget is not kept.
    """

    def __init__(self, budget: int, size: Callable[[Result], int]) -> None:
        self.budget, self._size = budget, size
        self._kept: OrderedDict[Hashable, tuple[Result, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def get(self, key: Hashable) -> Result | None:
        """Return what is kept under `key`, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, result: Result) -> None:
        """Keep a result, and let go of what no longer fits."""
        size = self._size(result)
        with self._lock:
            if key in self._kept:
                self.bytes -= self._kept.pop(key)[1]
            if size > self.budget:
                return
            self._kept[key] = (result, size)
            self.bytes += size
            while self.bytes > self.budget:
                self.bytes -= self._kept.popitem(last=False)[1][1]
