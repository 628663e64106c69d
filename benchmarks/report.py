"""Lines of a benchmark: one JSON object each, and an exit code that says whether a goal was missed."""

from __future__ import annotations

import json


class Report:
    """Prints figures as they come."""

    def __init__(self) -> None:
        self.exit_code = 0

    def line(
        self, *, metric: str, value: float, unit: str, goal: str | None = None, ok: bool | None = None,
        peer: str | None = None, peer_value: float | None = None, ratio: float | None = None, n: int | None = None,
        interval: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        """Print one figure; a goal that is not met makes the exit code 1."""
        if ok is False:
            self.exit_code = 1
        figures = {
            "metric": metric, "value": value, "unit": unit, "goal": goal, "ok": ok, "peer": peer,
            "peer_value": peer_value, "ratio": ratio, "n": n, "interval": interval,
        }  # fmt: skip
        print(json.dumps(figures), flush=True)
