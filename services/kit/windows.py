"""Which windows of a corpus are captured, and in which order: the same for every model that reads it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.captures import CorpusTooSmall
from services.kit.corpora import Corpus
from services.kit.keys import sha256_of

FEWEST = 20
SPLITS = ("train", "validation", "test")


def chosen_windows(corpus: Corpus, n: int, *, seed: int) -> NDArray[np.int64]:
    """Up to n windows spread evenly over all documents, shuffled: [min(n, N)] int64.

    Raises
    ------
    CorpusTooSmall : fewer than 20 windows.
    """
    total = len(corpus)
    if total < FEWEST:
        raise CorpusTooSmall(f"the corpus has {total} windows", field="corpus", needed=FEWEST, found=total)
    even = np.floor(np.linspace(0, total - 1, min(n, total)) + 1e-9).astype(
        np.int64
    )  # steps are at least 1: all differ
    return np.random.default_rng(seed).permutation(even)


def described_windows(corpus: Corpus, windows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Split (0 train, 1 validation, 2 test) and document number of each window: two [n] int64."""
    passages = list(corpus.passages(windows.tolist()))
    numbers = {document.name: number for number, document in enumerate(corpus.documents)}
    return {
        "split": np.array([SPLITS.index(one.split) for one in passages], np.int64),
        "document": np.array([numbers[one.document] for one in passages], np.int64),
    }


def order_sha256(manifest: str, windows: NDArray[np.int64]) -> str:
    """Hash of the windows of a corpus in their order."""
    return sha256_of({"corpus": manifest, "windows": windows.tolist()})
