"""Feedback alignment: fixed random matrices in the place of the weights' transposes in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class FeedbackAlignment(TorchFunctionMode):
    """Within `with`, what flows back to the input of a linear or convolution layer comes through a random matrix.

    Parameters
    ----------
    model : its layers get one matrix each, normal with the standard deviation of the layer's weights as they are now.
    seed : of these matrices.

    Source: Lillicrap et al. 2016 (doi 10.1038/ncomms13276).
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.matrices = {
            id(module.weight): torch.randn(module.weight.shape, generator=draw).to(module.weight)
            * module.weight.detach().std()
            for module in model.modules()
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
        }

    def __torch_function__(
        self, function: Callable[..., Any], types: object, args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        kwargs = dict(kwargs or {})
        if function not in (F.linear, F.conv2d, torch.conv2d):
            return function(*args, **kwargs)
        given, weight, *rest = args
        matrix = self.matrices.get(id(weight))
        if matrix is None:
            return function(*args, **kwargs)
        bias_free = {name: value for name, value in kwargs.items() if name != "bias"}
        rest_free = [None, *rest[1:]] if rest else []
        back: Tensor = function(given, matrix, *rest_free, **bias_free)
        out: Tensor = function(given.detach(), weight, *rest, **kwargs)
        return out + (back - back.detach())  # adds zeros: only its gradient counts
