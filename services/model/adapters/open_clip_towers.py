"""Image towers of open_clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from contracts.model import Preprocessing
from services.kit.torchvision_ops import mend_torchvision
from services.model.adapters.port import Built, refuse_reserved
from services.model.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor


CUSTOM = "custom"
UNKNOWN = frozenset({"timm_model_name", "timm_model_pretrained", "act_kwargs", "norm_kwargs", "block_type"})


def _described(config: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The description of a tower; what would load or name code is refused."""
    extra = sorted(set(config) - {"embed_dim", "vision_cfg", "quick_gelu"})
    vision, width = config.get("vision_cfg"), config.get("embed_dim")
    if extra or not isinstance(vision, dict) or not isinstance(width, int):
        raise BadConfig(
            f"a custom tower takes embed_dim and vision_cfg{', not ' if extra else ''}{', '.join(extra)}",
            field="config",
        )
    refuse_reserved(vision, UNKNOWN)
    return dict(config)


class OpenClipTowers:
    """`open_clip:NAME`: the image side alone; a whole checkpoint's `visual.` part is taken.

    `open_clip:custom` is one that open_clip does not know, with `embed_dim` and `vision_cfg` as config, as in the
    description beside an encoder's weights.
    """

    def names(self) -> Sequence[str]:
        mend_torchvision()
        import open_clip

        return [CUSTOM, *open_clip.list_models()]

    def build(self, name: str, config: Mapping[str, JsonValue]) -> Built:
        mend_torchvision()
        import open_clip
        from open_clip.model import _build_vision_tower  # the public constructor also builds the text side from a hub

        whole = _described(config) if name == CUSTOM else open_clip.get_model_config(name)
        if config and name != CUSTOM:
            raise BadConfig("an image tower of open_clip takes no config", field="config")
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
