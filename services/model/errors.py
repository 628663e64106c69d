"""Refusals of the model service that are not part of a contract's list."""

from __future__ import annotations

from contracts.errors import XsysError


class CalledAgain(XsysError):
    """Which of several outputs is meant would be a guess."""

    status = 422
    remedy = "Choose a layer that runs once per forward pass, such as the block around it."


class NoActivation(XsysError):
    status = 422
    remedy = "Choose a layer that puts out a tensor, or name the tensor in the adapter."


class BadConfig(XsysError):
    status = 422
    remedy = "Give keyword arguments of the architecture's constructor as plain JSON values."


class UncutError(XsysError):
    """A model out of which no channels can be cut, or not at this price."""

    status = 422
    remedy = "Allow a larger `loss`, name an `amount`, or train on after the cut with `epochs`."
