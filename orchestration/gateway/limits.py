"""Rate limits: weighted by cost, so that a thousand thumbnails do not count like a thousand snapshots."""

from __future__ import annotations

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from contracts.base import Caller, Right
from contracts.errors import TooManyRequests

UNITS_A_MINUTE = 30_000
LOGINS_A_MINUTE = 5
COSTS: dict[Right, int] = {Right.LOOK: 1, Right.SEARCH: 10, Right.SUBMIT: 100, Right.REGISTER: 100}
OTHER_COST = 10


class RateLimits:
    """Sliding windows in memory: units per user of a workspace, tries per address at the login."""

    def __init__(self, *, units: int = UNITS_A_MINUTE, logins: int = LOGINS_A_MINUTE) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._units = RateLimitItemPerMinute(units)
        self._logins = RateLimitItemPerMinute(logins)

    def charge(self, caller: Caller, right: Right) -> None:
        """Charge one request. Raises `TooManyRequests` with `retry_after` seconds."""
        cost = COSTS.get(right, OTHER_COST)
        key = ("user", caller.workspace, caller.user)
        if not self._limiter.hit(self._units, *key, cost=cost):
            raise self._refusal(self._units, key, "requests of this user")

    def refuse_guesser(self, address: str) -> None:
        """Refuse an address that failed to log in too often."""
        if not self._limiter.test(self._logins, *_login_key(address)):
            raise self._refusal(self._logins, _login_key(address), "failed tries to log in from this address")

    def count_failed_login(self, address: str) -> None:
        """Count a failed try; logins that succeed cost nothing."""
        self._limiter.hit(self._logins, *_login_key(address))

    def _refusal(self, item: RateLimitItemPerMinute, key: tuple[str, ...], what: str) -> TooManyRequests:
        reset = self._limiter.get_window_stats(item, *key).reset_time
        return TooManyRequests(
            f"too many {what}", limit=item.amount, per_seconds=60, retry_after=round(max(1.0, reset - time.time()))
        )


def _login_key(address: str) -> tuple[str, str]:
    return ("login", address)
