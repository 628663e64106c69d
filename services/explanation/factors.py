"""How well each component tells samples with a known property from the others: the truth where factors are recorded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.errors import UnknownFactor
from contracts.explanation import FactorScore, FactorScores
from services.explanation.opened import Opened
from services.explanation.search import reference_of
from services.kit.arrays import load_arrays
from services.kit.pictures import Manifest
from services.kit.ranking import auroc, auroc_error

LABEL = "label"


def factor_scores(opened: Opened, layer: str, factor: str, k: int) -> FactorScores:
    """The `k` components of a layer that best detect a factor, by AUROC over the snapshot's samples.

    Parameters
    ----------
    factor : `NAME=VALUE` of a recorded factor, such as `artefact=tag` or `moon=true`; `label=VALUE` for labels.

    Raises
    ------
    UnknownLayer; UnknownFactor : no sample has it, or every sample; the facts list what there is.
    """
    tables = opened.tables(layer)
    positive = _positive(opened.manifest, factor)
    inside, outside = int(positive.sum()), int((~positive).sum())
    columns = load_arrays(opened.path(f"columns/{layer}"))
    area = np.concatenate([auroc(columns[name], positive) for name in sorted(columns)])
    signs = tables.examples["sign"].astype(np.float64)
    area = 0.5 + signs * (np.tile(area, len(signs) // tables.width) - 0.5)
    errors = auroc_error(area, inside, outside)
    best = np.lexsort((np.arange(len(area)), -area))[:k]
    return FactorScores(
        snapshot=opened.snapshot.id,
        lineage=opened.snapshot.lineage,
        factor=factor,
        n=len(positive),
        n_with=inside,
        components=[
            FactorScore(component=reference_of(opened, layer, int(row)), auroc=area[row], standard_error=errors[row])
            for row in best
        ],
    )


def _positive(manifest: Manifest, factor: str) -> NDArray[np.bool_]:
    values = list(map(_named, manifest.factors(), manifest.labels()))
    positive = np.array([factor in value for value in values], dtype=bool)
    if positive.all() or not positive.any():
        known = sorted(set().union(*values))
        raise UnknownFactor(f"{factor} does not tell samples apart", field="factor", factors=list(known[:100]))
    return positive


def _named(factors: dict[str, str | bool | int | float], label: str | None) -> set[str]:
    """Factors that are names or truth values, as `NAME=VALUE`."""
    named = {f"{name}={value}" for name, value in factors.items() if isinstance(value, str)}
    named |= {f"{name}={str(value).lower()}" for name, value in factors.items() if isinstance(value, bool)}
    return named if label is None else named | {f"{LABEL}={label}"}
