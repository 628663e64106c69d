"""Refusals of training, feedback and pruning."""

from __future__ import annotations

from contracts.errors import XsysError


class NoRuleError(XsysError):
    """An operation that has no derivative and no chord."""

    status = 422
    remedy = "Register a chord for it with `register_chord`, or keep it out of the `with lfp:` block."


class RewardShapeError(XsysError):
    status = 422
    remedy = "A reward has the shape of the output that it belongs to."


class NonFiniteRewardError(XsysError):
    status = 422
    remedy = "Check the outputs and the reward; a smaller learning rate often helps."


class OpaqueModuleError(XsysError):
    """Compiled and scripted modules hide their operations."""

    status = 422
    remedy = "Train the original module, or say `homogeneous=True` if all its activations are ReLU-like."


class PruneAllError(XsysError):
    status = 422
    remedy = "Prune less: at least one weight or channel of each group has to stay."


class NonFiniteParameterError(XsysError):
    status = 422
    remedy = "Lower the learning rate or clip the feedback; the last good checkpoint is kept."


class FeedbackOptionError(XsysError):
    status = 422
    remedy = "Choose one of the named values."


class RewardSignWarning(UserWarning):
    """The reward seems to miss the flip for negative logits, or to be inverted."""


class FrozenParameterWarning(UserWarning):
    """Parameters that are exactly zero never move without a floor."""


class AdaptiveOptimiserWarning(UserWarning):
    """An adaptive optimiser divides the factor |w| out again."""
