"""Refuses rewards that are not finite, without making the host wait for a GPU."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from services.model.training.errors import NonFiniteRewardError

MOST = 32  # counts on their way; the oldest is waited for beyond


class FinitenessWatch:
    """Counts of non-finite entries, read when they have arrived.

    On the CPU a count is there at once. On a GPU reading it would stall the queue of every step, so the refusal comes a
    few steps late; a caller that waits for figures of the step anyway asks for it at once.
    """

    def __init__(self) -> None:
        self._coming: deque[tuple[Tensor, torch.cuda.Event, int]] = deque()

    def look(self, value: Tensor, *, wait: bool) -> None:
        """Take a count of `value`, any shape, and refuse what earlier and arrived counts found.

        Raises
        ------
        NonFiniteRewardError : NaN or infinity, in this reward or in one before it.
        """
        bad = (~torch.isfinite(value)).sum()
        if not value.is_cuda or wait:
            self._arrived(all_of_them=True)
            refuse(int(bad), value.numel())
            return
        count = torch.empty((), dtype=bad.dtype, pin_memory=True)
        count.copy_(bad, non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(value.device))
        self._coming.append((count, event, value.numel()))
        self._arrived(all_of_them=False)

    def _arrived(self, *, all_of_them: bool) -> None:
        while self._coming:
            count, event, total = self._coming[0]
            if all_of_them or len(self._coming) > MOST:
                event.synchronize()
            elif not event.query():
                return
            self._coming.popleft()
            refuse(int(count), total)


def refuse(bad: int, total: int) -> None:
    """Raise `NonFiniteRewardError` if any entry is not finite."""
    if bad:
        raise NonFiniteRewardError(f"{bad} of {total} rewards are not finite", field="reward")
