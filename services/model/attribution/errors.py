"""What an attribution refuses, and what to do about it."""

from __future__ import annotations

from contracts.errors import XsysError


class UnknownComposite(XsysError):
    status = 404
    remedy = "Take one of `closest`, or give a Composite of your own."


class BadComposite(XsysError):
    status = 422
    remedy = "Correct the named entry; docs/attribution.md lists rules, kinds and their parameters."


class TargetOutOfRange(XsysError):
    status = 422
    remedy = "Give an output index between 0 and `outputs` - 1, one for all inputs or one each."


class BadInputs(XsysError):
    status = 422
    remedy = "Give finite floating point inputs, or integer token ids for a model with an embedding."


class NoGradientPath(XsysError):
    """The output does not depend on the inputs through anything that relevance can follow."""

    status = 422
    remedy = "Check that the score is computed from these inputs, without `detach`, `no_grad` or integer steps between."


class TrainingMode(XsysError):
    status = 409
    remedy = "Call `model.eval()` first: dropout and batch statistics make the explained function a random one."


class NoRule(XsysError):
    """An operation of the model is neither structural nor covered by a rule."""

    status = 422
    remedy = "Give `fallback='gradient'` to pass it by gradient x input, or rewrite the operation at `site`."


class FusedAttention(XsysError):
    """A compiled attention kernel whose weights cannot be seen."""

    status = 422
    remedy = "Load the model with its plain attention (in transformers: attn_implementation='eager' or 'sdpa')."


class UnknownLayerName(XsysError):
    status = 404
    remedy = "Take one of `closest`, or a name of `dict(model.named_modules())`."


class BadCondition(XsysError):
    status = 422
    remedy = "Name a layer that ran and components below its width."


class MapBudgetExceeded(XsysError):
    status = 422
    remedy = "Ask for fewer conditions or smaller inputs, or raise `budget`."


class BadRuleParameter(XsysError):
    status = 422
    remedy = "Correct the named parameter; its docstring has the range."
