"""The neighbours of every positive sample, found once and shared by all components that need negatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.index.library import exact_nearest

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
NONE = -1
NEIGHBOURS, DEEPER = 128, 1024
COLUMNS, IMAGES = 64, 512


@dataclass(frozen=True)
class NeighbourCache:
    """The nearest samples of some samples, by inner product of unit embeddings.

    Attributes
    ----------
    images : [U] int64, ascending: the samples whose neighbours are known.
    neighbours : [U, k] int64, nearest first; the sample itself may be among them.
    """

    images: Ints
    neighbours: Ints

    @classmethod
    def build(cls, embeddings: Floats, images: Ints, k: int = NEIGHBOURS) -> NeighbourCache:
        """Search the k + 1 nearest of all N samples for each of `images`, exactly; equal cosines by ascending id."""
        wanted = np.unique(images)
        cosines, ids = exact_nearest(embeddings, embeddings[wanted], min(k + 1, len(embeddings)), metric="inner")
        tied = (cosines[:, 1:] >= cosines[:, :-1]).any(axis=1)  # the others are in order already
        order = np.lexsort((ids[tied], -cosines[tied]), axis=1)
        ids[tied] = np.take_along_axis(ids[tied], order, axis=1)
        return cls(wanted, ids)

    def rows(self, images: Ints) -> Ints:
        """Rows of samples that the cache knows."""
        return np.searchsorted(self.images, images)


@dataclass(frozen=True)
class Negatives:
    """The nearest sample below the threshold for each positive.

    Attributes
    ----------
    ids : [C, m] int64, -1 where a component has no sample left below its threshold.
    cosines : [C, m] float32, 0 there.
    """

    ids: Ints
    cosines: Floats


def mine_negatives(
    cache: NeighbourCache,
    embeddings: Floats,
    positives: Ints,
    activations: NDArray[np.floating],
    thresholds: Floats,
    *,
    reuse: bool = True,
) -> Negatives:
    """Pair each positive with the most similar sample that does not activate the component.

    n(i) = argmax over {j : A_jc < τ_c} of <e_i, e_j>, the smallest id among equals.

    Parameters
    ----------
    cache : knows all positives. embeddings : [N, d] float32 unit rows.
    positives : [C, m] int64, best first; -1 = empty.
    activations : [N, C] pooled activations; thresholds : [C] τ, in general each column's mean.
    reuse : whether a sample may be the negative of several positives; otherwise positives choose in rank order.

    Source: Contrastive Semantic Projection (arXiv 2604.22477), reference code; the shared cache is ours. The result
    is that of a masked product over all samples, except where cosines differ by less than float32 resolves.
    """
    found = np.full(positives.shape, NONE, np.int64)
    for start in range(0, len(positives), COLUMNS):
        stop = min(start + COLUMNS, len(positives))
        block = np.asarray(activations[:, start:stop], dtype=np.float32)
        low = np.ascontiguousarray((block < thresholds[start:stop]).T)  # a quarter of the bytes to turn
        for component in range(start, stop):
            chosen = _walk if reuse else _walk_once
            found[component] = chosen(cache, embeddings, positives[component], low[component - start])
    if reuse:
        _finish(found, embeddings, positives, activations, thresholds)
    return Negatives(found, pair_cosines(embeddings, positives, found))


def pair_cosines(embeddings: Floats, positives: Ints, negatives: Ints) -> Floats:
    """Inner products of paired samples: [C, m] float32; 0 where a pair is incomplete."""
    cosines = np.zeros(positives.shape, np.float32)
    for row, (one, other) in enumerate(zip(positives, negatives, strict=True)):
        whole = (one != NONE) & (other != NONE)
        cosines[row, whole] = np.einsum("md,md->m", embeddings[one[whole]], embeddings[other[whole]])
    return cosines


def random_negatives(activations: NDArray[np.floating], thresholds: Floats, m: int, *, seed: int = 0) -> Ints:
    """Draw [C, m] samples below each threshold, with replacement; a component's draw does not depend on the others."""
    drawn = np.full((activations.shape[1], m), NONE, np.int64)
    for component, threshold in enumerate(thresholds):
        low = np.flatnonzero(activations[:, component] < threshold)
        if len(low):
            drawn[component] = np.random.default_rng([seed, component]).choice(low, m)
    return drawn


def masked_products(embeddings: Floats, positives: Ints, low: Bools) -> Ints:
    """Negatives of one component by the definition: [m] int64 from positives [m] and low [N]."""
    products = np.where(low[None, :], embeddings[positives] @ embeddings.T, -np.inf)
    products[np.arange(len(positives)), positives] = -np.inf
    best = products.argmax(axis=1)
    return np.where(np.isfinite(products[np.arange(len(positives)), best]), best, NONE)


def _walk(cache: NeighbourCache, embeddings: Floats, positives: Ints, low: Bools) -> Ints:
    """Take the first neighbour below the threshold; -1 where the list is too short."""
    candidates = cache.neighbours[cache.rows(np.maximum(positives, cache.images[0]))]
    usable = low[candidates] & (candidates != positives[:, None])
    first = usable.argmax(axis=1)
    places = np.arange(len(positives))
    return np.where(usable[places, first] & (positives != NONE), candidates[places, first], NONE)


def _walk_once(cache: NeighbourCache, embeddings: Floats, positives: Ints, low: Bools) -> Ints:
    """Let positives choose in rank order, each sample at most once."""
    free, chosen = low.copy(), np.full(len(positives), NONE, np.int64)
    for rank, positive in enumerate(positives):
        if positive == NONE or not free.any():
            continue
        best = int(_walk(cache, embeddings, positive[None], free)[0])
        best = best if best != NONE else int(masked_products(embeddings, positive[None], free)[0])
        if best != NONE:
            chosen[rank], free[best] = best, False
    return chosen


def _finish(
    found: Ints, embeddings: Floats, positives: Ints, activations: NDArray[np.floating], thresholds: Floats
) -> None:
    """Resolve in place what the short lists left open: first with longer lists, then with products."""
    for deeper in (True, False):
        component, rank = np.nonzero((found == NONE) & (positives != NONE))
        any_low = {c: bool((activations[:, c] < thresholds[c]).any()) for c in np.unique(component).tolist()}
        kept = np.array([any_low[c] for c in component.tolist()], dtype=bool)
        component, rank = component[kept], rank[kept]
        if not len(component):
            return
        if deeper:
            if len(embeddings) <= NEIGHBOURS + 1:
                continue
            longer = NeighbourCache.build(embeddings, positives[component, rank], DEEPER)
            for c in np.unique(component):
                ranks = rank[component == c]
                low = activations[:, c] < thresholds[c]
                found[c, ranks] = _walk(longer, embeddings, positives[c, ranks], low)
        else:
            _by_products(found, embeddings, positives, activations, thresholds, component, rank)


def _by_products(
    found: Ints,
    embeddings: Floats,
    positives: Ints,
    activations: NDArray[np.floating],
    thresholds: Floats,
    component: Ints,
    rank: Ints,
) -> None:
    images = positives[component, rank]
    unique = np.unique(images)
    for start in range(0, len(unique), IMAGES):
        block = unique[start : start + IMAGES]
        products = embeddings[block] @ embeddings.T
        for place in np.flatnonzero(np.isin(images, block)):
            c = component[place]
            row = products[np.searchsorted(block, images[place])]
            masked = np.where(activations[:, c] < thresholds[c], row, -np.inf)
            masked[images[place]] = -np.inf
            best = int(masked.argmax())
            found[c, rank[place]] = best if np.isfinite(masked[best]) else NONE
