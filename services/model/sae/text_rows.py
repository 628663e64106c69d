"""Rows of a capture: tokens of one layer, by split, read a shard at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.sae import SaeRequest, TooFewRows
from services.kit.arrays import load_arrays
from services.kit.stages import Work
from services.kit.windows import SPLITS
from services.model.sae.stream import Shard, Stream

SHARD_ROWS = 131_072


@dataclass(frozen=True)
class TextShard:
    """One shard of a capture. text, tokens : files of the arrays that `services.model.captures` describes."""

    text: Path
    tokens: Path

    def split_of_tokens(self) -> NDArray[np.int64]:
        """Split of each kept token: [K]."""
        return load_arrays(self.text, ["split"])["split"][self.window_of_tokens()]

    def window_of_tokens(self) -> NDArray[np.int64]:
        """Row of each kept token's window in this shard: [K]."""
        found = load_arrays(self.text, ["count"])["count"]
        token = load_arrays(self.tokens, ["token"])["token"]
        rows: NDArray[np.int64] = np.repeat(np.arange(len(found)), found)[token]
        return rows

    def values(self) -> NDArray[np.float32]:
        """Activations of the kept tokens: [K, d] float32."""
        return load_arrays(self.tokens, ["values"])["values"].astype(np.float32)


def text_shards(work: Work) -> list[TextShard]:
    """The shards among a part's inputs, in order."""
    roles = sorted(role for role in work.inputs if role.startswith("tokens/"))
    return [TextShard(work.path(f"text/{role.partition('/')[2]}"), work.path(role)) for role in roles]


def rows_of_split(shards: list[TextShard], split: str, *, most: int | None = None) -> NDArray[np.float32]:
    """Tokens of one split from shard after shard: [K, d] float32, at most `most`."""
    kept: list[NDArray[np.float32]] = []
    for shard in shards:
        kept.append(shard.values()[shard.split_of_tokens() == SPLITS.index(split)])
        if most is not None and sum(map(len, kept)) >= most:
            break
    return np.concatenate(kept)[:most]


def text_stream(work: Work, request: SaeRequest) -> Stream:
    """Batches of training tokens, drawn from about 131,072 of them at a time.

    Raises
    ------
    TooFewRows : fewer training tokens than two batches.
    """
    groups: list[list[TextShard]] = [[]]
    sizes = [0]
    for shard in text_shards(work):
        training = int((shard.split_of_tokens() == SPLITS.index("train")).sum())
        if sizes[-1] and sizes[-1] + training > SHARD_ROWS:
            groups.append([])
            sizes.append(0)
        groups[-1].append(shard)
        sizes[-1] += training
    if sum(sizes) < 2 * request.batch:
        raise TooFewRows(f"{sum(sizes)} training tokens for a batch of {request.batch}", field="batch", n=sum(sizes))
    return Stream(list(_grouped(groups, sizes)), batch=request.batch, seed=request.seed)


def _grouped(groups: list[list[TextShard]], sizes: list[int]) -> Iterator[Shard]:
    for group, size in zip(groups, sizes, strict=True):
        yield Shard(size, lambda group=group: rows_of_split(group, "train"))  # type: ignore[misc]
