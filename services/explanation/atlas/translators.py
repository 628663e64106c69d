"""Linear translators: subject activations to atlas codes, in closed form from the sums of statistics.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.atlas import UnknownTranslator
from contracts.steering import WidthMismatch
from services.explanation.atlas.statistics import Doubles, Floats, PairStatistics, require_pair, rows_to_unit

RHOS = (1e-3, 1e-2, 0.1, 1.0, 10.0)
SMALLEST_SINGULAR = 1e-6
LENS_EXAMPLES = 30
Rows = Literal["raw", "centred", "z"]


@dataclass(frozen=True)
class Translator:
    """A map T with the read-out that belongs to it: rown?((x - mean) / scale) T.

    Attributes
    ----------
    name : such as `op` or `ridge(rho=0.1)`. matrix : [d_s, d_c] float64. mean : [d_s]. scale : [d_s], 0 for columns
    that are left out. unit_rows : whether rows are divided by their norm before the product.
    rank : singular values kept by a polar factor; None for the others.
    """

    name: str
    matrix: Doubles
    mean: Doubles
    scale: Doubles
    unit_rows: bool = False
    rank: int | None = None

    def read(self, x: Floats) -> Doubles:
        """Predicted codes of activations: [N, d_s] -> [N, d_c] float64, up to a constant per column."""
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise WidthMismatch(
                f"{self.name} reads {len(self.mean)} columns", field="x", expected=len(self.mean), given=x.shape[-1]
            )
        live = self.scale > 0
        rows = np.where(live, (x.astype(np.float64) - self.mean) / np.where(live, self.scale, 1), 0)
        return (rows_to_unit(rows)[0] if self.unit_rows else rows) @ self.matrix

    def columns(self) -> Doubles:
        """[d_s, d_c] columns divided by their norm: how strongly each subject unit takes part in a latent."""
        norm = np.linalg.norm(self.matrix, axis=0)
        return self.matrix / np.where(norm > 0, norm, 1)


def _plain(name: str, matrix: Doubles, stats: PairStatistics) -> Translator:
    return Translator(name, matrix, stats.mean_x, np.ones(len(stats.mean_x)))


def covariance(stats: PairStatistics) -> Translator:
    """T = X̃ᵀC̃ / (n - 1), the pattern that belongs to the ridge filter."""
    return _plain("cov", stats.xc / max(stats.n - 1, 1), stats)


def correlation(stats: PairStatistics) -> Translator:
    """T = Pearson correlations; columns without variance are 0 and are left out of the read-out."""
    one, other = stats.sd_x, stats.sd_c
    live = np.outer(one > 0, other > 0)
    scale = np.outer(np.where(one > 0, one, 1), np.where(other > 0, other, 1)) * max(stats.n - 1, 1)
    return Translator("corr", np.where(live, stats.xc / scale, 0), stats.mean_x, one)


def ridges(stats: PairStatistics, rhos: Iterable[float] = RHOS, *, standardised: bool = False) -> list[Translator]:
    """Ridge regressions (X̃ᵀX̃ + λI)⁻¹X̃ᵀC̃ with λ = ρ·tr(X̃ᵀX̃)/d_s, all from one eigendecomposition.

    Parameters
    ----------
    standardised : divide the subject's columns by their standard deviations first (constant columns become 0); the
        read-out does the same.
    """
    scale = stats.sd_x if standardised else np.ones(stats.shape[0])
    inverse = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
    gram, cross = stats.xx * np.outer(inverse, inverse), stats.xc * inverse[:, None]
    values, vectors = np.linalg.eigh(gram)
    turned = vectors.T @ cross
    mean_value = np.trace(gram) / len(gram)
    found = []
    for rho in rhos:
        damped = np.maximum(values, 0) + rho * mean_value
        kept = damped > 1e-12 * max(values[-1], 1e-300)
        weights = np.where(kept, 1 / np.where(kept, damped, 1), 0)
        name = f"{'ridge_z' if standardised else 'ridge'}(rho={rho:g})"
        matrix = np.where(scale[:, None] > 0, vectors @ (weights[:, None] * turned), 0)
        found.append(Translator(name, matrix, stats.mean_x, scale))
    return found


def polar_factor(m: Doubles) -> tuple[Doubles, int]:
    """The nearest partial isometry UVᵀ of M = UΣVᵀ, from an eigendecomposition of the smaller side.

    Parameters
    ----------
    m : [d_s, d_c] float64.

    Returns
    -------
    T : [d_s, d_c]; TTᵀ = I where d_s <= d_c and the rank is full, TᵀT = I where d_s > d_c.
    rank : how many singular values are above 1e-6 of the largest.

    Source: orthogonal Procrustes (Schönemann 1966); the route over the smaller side is ours.
    """
    if m.shape[0] > m.shape[1]:
        turned, rank = polar_factor(m.T)
        return turned.T, rank
    values, vectors = np.linalg.eigh(m @ m.T)
    singular = np.sqrt(np.maximum(values, 0))
    kept = singular > SMALLEST_SINGULAR * max(float(singular[-1]), 1e-300)
    weights = np.where(kept, 1 / np.where(kept, singular, 1), 0)
    return (vectors * weights) @ (vectors.T @ m), int(kept.sum())


def procrustes(stats: PairStatistics, rows: Rows = "raw") -> Translator:
    """Orthogonal map between unit rows: of x (`op`), of x - μ (`op_ctr`), or of z-scored x (`op_z`).

    The centre and scale are the frozen ones of the first shard, as in the sums.
    """
    width = stats.shape[0]
    if rows == "raw":
        matrix, rank = polar_factor(stats.m_raw)
        return Translator("op", matrix, np.zeros(width), np.ones(width), True, rank)
    if rows == "centred":
        matrix, rank = polar_factor(stats.m_ctr)
        return Translator("op_ctr", matrix, stats.x0, np.ones(width), True, rank)
    matrix, rank = polar_factor(stats.m_z)
    return Translator("op_z", matrix, stats.x0, stats.s0, True, rank)


def lens(x: Floats, c: Floats, *, k: int = LENS_EXAMPLES, centred: bool = False) -> Translator:
    """Row i is the mean code of the k windows where subject unit i is largest (ties by window number).

    Parameters
    ----------
    x : [N, d_s]; c : [N, d_c]. centred : subtract the mean code of all windows.

    Source: the idea of SemanticLens (arXiv 2501.05398), whose k is open.
    """
    x, c = require_pair(x, c)
    codes = c.astype(np.float64)
    order = np.argsort(-x, axis=0, kind="stable")[: min(k, len(x))]
    matrix = np.stack([codes[order[:, unit]].mean(axis=0) for unit in range(x.shape[1])])
    mean = x.mean(axis=0, dtype=np.float64)
    return Translator("lens", matrix - codes.mean(axis=0) * centred, mean, np.ones(x.shape[1]))


CLOSED: dict[str, Callable[[PairStatistics], list[Translator]]] = {
    "cov": lambda stats: [covariance(stats)],
    "corr": lambda stats: [correlation(stats)],
    "ridge": ridges,
    "ridge_z": lambda stats: ridges(stats, standardised=True),
    "op": lambda stats: [procrustes(stats)],
    "op_ctr": lambda stats: [procrustes(stats, "centred")],
    "op_z": lambda stats: [procrustes(stats, "z")],
}
KNOWN = (*CLOSED, "lens", "relative", "knn")


def fitted(stats: PairStatistics, names: Iterable[str]) -> list[Translator]:
    """Translators by family name; a ridge family gives one for each ρ.

    Raises
    ------
    UnknownTranslator : also for `lens`, `relative` and `knn`, which need the stored windows and not their sums.
    """
    found: list[Translator] = []
    for name in names:
        if name not in CLOSED:
            raise UnknownTranslator(f"{name} does not follow from sums", field="translators", known=list(CLOSED))
        found.extend(CLOSED[name](stats))
    return found


def mask_of(columns: Iterable[int], width: int) -> NDArray[np.bool_]:
    """[width] bool, true at the given columns."""
    mask = np.zeros(width, bool)
    mask[list(columns)] = True
    return mask
