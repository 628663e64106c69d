"""Reading text through an atlas: labels on activations token by token, and directions to steer with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.atlas import (
    AtlasMismatch,
)
from contracts.atlas_reading import (
    Agreement,
    DirectionQuery,
    ReadToken,
    SteeringDirection,
    TextQuery,
    TokenLabel,
    TokenReading,
    UnitAgreement,
    UsedLatent,
)
from contracts.base import Arrays
from contracts.errors import InsufficientEvidence
from contracts.sae import UnknownLatent
from contracts.steering import WidthMismatch
from services.explanation.atlas.building import TIERS
from services.explanation.atlas.carried import Carried
from services.explanation.atlas.retrieval import agreement, match_labels
from services.explanation.atlas.statistics import Floats
from services.explanation.atlas.translators import Translator
from services.explanation.atlas.writing import combine
from services.kit.arrays import facts_of, load_arrays

TRUSTED = 1
SHOWN = 20
EXAMPLES = 20


@dataclass(frozen=True)
class Labels:
    """Labels of an atlas's latents. arrays : as stored; names : by index."""

    arrays: Arrays
    names: list[str]

    @property
    def trusted(self) -> np.ndarray:
        """[m] bool: verified or weak."""
        trusted: np.ndarray = self.arrays["tier"] <= TRUSTED
        return trusted

    def text(self, latent: int) -> str:
        """Label of a latent, or its number."""
        index = int(self.arrays["index"][latent])
        return self.names[index] if index >= 0 else f"latent {latent}"

    def tier(self, latent: int) -> str:
        """Tier of a latent's label."""
        return TIERS[self.arrays["tier"][latent]]


def encode(path: Path, x: Floats) -> Floats:
    """Codes of activations by a stored autoencoder: [K, d] -> [K, m] float32, as `SparseAutoencoder.encode`.

    Raises
    ------
    WidthMismatch : the activations have another width.
    """
    arrays, facts = load_arrays(path), facts_of(path)
    if x.shape[1] != arrays["encoder"].shape[1]:
        raise WidthMismatch(
            f"this autoencoder reads {arrays['encoder'].shape[1]} columns", field="x",
            expected=int(arrays["encoder"].shape[1]), given=int(x.shape[1]),
        )  # fmt: skip
    z = (x - arrays["decoder_bias"]) @ arrays["encoder"].T + arrays["encoder_bias"]
    if facts["architecture"] == "topk":
        k = int(str(facts["k"]))
        cut = np.partition(z, -k, axis=1)[:, -k][:, None]
        return np.where(z >= np.maximum(cut, 0), z, 0).astype(np.float32)
    threshold = arrays.get("threshold", np.zeros(1, np.float32))
    return np.where(z > threshold, np.maximum(z, 0), 0).astype(np.float32)


def translator_in(carried: Carried) -> Translator:
    """The chosen map of an alignment's layer."""
    found = carried.map
    return Translator(
        "chosen", found["matrix"].astype(np.float64), found["mean"], found["scale"],
        bool(found["unit_rows"][0]) if "unit_rows" in found else False,
    )  # fmt: skip


def reading_of(
    query: TextQuery, codes: Floats, labels: Labels, tokens: Mapping[str, np.ndarray], *, model: str, layer: str,
    translator: str | None, usable: np.ndarray,
) -> TokenReading:  # fmt: skip
    """Put the strongest latents onto each token.

    Parameters
    ----------
    codes : [K, m], of kept tokens and others. tokens : as `ModelService.token_activations` delivers them.
    usable : [m] bool, latents that may be shown.
    """
    m = codes.shape[1]
    if query.latents is not None:
        unknown = [one for one in query.latents if one >= m]
        if unknown:
            raise UnknownLatent(f"there is no latent {unknown[0]}", field="latents", latents=m)
        usable = np.isin(np.arange(m), query.latents)
    values = np.where(tokens["kept"][:, None] & usable, np.maximum(codes, 0), 0)
    largest = values.max(axis=0, initial=0)
    strongest = [int(at) for at in np.argsort(-largest, kind="stable")[:SHOWN] if largest[at] > 0]
    found = []
    for row, (span, kept) in enumerate(zip(tokens["spans"], tokens["kept"], strict=True)):
        order = np.argsort(-values[row], kind="stable")[: query.k]
        shown = [_label(labels, int(at), float(values[row, at]), largest) for at in order if values[row, at] > 0]
        start, stop = int(span[0]), int(span[1])
        found.append(ReadToken(text=query.text[start:stop], start=start, stop=stop, kept=bool(kept), labels=shown))
    return TokenReading(
        model=model, layer=layer, carried=translator is not None, translator=translator, tokens=found,
        latents=[_label(labels, at, float(largest[at]), largest) for at in strongest],
    )  # fmt: skip


