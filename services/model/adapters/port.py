"""The port that every family of architectures implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

from contracts.model import Preprocessing
from services.model.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from services.model.language.folder import LanguageModel

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Built:
    """An architecture without weights, and what is known about it.

    Parameters
    ----------
    classes : names of the outputs, in order, if they are known.
    channels_last : names of layers whose maps are [B, H, W, C].
    special_tokens : how many leading tokens are no patches (class token, registers).
    prefix : which part of a whole checkpoint belongs to this module, such as `visual.`.
    language : the same model with its tokenizer, if it reads text.
    """

    model: nn.Module
    preprocessing: Preprocessing | None
    classes: list[str] | None = None
    channels_last: frozenset[str] = frozenset()
    special_tokens: int = 0
    prefix: str = ""
    language: LanguageModel | None = None


class Adapter(Protocol):
    """A family of architectures."""

    def names(self) -> Sequence[str]:
        """All names that can be built, for checking a name and for naming the closest."""
        ...

    def build(self, name: str, config: Mapping[str, JsonValue]) -> Built:
        """Build an architecture with its constructor's initial values; nothing is downloaded."""
        ...

    def pick(self, layer: str, output: object) -> Tensor:
        """Choose the tensor of a layer among a module's outputs."""
        ...


def refuse_reserved(config: Mapping[str, JsonValue], reserved: frozenset[str]) -> None:
    """Refuse arguments that would load weights or code from elsewhere."""
    taken = sorted(reserved & set(config))
    if taken:
        raise BadConfig(f"{', '.join(taken)} cannot be configured", field="config")
