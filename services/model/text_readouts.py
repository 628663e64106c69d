"""A model that puts out embeddings, read by texts: its outputs become cosines with their directions for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from contracts.audit import ForeignSpace
from services.kit.stages import Work

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

FEWEST_COSINE = 0.98  # between a model's embeddings and the encoder's, median over some pictures
COMPARED = 8


@contextmanager
def read_by(model: nn.Module, directions: Tensor) -> Iterator[None]:
    """Within, this thread's calls of the model return cosines with `directions` instead of embeddings.

    Parameters
    ----------
    model : puts out [B, d]. directions : [R, d] unit rows; outputs are [B, R].

    The length of an embedding is a constant of the explanation, as a normalisation's is (AttnLRP, arXiv 2402.05602):
    relevance of a cosine is that of the scalar product, divided.
    """
    thread = threading.get_ident()

    def cosines(module: nn.Module, args: object, output: Tensor) -> Tensor | None:
        if threading.get_ident() != thread:
            return None
        rows = directions.to(output.device, output.dtype)
        return linear(output, rows) / output.detach().norm(dim=1, keepdim=True)

    handle = model.register_forward_hook(cosines)
    try:
        yield
    finally:
        handle.remove()


def readouts_of(work: Work, model: nn.Module) -> AbstractContextManager[None]:
    """The texts that a stage was given directions for; nothing where it judges the model's own outputs."""
    if "directions" not in work.inputs:
        return nullcontext()
    return read_by(model, torch.from_numpy(work.arrays("directions")["directions"]))


def require_same_space(model: nn.Module, batch: Tensor, embeddings: np.ndarray) -> None:
    """Refuse a model whose embeddings are not the encoder's: texts would mean nothing to it.

    Parameters
    ----------
    batch : [B, ...] pictures as the model reads them. embeddings : [B, d] the encoder's of the same pictures.

    Raises
    ------
    ForeignSpace
    """
    with torch.no_grad():
        output = model(batch)
    theirs = torch.from_numpy(embeddings.astype(np.float32))
    if not isinstance(output, Tensor) or output.shape != theirs.shape:
        told = "×".join(map(str, output.shape[1:])) if isinstance(output, Tensor) else type(output).__name__
        raise ForeignSpace(f"the model puts out {told} numbers a picture, and the encoder {theirs.shape[1]}")
    cosine = float((normalize(output.float(), dim=1) * normalize(theirs, dim=1)).sum(1).median())
    if not cosine >= FEWEST_COSINE:
        raise ForeignSpace(f"the model's embeddings have a cosine of {cosine:.2f} with the encoder's", cosine=cosine)


def nearest(cosines: np.ndarray, output: int, seen: np.ndarray, most: int) -> np.ndarray:
    """The pictures nearest to the only text of a policy, by decreasing cosine; [n] int64, in order of the samples."""
    best = np.argsort(-cosines[:, output], kind="stable")[:most]
    return np.sort(seen[best]).astype(np.int64)
