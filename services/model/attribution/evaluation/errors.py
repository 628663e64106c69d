"""What an evaluation refuses."""

from __future__ import annotations

from contracts.errors import XsysError


class BadMaps(XsysError):
    """Not a number somewhere, or shapes that do not belong together: any figure would be arbitrary."""

    status = 422
    remedy = "Give finite maps [B, H, W] (channels summed) or [B, d], and masks of the same shape."


class BadMetricParameter(XsysError):
    status = 422
    remedy = "Correct the named parameter; its docstring has the range."
