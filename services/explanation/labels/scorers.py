"""All scorers behind one call: which there are, what parameters they take, and how each ranks names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InvalidRequest, UnknownScorer
from services.explanation.labels import columns, information
from services.explanation.labels.cache import NeighbourCache, mine_negatives, random_negatives
from services.explanation.labels.concept_vectors import CONTRASTIVE, VECTORS, concept_vectors
from services.explanation.labels.ranking import Ranked, rank_by_product
from services.kit.keys import sha256_of

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Value = float | int | bool | str
BEST_SAMPLES = 100
ADAPTIVE_SAMPLES = 40
NEGATIVES = {"reuse": True, "negatives": "nearest"}
VECTOR_PARAMETERS: dict[str, dict[str, Value]] = {
    "mean": {}, "weighted_mean": {"weighting": "raw"}, "centred_mean": {},
    "csp": {"gamma": 1.0, "unit": False, "weighting": "raw", **NEGATIVES}, "mean_diff": {"strength": 1.0, **NEGATIVES},
    "orthogonal": {**NEGATIVES}, "subspace": {"k": 1, **NEGATIVES}, "lda": {"ridge": 0.1, **NEGATIVES},
}  # fmt: skip
PARAMETERS: dict[str, dict[str, Value]] = {
    **VECTOR_PARAMETERS, "softwpmi": {}, "wpmi": {}, "www": {}, "cos": {}, "cos3": {},
    "rank_reorder": {}, "invert": {"length": 3},
}  # fmt: skip
CHOICES = {"negatives": ("nearest", "random"), "weighting": ("raw", "none", "squared", "sqrt", "log1p")}
RANGES = {"gamma": (0, 1), "strength": (0, 10), "k": (1, 10), "ridge": (1e-6, 100), "length": (1, 3)}


@dataclass(frozen=True)
class Scorer:
    """A scorer with all its parameters."""

    name: str
    parameters: dict[str, Value]

    @property
    def written(self) -> str:
        """`csp:gamma=0.5`: the name and what differs from the defaults."""
        changed = [f"{key}={str(value).lower()}" for key, value in sorted(self.parameters.items())
                   if value != PARAMETERS[self.name][key]]  # fmt: skip
        return f"{self.name}:{','.join(changed)}" if changed else self.name

    @property
    def digest(self) -> str:
        """Hash of name and parameters: whatever changes labels changes it."""
        return sha256_of({"name": self.name, "parameters": dict(self.parameters)})


def scorer_named(text: str) -> Scorer:
    """Read `csp` or `csp:gamma=0.5,unit=true`.

    Raises
    ------
    UnknownScorer; InvalidRequest : a parameter that the scorer does not have, or a value out of its range.
    """
    name, _, rest = text.partition(":")
    if name not in PARAMETERS:
        raise UnknownScorer(f"there is no scorer {name[:80]!r}", field="scorers", known=sorted(PARAMETERS))
    parameters = dict(PARAMETERS[name])
    for pair in filter(None, rest.split(",")):
        key, _, given = pair.partition("=")
        if key not in parameters:
            raise InvalidRequest(f"{name} has no parameter {key[:40]!r}", field="scorers", known=sorted(parameters))
        parameters[key] = _read(key, given, parameters[key])
    return Scorer(name, parameters)


def _read(key: str, given: str, default: Value) -> Value:
    try:
        value: Value = given
        if isinstance(default, bool):
            value = {"true": True, "false": False}[given.lower()]
        elif isinstance(default, int | float):
            value = type(default)(given)
            low, high = RANGES[key]
            if not low <= value <= high:
                raise ValueError(given)
        elif given not in CHOICES[key]:
            raise ValueError(given)
    except (KeyError, ValueError) as error:
        allowed = RANGES.get(key) or CHOICES.get(key) or ("true", "false")
        raise InvalidRequest(f"{key}={given[:40]}", field="scorers", allowed=list(allowed)) from error
    return value


@dataclass
class Probe:
    """What scorers may see of one layer: the probing samples and nothing else.

    Parameters
    ----------
    embeddings : [N, d] float32 unit rows; activations : [N, C] in each component's own direction (sign · a).
    valid : [C] how many of the best samples are evidence. m : positives per component.
    texts : [T, d] vectors of the names; bare : [T, d] of the names without template; frames : [T, d] of
        `A photo of a NAME` less `A photo of a`, for `www`.
    """

    embeddings: Floats
    activations: Floats
    valid: Ints
    m: int
    texts: Floats
    bare: Floats
    frames: Floats | None = None
    seed: int = 0
    known: NeighbourCache | None = None
    _mined: dict[tuple[bool, str], Ints] = field(default_factory=dict)

    @cached_property
    def best(self) -> Ints:
        """[C, 100] samples by activation, descending, ties by id."""
        count = min(BEST_SAMPLES, len(self.activations))
        order = np.argsort(-self.activations, axis=0, kind="stable")[:count]
        return np.ascontiguousarray(order.T).astype(np.int64)

    @cached_property
    def positives(self) -> Ints:
        """[C, m] the best samples that are evidence; -1 elsewhere."""
        ids = self.best[:, : self.m]
        return np.where(np.arange(ids.shape[1]) < self.valid[:, None], ids, -1)

    @cached_property
    def values(self) -> Floats:
        """[C, m] activations of the positives."""
        return np.take_along_axis(self.activations.T, np.maximum(self.positives, 0), axis=1)

    @cached_property
    def thresholds(self) -> Floats:
        """[C] τ, the mean activation: what lies below may be a negative."""
        return self.activations.mean(axis=0, dtype=np.float64).astype(np.float32)

    @cached_property
    def cache(self) -> NeighbourCache:
        """Neighbours of every positive, given or found here."""
        images = self.positives[self.positives >= 0]
        return self.known or NeighbourCache.build(self.embeddings, images if len(images) else np.zeros(1, np.int64))

    def negatives(self, *, reuse: bool = True, kind: str = "nearest") -> Ints:
        """[C, m] the paired negatives, mined once for all scorers that want the same."""
        if (reuse, kind) not in self._mined:
            if kind == "random":
                found = random_negatives(self.activations, self.thresholds, self.positives.shape[1], seed=self.seed)
            else:
                found = mine_negatives(
                    self.cache, self.embeddings, self.positives, self.activations, self.thresholds, reuse=reuse
                ).ids
            self._mined[reuse, kind] = found
        return self._mined[reuse, kind]


def rank_names(scorer: Scorer, probe: Probe) -> Ranked:
    """Rank the vocabulary for every component; a component without contrast or evidence gets no name.

    Every scorer except softWPMI and WPMI is independent of which components are scored together.

    Raises
    ------
    PriorNeedsComponents : softWPMI or WPMI with one component.
    """
    evident = probe.positives[:, 0] >= 0 if probe.positives.shape[1] else np.zeros(len(probe.positives), dtype=bool)
    if scorer.name in VECTORS:
        return _by_vector(scorer, probe)
    ranked = np.flatnonzero(evident)
    made = BY_TABLE[scorer.name](probe, ranked)
    full = Ranked(
        np.full((len(evident), made.scores.shape[1]), -np.inf, np.float32),
        np.full((len(evident), made.scores.shape[1]), -1, np.int32),
    )
    full.scores[ranked], full.index[ranked] = made.scores, made.index
    return full


def _by_vector(scorer: Scorer, probe: Probe) -> Ranked:
    parameters = dict(scorer.parameters)
    reuse, kind = bool(parameters.pop("reuse", True)), str(parameters.pop("negatives", "nearest"))
    contrastive = scorer.name in CONTRASTIVE
    negatives = probe.negatives(reuse=reuse, kind=kind) if contrastive else np.full_like(probe.positives, -1)
    vectors, good = concept_vectors(
        scorer.name, probe.embeddings, probe.positives, probe.values, negatives,
        centre=probe.embeddings.mean(axis=0), **parameters,
    )  # fmt: skip
    return rank_by_product(vectors, probe.texts).without(~good)


def _adaptive(probe: Probe, rows: Ints) -> Ranked:
    """WWW (CVPR 2024): the sum over 40 samples of the cosine with `A photo of a NAME` less that with the bare frame."""
    if probe.frames is None:
        raise InvalidRequest("www needs the vocabulary's frames", field="scorers")
    ids = probe.best[rows, :ADAPTIVE_SAMPLES]
    return rank_by_product(np.stack([probe.embeddings[one].sum(axis=0) for one in ids]), probe.frames)


def adaptive_set(ranked: Ranked, alpha: float = 0.95) -> NDArray[np.bool_]:
    """Which of the ranked names form WWW's label set: score >= α · max, or max - (1 - α)|max| below 0: [C, L] bool."""
    best = ranked.scores[:, :1]
    limit = np.where(best >= 0, alpha * best, best - (1 - alpha) * np.abs(best))
    chosen: NDArray[np.bool_] = (ranked.index >= 0) & (ranked.scores >= limit)
    return chosen


BY_TABLE: dict[str, Callable[[Probe, Ints], Ranked]] = {
    "softwpmi": lambda p, rows: information.rank_by_information(p.embeddings, p.best[rows], p.bare),
    "wpmi": lambda p, rows: information.rank_by_information(p.embeddings, p.best[rows], p.bare, information.WPMI),
    "www": _adaptive,
    "cos": lambda p, rows: columns.rank_by_cosine(p.activations[:, rows], p.embeddings, p.texts),
    "cos3": lambda p, rows: columns.rank_by_cubed_cosine(p.activations[:, rows], p.embeddings, p.texts),
    "rank_reorder": lambda p, rows: columns.rank_by_reordering(p.activations[:, rows], p.embeddings, p.texts),
}
