"""Read-outs that keep the windows themselves, and the padded map of side-by-side runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.atlas import TooFewPositives
from contracts.steering import WidthMismatch
from services.explanation.atlas.statistics import Doubles, Floats, require_pair, rows_to_unit
from services.explanation.atlas.translators import polar_factor

NEIGHBOURS, TEMPERATURE = 50, 0.05


@dataclass(frozen=True)
class Neighbourhood:
    """ĉ(x) = Σ softmax(cos / τ)·c over the k training windows nearest by cosine.

    Attributes
    ----------
    name : `knn` or `relative`. rows : [N, d] unit rows of training windows. codes : [N, d_c].
    centre : [d_s] subtracted first. anchors : [m, d_s] unit rows, or None: with anchors, windows are compared by
    their cosines to them (relative representations).
    """

    name: str
    rows: Doubles
    codes: Floats
    centre: Doubles
    anchors: Doubles | None = None
    k: int = NEIGHBOURS
    temperature: float = TEMPERATURE

    def read(self, x: Floats) -> Doubles:
        """Predicted codes of activations: [N, d_s] -> [N, d_c] float64."""
        if x.shape[1] != len(self.centre):
            raise WidthMismatch(
                "another width than in training", field="x", expected=len(self.centre), given=x.shape[1]
            )
        out = np.empty((len(x), self.codes.shape[1]))
        for start in range(0, len(x), 512):
            cosines = _described(x[start : start + 512], self.centre, self.anchors) @ self.rows.T
            k = min(self.k, cosines.shape[1])
            near = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
            chosen = np.take_along_axis(cosines, near, axis=1) / self.temperature
            weights = np.exp(chosen - chosen.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            out[start : start + 512] = np.einsum("bk,bkd->bd", weights, self.codes[near].astype(np.float64))
        return out


def _described(x: Floats, centre: Doubles, anchors: Doubles | None) -> Doubles:
    unit = rows_to_unit(x.astype(np.float64) - centre)[0]
    if anchors is None:
        return unit
    relative = unit @ anchors.T
    return rows_to_unit(relative - relative.mean(axis=1, keepdims=True))[0]


def knn(x: Floats, c: Floats, *, k: int = NEIGHBOURS, temperature: float = TEMPERATURE) -> Neighbourhood:
    """The non-parametric probe: what could be read at all. Not storable as a matrix.

    Parameters
    ----------
    x : [N, d_s]; c : [N, d_c], of the same windows.
    """
    x, c = require_pair(x, c)
    centre = x.mean(axis=0, dtype=np.float64)
    return Neighbourhood("knn", _described(x, centre, None), c, centre, None, k, temperature)


def relative(x: Floats, c: Floats, *, anchors: int = 300, k: int = NEIGHBOURS, seed: int = 0) -> Neighbourhood:
    """Windows described by their cosines to m anchor windows; codes of the nearest are averaged.

    Parameters
    ----------
    anchors : m, between 2 and N; drawn from the seed without replacement.

    Raises
    ------
    TooFewPositives : fewer windows than anchors.

    Source: relative representations (arXiv 2209.15430); the read-out is ours.
    """
    x, c = require_pair(x, c)
    if not 2 <= anchors <= len(x):
        raise TooFewPositives(f"{len(x)} windows for {anchors} anchors", field="anchors", n=len(x))
    centre = x.mean(axis=0, dtype=np.float64)
    chosen = np.sort(np.random.default_rng(seed).choice(len(x), anchors, replace=False))
    rows = rows_to_unit(x[chosen].astype(np.float64) - centre)[0]
    return Neighbourhood("relative", _described(x, centre, rows), c, centre, rows, k)


@dataclass(frozen=True)
class Padded:
    """Both sides zero-padded to one width, standardised, mapped, and brought back to the codes' units.

    Attributes
    ----------
    matrix : [d, d] float64 with d = max(d_s, d_c). rank : of its orthogonal form, None for least squares.
    """

    name: str
    matrix: Doubles
    mean_x: Doubles
    sd_x: Doubles
    mean_c: Doubles
    sd_c: Doubles
    rank: int | None = None

    def read(self, x: Floats) -> Doubles:
        """Predicted codes of activations: [N, d_s] -> [N, d_c] float64."""
        rows = _padded(_standardised(x, self.mean_x, self.sd_x), len(self.matrix))
        return (rows @ self.matrix)[:, : len(self.mean_c)] * self.sd_c + self.mean_c


def _standardised(values: Floats, mean: Doubles, sd: Doubles) -> Doubles:
    return np.where(sd > 0, (values.astype(np.float64) - mean) / np.where(sd > 0, sd, 1), 0)


def _padded(values: Doubles, width: int) -> Doubles:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))


def affine_pad(x: Floats, c: Floats, *, orthogonal: bool = False) -> Padded:
    """Least squares between padded, standardised sides, or its orthogonalised form UVᵀ.

    Source: latent space translation (arXiv 2311.00664).
    """
    x, c = require_pair(x, c)
    moments: list[NDArray[np.float64]] = []
    for side in (x, c):
        moments += [side.mean(axis=0, dtype=np.float64), side.std(axis=0, dtype=np.float64)]
    width = max(x.shape[1], c.shape[1])
    left = _padded(_standardised(x, moments[0], moments[1]), width)
    right = _padded(_standardised(c, moments[2], moments[3]), width)
    matrix: Doubles = np.linalg.lstsq(left, right, rcond=None)[0]
    rank: int | None = None
    if orthogonal:
        matrix, rank = polar_factor(matrix)
    return Padded("affine_pad_op" if orthogonal else "affine_pad", matrix, *moments, rank)
