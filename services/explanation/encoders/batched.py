"""Encoders for online use: texts and pictures that are asked for at the same moment share one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from threading import Lock

import numpy as np
from PIL import Image

from contracts.snapshots import Encoder
from services.explanation.encoders.port import EncoderPort, FloatArray, NullMode
from services.kit.batching import Batcher

LARGE = 64  # texts or pictures of one request that make a batch of their own


class BatchedEncoder:
    """An encoder whose small requests are gathered.

    A request that comes alone has the bytes that it would have without gathering; one that shares a batch differs in
    the last bits, since matrix products of other shapes add in other orders. Hence it is a choice of the installation.
    """

    def __init__(self, inner: EncoderPort) -> None:
        self.inner = inner
        self.texts = Batcher[tuple[str, ...], FloatArray](
            joined(inner.encode_texts), name=f"texts of {inner.name}", order=lambda texts: max(map(len, texts))
        )
        self.pictures = Batcher[tuple[Image.Image, ...], FloatArray](
            joined(inner.encode_images), name=f"pictures of {inner.name}"
        )

    @property
    def name(self) -> str:
        """As given to `load_encoder`."""
        return self.inner.name

    @property
    def fingerprint(self) -> str:
        """The inner encoder's."""
        return self.inner.fingerprint

    @property
    def width(self) -> int:
        """Columns of every embedding."""
        return self.inner.width

    @property
    def null(self) -> NullMode:
        """The inner encoder's."""
        return self.inner.null

    def encode_images(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Embed pictures: [B, width] float32, unit rows."""
        return self.pictures(tuple(pictures)) if 0 < len(pictures) <= LARGE else self.inner.encode_images(pictures)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts: [B, width] float32, unit rows."""
        return self.texts(tuple(texts)) if 0 < len(texts) <= LARGE else self.inner.encode_texts(texts)

    def truncates(self, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether it would be cut."""
        return self.inner.truncates(texts)

    def describe(self) -> Encoder:
        """The declared form."""
        return self.inner.describe()


def joined(encode: Callable[[list], FloatArray]) -> Callable[[list[tuple]], list[FloatArray]]:  # type: ignore[type-arg]
    """Encode many requests in one call, and divide the rows among them again."""

    def run(requests: list[tuple]) -> list[FloatArray]:  # type: ignore[type-arg]
        rows = encode(list(chain.from_iterable(requests)))
        ends = np.cumsum([len(request) for request in requests])
        return np.split(rows, ends[:-1])

    return run


class OnlineEncoders:
    """The gathered form of each encoder, made once."""

    def __init__(self, get: Callable[[str], EncoderPort]) -> None:
        self._get = get
        self._lock = Lock()
        self._made: dict[str, BatchedEncoder] = {}

    def get(self, name: str) -> BatchedEncoder:
        """The encoder of this name; loading one does not make requests for others wait."""
        inner = self._get(name)
        with self._lock:
            made = self._made.get(name)
            if made is None or made.inner is not inner:
                made = self._made[name] = BatchedEncoder(inner)
            return made
