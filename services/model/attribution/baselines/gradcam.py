"""Grad-CAM for networks with maps, and its attention variant where the network is a vision transformer."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from services.model.attribution.baselines.errors import NoAttention, NoSpatialMap
from services.model.attribution.baselines.scoring import Score, Target, checked
from services.model.attribution.baselines.transformers import attention_gradcam


def gradcam(
    model: nn.Module, inputs: Tensor, target: Target, *, layer: str | None = None, channels_last: bool = False
) -> Tensor:
    """(Σ_k w_k A_k)⁺ with w_k the mean of ∂f_c/∂A_k over the map.

    Captum's hooks see the forward passes of other threads on the same model; these do not.

    Parameters
    ----------
    layer : whose output A is; None takes the last map with more than one place, or the last attention.
    channels_last : that output is [B, h, w, C].

    Returns
    -------
    [B, h, w], the layer's own resolution.

    Raises
    ------
    NoSpatialMap : the named layer, or every layer, has no map.

    Source: Selvaraju et al. 2017.
    """
    if layer is None:
        try:
            return attention_gradcam(model, inputs, target)
        except NoAttention:
            pass  # a network without (one kind of) attention has maps
    leaf, of = checked(model, inputs, target)
    maps: list[Tensor] = []
    owner = threading.get_ident()

    def keep(module: nn.Module, given: object, output: object) -> Tensor | None:
        if threading.get_ident() != owner or not isinstance(output, Tensor) or output.ndim != 4:
            return None
        places = output.shape[1:3] if channels_last else output.shape[2:]
        if places.numel() <= 1 or not output.requires_grad:
            return None
        maps.append(output)
        return output.clone()  # an in-place activation after it must not change what was kept

    modules = dict(model.named_modules())
    if layer is not None and layer not in modules:
        raise NoSpatialMap(f"the model has no module {layer}", field="layer")
    watched = [modules[layer]] if layer is not None else [module for name, module in modules.items() if name]
    handles = [module.register_forward_hook(keep) for module in watched]
    try:
        score = Score(model)(leaf, of).sum()
    finally:
        for handle in handles:
            handle.remove()
    if not maps:
        raise NoSpatialMap("no layer puts out a map with more than one place", field="layer")
    found = maps[-1]
    slope = torch.autograd.grad(score, found)[0]
    found = found.detach()
    if channels_last:
        found, slope = found.permute(0, 3, 1, 2), slope.permute(0, 3, 1, 2)
    return (slope.mean((2, 3), keepdim=True) * found).sum(1).clamp(min=0)
