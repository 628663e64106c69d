"""Places where fault tests make a worker die, sleep or fail. In production the object does nothing."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field


@dataclass
class Failpoints:
    """One armed place: `NAME:kill`, `NAME:sleep=SECONDS`, `NAME:raise`, each with an optional `@N` for the Nth time."""

    armed: str | None = None
    hits: int = field(default=0)

    def hit(self, name: str) -> None:
        """Pass a place; act if it is the armed one."""
        if self.armed is None or not self.armed.startswith(f"{name}:"):
            return
        action, _, number = self.armed.removeprefix(f"{name}:").partition("@")
        self.hits += 1
        if number and self.hits != int(number):
            return
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action.startswith("sleep="):
            time.sleep(float(action.removeprefix("sleep=")))
        else:
            raise RuntimeError(f"failpoint {name}")
