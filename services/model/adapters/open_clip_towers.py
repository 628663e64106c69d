"""Image towers of open_clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.model import Preprocessing
from services.kit.torchvision_ops import mend_torchvision
from services.model.adapters.port import Built
from services.model.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor


class OpenClipTowers:
    """`open_clip:NAME`: the image side alone; a whole checkpoint's `visual.` part is taken."""

    def names(self) -> Sequence[str]:
        mend_torchvision()
        import open_clip

        return list(open_clip.list_models())

    def build(self, name: str, config: Mapping[str, JsonValue]) -> Built:
        mend_torchvision()
        import open_clip
        from open_clip.model import _build_vision_tower  # the public constructor also builds the text side from a hub

        if config:
            raise BadConfig("an image tower of open_clip takes no config", field="config")
        whole = open_clip.get_model_config(name)
        vision = {**whole["vision_cfg"], "timm_model_pretrained": False}
        tower = _build_vision_tower(whole["embed_dim"], vision, quick_gelu=whole.get("quick_gelu", False))
        size = vision.get("image_size", 224)
        side = int(size[0] if isinstance(size, list | tuple) else size)
        return Built(
            tower,
            Preprocessing(
                resize=side,
                crop=side,
                mean=tuple(open_clip.OPENAI_DATASET_MEAN),
                std=tuple(open_clip.OPENAI_DATASET_STD),
            ),
            special_tokens=1 if hasattr(tower, "class_embedding") else 0,
            prefix="visual.",
        )

    def pick(self, layer: str, output: object) -> Tensor:
        from services.model.capture.hooks import first_tensor

        return first_tensor(layer, output)
