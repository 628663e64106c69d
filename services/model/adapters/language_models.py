"""Language models: read whole from a file or folder, with their tokenizer; never built empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from services.model.adapters.port import Built
from services.model.errors import BadConfig
from services.model.language.layout import LAYOUTS
from services.model.language.sources import PACKAGED

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE, GGUF, STORED = "llm", "gguf", "causal_lm"
FAMILIES = frozenset({PACKAGE, GGUF, STORED})


class LanguageModels:
    """`llm:NAME` is in a package, `gguf:ARCHITECTURE` in a GGUF file, `causal_lm:ARCHITECTURE` in a folder.

    However it came, a registered language model is `causal_lm:ARCHITECTURE`.
    """

    def __init__(self, *, packaged: bool = False) -> None:
        self.packaged = packaged

    def names(self) -> Sequence[str]:
        return [*PACKAGED] if self.packaged else [*LAYOUTS]

    def build(self, name: str, config: Mapping[str, JsonValue]) -> Built:
        raise BadConfig("a language model is read whole, with its tokenizer; it is not built empty", field="config")

    def pick(self, layer: str, output: object) -> Tensor:
        from services.model.capture.hooks import first_tensor

        return first_tensor(layer, output)


def is_language(architecture: str) -> bool:
    """Whether an architecture reads text."""
    return architecture.partition(":")[0] in FAMILIES
