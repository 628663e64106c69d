"""What candidate generation asks of a vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from PIL import Image

LONGEST_ANSWER = 128  # tokens: ten concepts of four words fit


class VisionModel(Protocol):
    """A model that looks at pictures and answers in text, the same answer for the same question."""

    @property
    def adapter(self) -> Literal["transformers", "openai"]:
        """How it is reached."""
        ...

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 of all that can change an answer and is known here; part of every key."""
        ...

    def answer(self, prompt: str, pictures: Sequence[Image.Image]) -> str:
        """What it says to a prompt about some pictures, in their order.

        Raises
        ------
        VisionModelUnavailable : no answer, or one of another form.
        """
        ...
