"""What each latent of a text autoencoder fires on, in one pass over the shards of a capture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

from services.kit.windows import SPLITS

if TYPE_CHECKING:
    from services.model.sae.autoencoder import SparseAutoencoder

TOP, TOKENS, BLOCK = 20, 30, 4096


class Evidence:
    """Top windows and activation mass by token of each latent, of training documents; density over all tokens.

    Parameters
    ----------
    latents : m.
    """

    def __init__(self, latents: int) -> None:
        self.latents, self.rows = latents, 0
        self.fired = np.zeros(latents, np.int64)
        self.maximum = np.zeros(latents, np.float32)
        self.mass = csr_matrix((latents, 1), dtype=np.float64)
        self.top: list[NDArray[np.float64]] = []  # rows of latent, value, window, start, stop

    def add(
        self, sae: SparseAutoencoder, values: NDArray[np.float32], window: NDArray[np.int64],
        tokens: dict[str, NDArray], text: dict[str, NDArray],
    ) -> dict[str, NDArray]:  # fmt: skip
        """Take in one shard; return its codes pooled by maximum: counts [n], latents, values, sorted by window.

        Parameters
        ----------
        values : [K, d] kept tokens. window : [K] their rows in the shard. tokens, text : the shard's arrays.
        """
        import torch

        rows, latents, codes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for start in range(0, len(values), BLOCK):
            block = sae.encode(torch.from_numpy(values[start : start + BLOCK]))
            row, latent = block.nonzero(as_tuple=True)
            rows.append(row.numpy() + start)
            latents.append(latent.numpy())
            codes.append(block[row, latent].numpy())
        row, latent, code = np.concatenate(rows), np.concatenate(latents), np.concatenate(codes)
        self.rows += len(values)
        self.fired += np.bincount(latent, minlength=self.latents)
        np.maximum.at(self.maximum, latent, code)
        best = _largest(window[row], latent, code)
        self._note(row, latent, code, tokens, text, window)
        self._note_top(best, row, latent, code, tokens, text, window)
        pooled = np.lexsort((latent[best], window[row[best]]))
        order = best[pooled]
        return {
            "counts": np.bincount(window[row[order]], minlength=len(text["window"])),
            "latents": latent[order].astype(np.int32), "values": code[order],
        }  # fmt: skip

    def _note(
        self, row: NDArray, latent: NDArray, code: NDArray, tokens: dict[str, NDArray], text: dict[str, NDArray],
        window: NDArray,
    ) -> None:  # fmt: skip
        training = text["split"][window[row]] == SPLITS.index("train")
        ids = text["ids"][tokens["token"][row[training]]]
        width = max(self.mass.shape[1], int(ids.max(initial=0)) + 1)
        added = coo_matrix((code[training].astype(np.float64), (latent[training], ids)), shape=(self.latents, width))
        self.mass.resize((self.latents, width))
        self.mass = (self.mass + added.tocsr()).tocsr()

    def _note_top(
        self, best: NDArray, row: NDArray, latent: NDArray, code: NDArray, tokens: dict[str, NDArray],
        text: dict[str, NDArray], window: NDArray,
    ) -> None:  # fmt: skip
        chosen = best[text["split"][window[row[best]]] == SPLITS.index("train")]
        spans = text["spans"][tokens["token"][row[chosen]]]
        found = np.column_stack(
            [latent[chosen], code[chosen], text["window"][window[row[chosen]]], spans[:, 0], spans[:, 1]]
        ).astype(np.float64)
        self.top = [_top_rows(np.concatenate([*self.top, found]))]

    def arrays(self) -> dict[str, NDArray]:
        """density, maximum [m]; top_{window,value,start,stop} [m, 20]; mass_ids, mass [m, 30]; -1: none."""
        shape = (self.latents, TOP)
        places = {name: np.full(shape, -1, np.int64) for name in ("top_window", "top_start", "top_stop")}
        values = np.zeros(shape, np.float32)
        rows = self.top[0] if self.top else np.zeros((0, 5))
        latent = rows[:, 0].astype(np.int64)
        rank = np.arange(len(rows)) - np.searchsorted(latent, latent)
        for name, column in (("top_window", 2), ("top_start", 3), ("top_stop", 4)):
            places[name][latent, rank] = rows[:, column].astype(np.int64)
        values[latent, rank] = rows[:, 1]
        ids, mass = np.full((self.latents, TOKENS), -1, np.int64), np.zeros((self.latents, TOKENS), np.float32)
        for one in range(self.latents):
            part = slice(self.mass.indptr[one], self.mass.indptr[one + 1])
            share, token = self.mass.data[part], self.mass.indices[part]
            order = np.lexsort((token, -share))[:TOKENS]
            ids[one, : len(order)] = token[order]
            mass[one, : len(order)] = share[order] / max(share.sum(), 1e-12)
        density = self.fired / max(self.rows, 1)
        return {
            "density": density,
            "maximum": self.maximum,
            "mass_ids": ids,
            "mass": mass,
            "top_value": values,
            **places,
        }


def _largest(window: NDArray, latent: NDArray, code: NDArray) -> NDArray[np.int64]:
    """Places of the largest code of each (window, latent); of equal ones the first."""
    order = np.lexsort((np.arange(len(code)), -code, latent, window))
    first = np.ones(len(order), bool)
    first[1:] = (window[order[1:]] != window[order[:-1]]) | (latent[order[1:]] != latent[order[:-1]])
    places: NDArray[np.int64] = order[first]
    return places


def _top_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 20 rows of largest value of each latent, ties by window."""
    order = np.lexsort((rows[:, 2], -rows[:, 1], rows[:, 0]))
    rows = rows[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows[:, 0], rows[:, 0])
    return rows[rank < TOP]