def _label(labels: Labels, latent: int, value: float, largest: np.ndarray) -> TokenLabel:
    return TokenLabel.model_validate(
        {
            "latent": latent, "text": labels.text(latent), "value": value, "share": value / float(largest[latent]),
            "tier": labels.tier(latent),
        }
    )  # fmt: skip


def direction_of(
    query: DirectionQuery, maps: Mapping[str, Floats], labels: Labels, *, usable: np.ndarray, embedded: Floats | None,
    model: str, layer: str, norm: float | None,
) -> SteeringDirection:  # fmt: skip
    """Combine latents into a unit vector by the wanted map, with its cosines to what the other maps give.

    Parameters
    ----------
    maps : name -> [m, d] directions of the latents. embedded : [e] unit, the query's text.

    Raises
    ------
    NoMatchingConcept; UnknownLatent; DegenerateDirection.
    """
    wanted = query.map if query.map in maps else next(iter(maps))
    m = len(maps[wanted])
    if query.latents is not None:
        unknown = [one for one in query.latents if one >= m]
        if unknown:
            raise UnknownLatent(f"there is no latent {unknown[0]}", field="latents", latents=m)
        latents, weight = np.array(query.latents), np.full(len(query.latents), 1 / len(query.latents))
        cosine = np.ones(len(latents))
    else:
        names = [labels.text(at) for at in range(m)]
        match = match_labels(np.asarray(embedded), labels.arrays["vectors"], usable, names, m=query.m)
        latents, weight, cosine = match.latents, match.weight, match.cosine
    found = combine(maps[wanted][latents].astype(np.float64), weight.tolist())
    others = {}
    for name, rows in maps.items():
        if name != wanted and np.linalg.norm(weight @ rows[latents]) > 1e-8:
            other = combine(rows[latents].astype(np.float64), weight.tolist()).vector
            others[name] = float(other @ found.vector)
    used = [
        UsedLatent(latent=int(at), text=labels.text(int(at)), cosine=float(near), weight=float(share))
        for at, near, share in zip(latents, cosine, weight, strict=True)
    ]
    return SteeringDirection(
        model=model, layer=layer, map=wanted, vector=found.vector.tolist(), latents=used,
        cosines=found.cosines.tolist(), others=others, norm=norm,
    )  # fmt: skip


def agreement_of(one: Carried, other: Carried) -> Agreement:
    """Hold what two atlases say about the units of one layer against each other.

    Raises
    ------
    AtlasMismatch : they are of different subjects. InsufficientEvidence : no unit has a trusted label from both.
    """
    if one.alignment.model != other.alignment.model or len(one.map["z"]) != len(other.map["z"]):
        raise AtlasMismatch("these alignments have different subjects", field="other")
    best = [_best_labels(side) for side in (one, other)]
    both = np.flatnonzero((best[0] >= 0) & (best[1] >= 0))
    if not len(both):
        raise InsufficientEvidence("no unit has a trusted label from both atlases", field="other")
    vectors = [side.labels["vectors"][best[at][both]] for at, side in enumerate((one, other))]
    cosine, agreed = agreement(*vectors)
    shuffled = np.random.default_rng(0).permutation(len(both))
    chance = float(agreement(vectors[0], vectors[1][shuffled])[1].mean()) if len(both) > 1 else None
    order = np.argsort(-cosine, kind="stable")[:EXAMPLES]
    examples = [
        UnitAgreement(
            unit=int(both[at]), text=one.text(int(best[0][both[at]])), other=other.text(int(best[1][both[at]])),
            cosine=float(cosine[at]), agreed=bool(agreed[at]),
        )
        for at in order
    ]  # fmt: skip
    return Agreement(
        alignment=one.alignment.id, other=other.alignment.id, layer=one.layer, units=len(both),
        agreed=float(agreed.mean()), chance=chance, cosine=float(cosine.mean()), examples=examples,
    )  # fmt: skip


def _best_labels(carried: Carried) -> np.ndarray:
    """The trusted latent of largest z of each unit, -1 without one: [d_s]."""
    z = np.where(carried.trusted, carried.map["z"], -np.inf)
    if not carried.trusted.any():
        return np.full(len(z), -1)
    best: np.ndarray = np.argmax(z, axis=1)
    return best
