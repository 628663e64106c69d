"""Which concepts two representations share: optimal matching against a permutation null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from services.explanation.concepts.distances import (
    ConceptDistances,
    chance_distance,
    crossed_spreads,
    distance_of_spreads,
    kappa_of,
    pair_spread,
    sum_of_columns_kappa,
)
from services.explanation.semantics.significance import q_values, tail_shares

Relation = Literal["universal", "shared", "weak", "unique", "undecided"]
PERMUTATIONS = 50
NULL_POINTS = 4000
LARGEST_ASSIGNMENT = 3000
UNIVERSAL_KAPPA, SHARED_KAPPA, MOST_FALSE = 0.6, 0.3, 0.05
SPLIT_GAIN = 0.1


@dataclass(frozen=True)
class Match:
    """A concept of one side with its one-to-one partner on the other, or without.

    Parameters
    ----------
    ours, theirs : concept numbers; one of them is None for a concept that has no partner.
    kappa, dt, d, p, q : of the pair; None without a partner. `q` is the false-discovery rate over all matched pairs.
    relation : `universal` (kappa >= 0.6), `shared` (>= 0.3), `weak`, all with q <= 0.05; `unique` if not significant;
        `undecided` if the concept is too rare for even a perfect partner to be significant.
    """

    ours: int | None
    theirs: int | None
    relation: Relation
    kappa: float | None = None
    dt: float | None = None
    d: float | None = None
    p: float | None = None
    q: float | None = None


@dataclass(frozen=True)
class Partners:
    """The two best partners of each concept of one side, whoever else has them.

    Parameters
    ----------
    best, second : [k] int64 partner numbers, -1 where there is none.
    kappa : [k, 2] float64 of both.
    divided : [k] bool, whether the union of the two matches better by 0.1 or more: the concept is split over there.
    """

    best: np.ndarray
    second: np.ndarray
    kappa: np.ndarray
    divided: np.ndarray


def optimal_pairs(kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one matching with the largest total kappa (undefined ones count as 0).

    Above 3,000 concepts a side, mutual nearest partners only.

    Parameters
    ----------
    kappa : [kA, kB] float64 with NaN where undefined.

    Returns
    -------
    rows, columns : [m] int64. Source: Kuhn 1955, by `scipy.optimize.linear_sum_assignment`.
    """
    gain = np.nan_to_num(kappa, nan=0.0)
    if max(kappa.shape) <= LARGEST_ASSIGNMENT:
        rows, columns = linear_sum_assignment(gain, maximize=True)
        return rows, columns
    there, back = gain.argmax(axis=1), gain.argmax(axis=0)
    rows = np.flatnonzero(back[there] == np.arange(len(there)))
    return rows, there[rows]


def matched_null(
    ours: np.ndarray,
    theirs: np.ndarray,
    *,
    permutations: int = PERMUTATIONS,
    points: int = NULL_POINTS,
    seed: int = 0,
    threads: int = 2,
) -> np.ndarray:
    """Kappas of the optimal matching after permuting the points of one side: what matching itself finds in nothing.

    Parameters
    ----------
    ours, theirs : [n, kA], [n, kB] memberships.
    points : size of the subsample on which it is done; smaller is wider, hence conservative.

    Returns
    -------
    [permutations * min(kA, kB)] float64, undefined kappas left out.
    """
    draw = np.random.default_rng(seed)
    kept = draw.choice(len(ours), min(points, len(ours)), replace=False)
    ours, theirs = ours[kept], theirs[kept]
    spread_a, spread_b = pair_spread(ours.T), pair_spread(theirs.T)
    chance = chance_distance(ours, theirs, spread_a, spread_b, seed=seed)  # the same for every permutation
    found = []
    for _ in range(permutations):
        shuffled = theirs[draw.permutation(len(theirs))]
        d = distance_of_spreads(crossed_spreads(ours, shuffled, threads=threads), spread_a, spread_b, len(ours))
        kappa = kappa_of(d, chance, spread_a, spread_b)
        rows, columns = optimal_pairs(kappa)
        found.append(kappa[rows, columns])
    values = np.concatenate(found) if found else np.empty(0)
    return values[np.isfinite(values)]


def relation_of(kappa: float, q: float) -> Relation:
    """Class of a matched pair; see `Match`."""
    if not q <= MOST_FALSE:
        return "unique"
    return "universal" if kappa >= UNIVERSAL_KAPPA else "shared" if kappa >= SHARED_KAPPA else "weak"


