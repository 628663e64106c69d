"""Refusals of the numerics, beside those that the contract lists."""

from __future__ import annotations

from contracts.errors import XsysError


class TooFewExamples(XsysError):
    status = 422
    remedy = "Give at least two examples a component."


class NotUnitNorm(XsysError):
    status = 422
    remedy = "Normalise rows in float32 after reading a float16 store."


class TooFewSamples(XsysError):
    status = 422
    remedy = "A snapshot needs at least ten pictures; register more."
