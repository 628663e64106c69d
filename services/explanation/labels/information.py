"""softWPMI and WPMI: how much likelier a name is on a component's best samples than for the other components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import PriorNeedsComponents
from services.explanation.labels.products import log_products
from services.explanation.labels.ranking import BEST, Ranked, best_of, merged, nothing

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
NAMES = 512
SMALL = 1e-7


@dataclass(frozen=True)
class Information:
    """Constants of one of the two scores.

    Attributes
    ----------
    scale : S is multiplied by it before the softmax over names. top : how many samples of a component count.
    prior : weight of the prior. soft : whether samples count with weights that fall from `first` to `last`.
    """

    scale: float
    top: int
    prior: float
    soft: bool
    first: float = 0.998
    last: float = 0.97


SOFT_WPMI = Information(scale=10.0, top=100, prior=1.0, soft=True)
WPMI = Information(scale=2.0, top=28, prior=0.6, soft=False)


def rank_by_information(
    embeddings: Floats, best: Ints, texts: Floats, kind: Information = SOFT_WPMI, *, names: int = BEST
) -> Ranked:
    """Rank names by L_ct - prior · (logsumexp_c L_ct - log C).

    softWPMI: L = Σ_r log(1 + w_r (p_rt - 1) + 1e-7), w_r = first - (r / top)(first - last); WPMI: L = Σ_r
    log(p_rt + 1e-7); p = softmax over names of scale · S. The prior is over the components given here, so they must be
    all that are to be compared; scores of different sets or vocabularies must not be.

    Parameters
    ----------
    embeddings : [N, d] unit rows; best : [C, >= top] samples of each component, most active first (fewer than `top`
        are all taken); texts : [T, d] of bare names.

    Raises
    ------
    PriorNeedsComponents : one component alone scores 0 for every name.

    Source: CLIP-Dissect (ICLR 2023), official code; one logarithm of a product in float64 for the sum of them, and
    blocks of names for the table S, are ours: the plain float32 form errs by 3e-4 where names differ by 0.02.
    """
    if len(best) < 2:
        raise PriorNeedsComponents(f"{len(best)} component", field="components")
    ids = best[:, : kind.top]
    images, rows = np.unique(ids, return_inverse=True)
    rows = rows.reshape(ids.shape)
    pictures = embeddings[images]
    normaliser = _log_sums(pictures, texts, kind.scale)
    ranked = nothing(len(best), names)
    for start in range(0, len(texts), NAMES):
        table = likelihoods(pictures, texts[start : start + NAMES], normaliser, kind, rows)
        peak = table.max(axis=0)
        prior = peak + np.log(np.exp((table - peak).astype(np.float64)).mean(axis=0))
        ranked = merged(
            ranked, best_of(table - np.float32(kind.prior) * prior.astype(np.float32), names=names, first=start)
        )
    return ranked


def _log_sums(pictures: Floats, texts: Floats, scale: float) -> Floats:
    """Log Σ_t exp(scale · S_jt) for each picture: [R] float32. Cosines are bounded, so no maximum is subtracted."""
    import torch

    given, total = torch.from_numpy(pictures) * scale, torch.zeros(len(pictures), dtype=torch.float64)
    for start in range(0, len(texts), NAMES):
        products = given @ torch.from_numpy(texts[start : start + NAMES]).T
        total += products.exp_().sum(dim=1)
    return np.asarray(total.log().float().numpy())


def likelihoods(pictures: Floats, texts: Floats, normaliser: Floats, kind: Information, rows: Ints) -> Floats:
    """L of all components for a block of names: [C, B] float32. rows [C, top] are rows of `pictures`."""
    import torch

    p = torch.from_numpy(pictures) @ torch.from_numpy(np.ascontiguousarray(texts)).T
    p.mul_(kind.scale).sub_(torch.from_numpy(normaliser)[:, None]).exp_()
    weights = kind.first - np.arange(rows.shape[1]) / rows.shape[1] * (kind.first - kind.last)
    made = np.empty((len(rows), len(texts)), np.float32)
    if kind.soft:
        log_products(p.numpy(), rows, (weights / (1 - weights + SMALL)).astype(np.float32), np.float32(1), made)
        made += np.float32(np.log(1 - weights + SMALL).sum())
    else:
        log_products(p.numpy(), rows, np.ones(rows.shape[1], np.float32), np.float32(SMALL), made)
    return made