def match_concepts(
    distances: ConceptDistances,
    null: np.ndarray,
    *,
    rare_ours: np.ndarray | None = None,
    rare_theirs: np.ndarray | None = None,
) -> list[Match]:
    """Match the concepts of two representations and say which are shared.

    Parameters
    ----------
    distances : of all concept pairs. null : from `matched_null`.
    rare_ours, rare_theirs : [kA], [kB] bool, concepts too rare to be decided; default: those that are constant.

    Returns
    -------
    Matched pairs from the largest kappa down, then concepts of either side that no pair has. Each concept appears once,
    or twice (once per side as unique) where its pair is not significant.
    """
    rare_a = distances.spread_ours <= 0 if rare_ours is None else rare_ours
    rare_b = distances.spread_theirs <= 0 if rare_theirs is None else rare_theirs
    rows, columns = optimal_pairs(distances.kappa)
    kappa = distances.kappa[rows, columns]
    defined = np.isfinite(kappa)
    rows, columns, kappa = rows[defined], columns[defined], kappa[defined]
    p = tail_shares(kappa, null)
    q = q_values(p) if len(p) else p
    hopeless = len(p) > 0 and len(p) / (1 + len(null)) > MOST_FALSE  # too few permutations for a lone perfect pair
    found: list[Match] = []
    lone_a, lone_b = set(range(distances.d.shape[0])), set(range(distances.d.shape[1]))
    for place in np.argsort(-kappa, kind="stable"):
        a, b = int(rows[place]), int(columns[place])
        relation = relation_of(kappa[place], q[place])
        if relation == "unique":
            continue
        lone_a.discard(a)
        lone_b.discard(b)
        found.append(
            Match(a, b, relation, float(kappa[place]), _number(distances.dt[a, b]), float(distances.d[a, b]),
                  float(p[place]), float(q[place]))
        )  # fmt: skip
    found += [Match(a, None, "undecided" if hopeless or rare_a[a] else "unique") for a in sorted(lone_a)]
    found += [Match(None, b, "undecided" if hopeless or rare_b[b] else "unique") for b in sorted(lone_b)]
    return found


def too_rare(values: np.ndarray, *, fewest: float = 5.0, points: int = NULL_POINTS) -> np.ndarray:
    """Concepts of which the null's subsample would hold fewer than `fewest` members: [k] bool.

    Their chance matches are a lottery of a handful of points, against which no partner could stand out.
    """
    mass = values.sum(axis=0, dtype=np.float64)
    return mass * min(points, len(values)) / len(values) < fewest


def partners(ours: np.ndarray, theirs: np.ndarray, kappa: np.ndarray, *, seed: int = 0) -> Partners:
    """Best and second partner of each concept of `ours`, and whether it is split between them.

    Parameters
    ----------
    ours, theirs : [n, kA], [n, kB] memberships. kappa : [kA, kB] from `concept_distances`. For the other direction
        exchange the sides and transpose `kappa`; a concept that is divided over here is then a merge over there.
    """
    gain = np.nan_to_num(kappa, nan=-np.inf)
    order = np.argsort(-gain, axis=1, kind="stable")[:, :2]
    best_two = np.take_along_axis(gain, order, axis=1)
    names = np.where(np.isfinite(best_two), order, -1)
    divided = np.zeros(len(gain), bool)
    for a in np.flatnonzero((names >= 0).all(axis=1) & (best_two[:, 1] > 0)):
        joined = sum_of_columns_kappa((theirs[:, names[a, 0]], theirs[:, names[a, 1]]), ours[:, a], seed=seed)
        divided[a] = joined >= best_two[a, 0] + SPLIT_GAIN
    return Partners(names[:, 0], names[:, 1], np.where(np.isfinite(best_two), best_two, np.nan), divided)


def universal_cliques(sizes: Sequence[int], pairs: dict[tuple[int, int], Sequence[Match]]) -> list[tuple[int, ...]]:
    """Concepts that all of several models share: one concept a model, each two of them matched as universal.

    Parameters
    ----------
    sizes : number of concepts of each model. pairs : (first, second) model -> matches, for each pair first < second.

    Returns
    -------
    One tuple of concept numbers per clique, in the order of models.
    """
    links = {key: {m.ours: m.theirs for m in matches if m.relation == "universal"} for key, matches in pairs.items()}
    cliques = []
    for concept in range(sizes[0]):
        chain = [concept]
        for model in range(1, len(sizes)):
            partner = links[0, model].get(concept)
            if partner is None or any(links[k, model].get(chain[k]) != partner for k in range(1, model)):
                break
            chain.append(partner)
        if len(chain) == len(sizes):
            cliques.append(tuple(chain))
    return cliques


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
