"""Texts that are being written in this process: opened, read meanwhile, closed, and forgotten when nobody reads."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from contracts.base import Caller
from contracts.errors import TooManyRequests, XsysError
from contracts.language import TextRow, UnknownGeneration

MOST_OPEN = 4
SILENCE = 30.0  # seconds without a reader, after which a generation is given up


@dataclass
class Writing:
    """A generation in progress. `news` is notified with every token; `closed` asks the writer to stop."""

    id: str
    workspace: str
    rows: list[TextRow]
    version: int = 0
    ended: bool = False
    closed: bool = False
    refusal: XsysError | None = None
    read_at: float = field(default_factory=time.monotonic)
    news: threading.Condition = field(default_factory=threading.Condition)


class Writings:
    """The generations that are being written in this process."""

    def __init__(self, *, most: int = MOST_OPEN, silence: float = SILENCE) -> None:
        self.most, self.silence = most, silence
        self._open: dict[str, Writing] = {}
        self._lock = threading.Lock()

    def add(self, writing: Writing) -> None:
        """Take a new one in; ended ones that nobody reads any more are forgotten.

        Raises
        ------
        TooManyRequests : as many are being written as may be.
        """
        with self._lock:
            late = time.monotonic() - self.silence
            self._open = {name: each for name, each in self._open.items() if not each.ended or each.read_at > late}
            busy = sum(not each.ended for each in self._open.values())
            if busy >= self.most:
                raise TooManyRequests(f"{busy} texts are being written already", limit=self.most, retry_after=5)
            self._open[writing.id] = writing

    def get(self, caller: Caller, name: str) -> Writing:
        """Find one of the caller's workspace. Raises `UnknownGeneration`."""
        with self._lock:
            found = self._open.get(name)
        if found is None or found.workspace != caller.workspace:
            raise UnknownGeneration(f"there is no generation {name}", field="generation")
        return found

    def drop(self, name: str) -> None:
        """Forget one."""
        with self._lock:
            self._open.pop(name, None)
