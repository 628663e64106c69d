"""Rate limits: weighted by cost, so that a thousand thumbnails do not count like a thousand snapshots."""

from __future__ import annotations

import threading
import time
from typing import Any

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from contracts.base import Caller, Right
from contracts.errors import TooManyRequests
from services.kit.logging import logger

UNITS_A_MINUTE = 30_000
LOGINS_A_MINUTE = 5
TIMEOUTS: dict[str, Any] = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
COSTS: dict[Right, int] = {Right.LOOK: 1, Right.ANNOTATE: 5, Right.SEARCH: 10, Right.SUBMIT: 100, Right.REGISTER: 100}
OTHER_COST = 10
TAB_SHARE = 100  # of the limit that one gateway may owe
TAB_SECONDS = 1.0
WINDOW_SECONDS = 60.0


class Tab:
    """Costs that are counted later in one go: asking Redis for every thumbnail cost more than the thumbnail.

    Parameters
    ----------
    most : units that may wait for a key; 0 counts everything at once.
    """

    def __init__(self, most: int, *, seconds: float = TAB_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, ...], tuple[int, float]] = {}

    def add(self, key: tuple[str, ...], cost: int) -> int:
        """Add a cost; return what is to be counted now, 0 while it may wait."""
        now = time.monotonic()
        with self._lock:
            waiting, since = self._waiting.get(key, (0, now - self._seconds))  # the first of a key is counted at once
            waiting += cost
            if since > now:
                return cost
            if waiting > self._most or now - since >= self._seconds:
                self._waiting[key] = (0, now)
                return waiting
            self._waiting[key] = (waiting, since)
            return 0

    def refuse(self, key: tuple[str, ...]) -> None:
        """Count every cost of a key at once for a minute: who was refused gets nothing on tab."""
        with self._lock:
            self._waiting[key] = (0, time.monotonic() + WINDOW_SECONDS)


class RateLimits:
    """Sliding windows: units per user of a workspace, tries per address at the login.

    Parameters
    ----------
    url : Redis in which several gateways count together; without it, or while it is gone, each counts in memory.
    """

    def __init__(self, *, units: int = UNITS_A_MINUTE, logins: int = LOGINS_A_MINUTE, url: str | None = None) -> None:
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._limiter = self._alone
        if url is not None:
            shared = storage_from_string(url, wrap_exceptions=True, key_prefix="xsys.limits", **TIMEOUTS)
            self._limiter = SlidingWindowCounterRateLimiter(shared)
        self._units = RateLimitItemPerMinute(units)
        self._tab = Tab(0 if url is None else units // TAB_SHARE)
        self._logins = RateLimitItemPerMinute(logins)

    def charge(self, caller: Caller, right: Right) -> None:
        """Charge one request. Raises `TooManyRequests` with `retry_after` seconds."""
        key = ("user", caller.workspace, caller.user)
        cost = self._tab.add(key, COSTS.get(right, OTHER_COST))
        if cost and not self._ask("hit", self._units, *key, cost=cost):
            self._tab.refuse(key)
            raise self._refusal(self._units, key, "requests of this user")

    def refuse_guesser(self, address: str) -> None:
        """Refuse an address, or whoever tries an account, after too many failed logins."""
        if not self._ask("test", self._logins, *_login_key(address)):
            raise self._refusal(self._logins, _login_key(address), "failed tries to log in from this address")

    def count_failed_login(self, address: str) -> None:
        """Count a failed try; logins that succeed cost nothing."""
        self._ask("hit", self._logins, *_login_key(address))

    def _ask(self, question: str, item: RateLimitItemPerMinute, *key: str, **cost: int) -> Any:
        try:
            return getattr(self._limiter, question)(item, *key, **cost)
        except StorageError as error:
            logger(__name__).warning("limits.not_shared", reason=str(error)[:200])
            return getattr(self._alone, question)(item, *key, **cost)

    def _refusal(self, item: RateLimitItemPerMinute, key: tuple[str, ...], what: str) -> TooManyRequests:
        reset = self._ask("get_window_stats", item, *key).reset_time
        return TooManyRequests(
            f"too many {what}", limit=item.amount, per_seconds=60, retry_after=round(max(1.0, reset - time.time()))
        )


def _login_key(address: str) -> tuple[str, str]:
    return ("login", address)
