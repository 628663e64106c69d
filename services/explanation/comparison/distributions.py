"""How a layer's metrics are spread, beside the same metrics of random sets of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.comparison import Distribution, LayerDistributions
from services.explanation.comparison.together import Together, together
from services.explanation.opened import Opened
from services.explanation.semantics.nulls import ClarityNull

Doubles = NDArray[np.float64]
BINS = 24
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
POINTS = 400
BLOCK = 4096


def layer_distributions(opened: Opened, layer: str) -> LayerDistributions:
    """The three metrics of one layer with their nulls."""
    table = together(opened, [layer])
    nulls = {
        "clarity": clarity_of_random_sets(opened.nulls["clarity"], table.n_valid),
        "polysemanticity": shares_of_one_topic(opened.nulls, table.n_valid),
        "redundancy": nearest_of_random_sets(table, opened.banks[-1]),
    }
    return LayerDistributions(
        layer=layer, components=len(table), metrics=[
            distribution("clarity", table.figures["clarity"], nulls["clarity"]),
            distribution("polysemanticity", table.figures["polysemanticity"], nulls["polysemanticity"]),
            distribution("redundancy", table.figures["redundancy"], nulls["redundancy"]),
        ],
    )  # fmt: skip


def clarity_of_random_sets(moments: Doubles, n_valid: NDArray[np.int64]) -> Doubles:
    """Clarity of random sets as large as the components' example sets: 400 points of equal probability.

    Parameters
    ----------
    moments : E0, zeta1, zeta2 of `ClarityNull`. n_valid : [P] examples of each component.

    Returns
    -------
    [400] float64 ascending; the normal of exact mean and U-statistic deviation, mixed over the components' numbers.
    """
    from scipy.special import ndtri

    null = ClarityNull(*(float(value) for value in moments))
    sizes = np.unique(n_valid, return_counts=True) if len(n_valid) else (np.array([30]), np.array([1]))
    normal = ndtri((np.arange(POINTS) + 0.5) / POINTS)
    points = (null.expected + null.deviation(sizes[0])[:, None] * normal).ravel()
    return _weighted_points(points, np.repeat(sizes[1], POINTS))


def _weighted_points(values: Doubles, weights: NDArray[np.int64]) -> Doubles:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    return values[order][np.searchsorted(reached, (np.arange(POINTS) + 0.5) / POINTS)]


def shares_of_one_topic(nulls: Mapping[str, np.ndarray], n_valid: NDArray[np.int64]) -> Doubles:
    """Split share of sets of one topic, of the kept size nearest below most components' number of examples."""
    sizes = [int(size) for size in nulls["sizes"]]
    due = int(np.median(n_valid)) if len(n_valid) else sizes[-1]
    size = max((kept for kept in sizes if kept <= due), default=sizes[0])
    return np.sort(nulls[f"split_share/{size}"].astype(np.float64))


def nearest_of_random_sets(table: Together, bank: NDArray[np.float32]) -> Doubles:
    """Cosine of random-set vectors to their nearest component: redundancy grows with width, and this with it.

    Returns
    -------
    [R] float64 ascending; one 0 where the layer has no components. Source: ours.
    """
    if not len(table):
        return np.zeros(1)
    found = [(bank[start : start + BLOCK] @ table.vectors.T).max(axis=1) for start in range(0, len(bank), BLOCK)]
    return np.sort(np.concatenate(found).astype(np.float64))


def distribution(
    metric: Literal["clarity", "polysemanticity", "redundancy"], values: NDArray[np.floating], null: Doubles
) -> Distribution:
    """Quantiles and histogram of a metric beside its null; undefined values are left out."""
    known = np.sort(values[np.isfinite(values)].astype(np.float64))
    edges = np.linspace(*_ends(known, null), BINS + 1)
    return Distribution(
        metric=metric,
        n=len(known),
        mean=float(known.mean()) if len(known) else None,
        quantiles=_quantiles(known),
        null_mean=float(null.mean()),
        null_quantiles=_quantiles(null),
        above_null=float((known > np.quantile(null, 0.95)).mean()) if len(known) else None,
        edges=edges.tolist(),
        counts=_shares(known, edges),
        null_counts=_shares(null, edges),
    )


def _ends(known: Doubles, null: Doubles) -> tuple[float, float]:
    joined = np.concatenate([known, null])
    low, high = float(joined.min()), float(joined.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _quantiles(values: Doubles) -> dict[str, float]:
    return {f"{share:g}": float(np.quantile(values, share)) for share in QUANTILES} if len(values) else {}


def _shares(values: Doubles, edges: Doubles) -> list[float]:
    counts = np.histogram(values, edges)[0]
    return (counts / max(len(values), 1)).tolist()
