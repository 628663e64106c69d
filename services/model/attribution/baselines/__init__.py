"""Baselines in one interface: `METHODS[name](model, inputs, target)` -> [B, *input], or one value a pixel or patch."""

from collections.abc import Callable

from torch import Tensor, nn

from services.model.attribution.baselines.gradcam import gradcam
from services.model.attribution.baselines.gradients import (
    gradient,
    gradient_x_input,
    integrated_gradients,
    occlusion,
    smoothgrad,
)
from services.model.attribution.baselines.scoring import Target
from services.model.attribution.baselines.transformers import attention_gradcam, chefer, rollout

Method = Callable[[nn.Module, Tensor, Target], Tensor]
METHODS: dict[str, Method] = {
    "gradient": gradient,
    "gradient_x_input": gradient_x_input,
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "gradcam": gradcam,
    "occlusion": occlusion,
    "rollout": rollout,
    "chefer": chefer,
}
__all__ = [
    "METHODS", "Method", "Target", "attention_gradcam", "chefer", "gradcam", "gradient", "gradient_x_input",
    "integrated_gradients", "occlusion", "rollout", "smoothgrad",
]  # fmt: skip
