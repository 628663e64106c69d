"""A circuit breaker: a service that does not answer is left alone for a moment, and its callers are told at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

FAILURES = 5
WINDOW_SECONDS = 10.0
REST_SECONDS = 3.0


class Breaker:
    """Open after `failures` within `window` seconds; after `rest` seconds one call may try whether it works again."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        window: float = WINDOW_SECONDS,
        rest: float = REST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._window, self._rest, self._clock = failures, window, rest, clock
        self._failed: deque[float] = deque(maxlen=failures)
        self._opened: float | None = None
        self._probing = False
        self._lock = threading.Lock()

    def lets_pass(self) -> bool:
        """Whether a call may be made now. While open, one call at a time passes once the rest is over."""
        with self._lock:
            if self._opened is None:
                return True
            if self._probing or self._clock() - self._opened < self._rest:
                return False
            self._probing = True
            return True

    def answered(self) -> None:
        """Count a call that was answered, whatever the answer said."""
        with self._lock:
            self._opened, self._probing = None, False
            self._failed.clear()

    def failed(self) -> None:
        """Count a call that was not answered."""
        with self._lock:
            now = self._clock()
            self._failed.append(now)
            full = len(self._failed) == self._most and now - self._failed[0] <= self._window
            if self._probing or full:
                self._opened, self._probing = now, False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused at present."""
        with self._lock:
            return self._opened is not None
