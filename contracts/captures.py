"""Activations of a language model over a text corpus: what may be asked, what is known of them, what is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, FiniteFloat, Name
from contracts.errors import NotFound, XsysError
from contracts.model import LayerName

CaptureId = Annotated[str, Field(min_length=1, max_length=80, description="id (`cap_...`) or name of a capture")]
TextPool = Literal["max", "mean", "last", "top3", "absmax"]


# --- refusals -----------------------------------------------------------------------------------
class UnknownCapture(NotFound):
    """There is no such capture in this workspace."""


class CorpusTooSmall(XsysError):
    """Fewer windows or tokens than the fit needs; `needed` and `found` say how many."""

    status = 422
    remedy = "Register more text, or ask for a smaller fit, so that `found` reaches `needed`."


class NotOfText(XsysError):
    """An autoencoder, atlas or alignment of pictures was asked about text."""

    status = 422
    remedy = "Take one that was made from a capture of a language model (`xsys capture`)."


# --- capturing -----------------------------------------------------------------------------------
class CaptureRequest(Contract):
    """Run a language model over windows of a corpus and keep its activations, token by token and pooled.

    Windows are drawn evenly from all documents and shuffled by the seed; two models captured with the same corpus,
    number and seed see the same characters. Tokens whose norm exceeds ten times the layer's median are left out.
    """

    model: Annotated[str, Field(min_length=1, max_length=80, description="id or name of a language model")]
    corpus: Annotated[str, Field(min_length=1, max_length=80, description="id or name of a dataset of text")]
    layers: Annotated[list[LayerName], Field(min_length=1, max_length=16)] | None = Field(
        default=None, description="default: the residual stream at half depth"
    )
    pools: Annotated[list[TextPool], Field(min_length=1, max_length=5)] = ["max", "mean", "last", "top3"]
    windows: Annotated[int, Field(ge=20, le=1_000_000)] = 10_000
    shard: Annotated[int, Field(ge=10, le=5000, description="windows a part")] = 500
    batch: Annotated[int, Field(ge=1, le=256)] = 32
    name: Name | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class CapturedLayer(Contract):
    """A layer of a capture. `norm` is the median norm of its tokens, the unit of strengths; `tokens` were kept."""

    layer: LayerName
    width: int
    norm: FiniteFloat
    tokens: int


class Capture(Contract):
    """Activations of a language model over a corpus; immutable. `splits` counts windows of whole documents."""

    id: str
    name: str
    model: str
    corpus: str
    layers: list[CapturedLayer]
    windows: int
    splits: dict[str, int]
    order_sha256: str = Field(description="of the windows in their order: equal for models that saw the same text")
    request: CaptureRequest
    lineage: str
    created_at: datetime
