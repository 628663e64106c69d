"""What an encoder can do, whatever model is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contracts.snapshots import Encoder

FloatArray = NDArray[np.float32]
NullMode = Literal["template", "centroid", "none"]


class EncoderPort(Protocol):
    """A loaded encoder. All methods may be called from several threads; equal inputs give equal outputs.

    Attributes
    ----------
    name : as given to `load_encoder`.
    fingerprint : sha256 over checkpoint bytes, preprocessing, algorithm version and constants.
    width : columns of every embedding.
    null : what a search subtracts from a text embedding. `template`: the embedding of the empty template (CLIP);
        `centroid`: the mean over a background vocabulary (sentence encoders); `none`: there is no text side.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def null(self) -> NullMode: ...

    def encode_images(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Embed pictures: [B, width] float32, unit rows; [0, width] for an empty list."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts: [B, width] float32, unit rows. Raises NoTextSide where the model reads no text."""
        ...

    def truncates(self, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether it is longer than the model's context and would be cut."""
        ...

    def describe(self) -> Encoder:
        """The declared form, as it is recorded in snapshots."""
        ...


class EncodersPort(Protocol):
    """Loaded encoders by name."""

    def get(self, name: str) -> EncoderPort:
        """The encoder of this name."""
        ...
