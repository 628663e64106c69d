"""Architectures of torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.model import Preprocessing
from services.kit.torchvision_ops import mend_torchvision
from services.model.adapters.port import Built, refuse_reserved

if TYPE_CHECKING:
    from torch import Tensor

RESERVED = frozenset({"weights", "weights_backbone", "progress"})


class TorchvisionModels:
    """`torchvision:NAME`, classifiers only; preprocessing and class names as published with their default weights."""

    def names(self) -> Sequence[str]:
        mend_torchvision()
        from torchvision import models

        return list(models.list_models(module=models))

    def build(self, name: str, config: Mapping[str, JsonValue]) -> Built:
        mend_torchvision()
        from torchvision import models

        refuse_reserved(config, RESERVED)
        published = models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
        data = published.transforms()  # values only: nothing is fetched
        classes = list(published.meta["categories"])
        model = models.get_model(name, weights=None, **config)
        return Built(
            model,
            Preprocessing(
                resize=data.resize_size[0],
                crop=data.crop_size[0],
                interpolation=data.interpolation.value,
                mean=tuple(data.mean),
                std=tuple(data.std),
            ),
            classes=classes if config.get("num_classes", len(classes)) == len(classes) else None,
            channels_last=swin_maps(model) if name.startswith("swin") else frozenset(),
            special_tokens=1 if name.startswith("vit") else 0,
        )

    def pick(self, layer: str, output: object) -> Tensor:
        from services.model.capture.hooks import first_tensor

        return first_tensor(layer, output)


def swin_maps(model: object) -> frozenset[str]:
    """Layers of a Swin transformer that put out [B, H, W, C]: all but the patch convolution and what follows `norm`."""
    named = model.named_modules()  # type: ignore[attr-defined]
    return frozenset(name for name, _ in named if name.startswith(("features", "norm")) and name != "features.0.0")
