"""What every baseline starts from: checked inputs, one target a sample, and the score that is explained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from services.model.attribution.errors import BadInputs, TargetOutOfRange, TrainingMode

Target = int | Tensor


def checked(model: nn.Module, inputs: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Inputs as a fresh leaf with gradients, and the target as [B] int64.

    Raises
    ------
    TrainingMode : some module is in training mode.
    BadInputs : no floating tensor [B, ...] with B >= 1, or not finite.
    TargetOutOfRange : not one index for all, or one each.
    """
    if any(module.training for module in model.modules()):
        raise TrainingMode("the model is in training mode", field="model")
    if not inputs.is_floating_point() or inputs.ndim < 2 or not len(inputs):
        raise BadInputs(f"inputs are floating [B, ...], not {inputs.dtype} {tuple(inputs.shape)}", field="inputs")
    if not bool(inputs.isfinite().all()):
        raise BadInputs("inputs hold NaN or infinity", field="inputs")
    of = torch.as_tensor(target, device=inputs.device)
    if of.is_floating_point() or of.ndim > 1 or (of.ndim == 1 and len(of) != len(inputs)):
        raise TargetOutOfRange(f"target is one index, or one for each of {len(inputs)} inputs", field="target")
    return inputs.detach().clone().requires_grad_(), of.long().expand(len(inputs)).contiguous()


def chosen(output: Tensor, target: Tensor) -> Tensor:
    """The target's score of each row. [N, outputs], [N] -> [N].

    Raises
    ------
    TargetOutOfRange : names the number of outputs.
    """
    outputs = output.shape[1] if output.ndim == 2 else 0
    if not bool(((target >= 0) & (target < outputs)).all()):
        raise TargetOutOfRange(f"the model has {outputs} outputs", field="target", outputs=outputs)
    return output.gather(1, target.unsqueeze(1)).squeeze(1)


class Score:
    """f_c(x) as a function of inputs and targets, the form in which Captum takes a model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        """[N, ...], [N] -> [N]."""
        return chosen(self.model(inputs), target)
