"""Reading an alignment: the atlas labels of a subject's unit, and units found by a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.atlas import AtlasAlignment, CarriedLabel, FoundUnit, UnitHits, UnitLabels, UnitSearch
from contracts.atlas_reading import UsedLatent
from contracts.errors import InsufficientEvidence, UnknownLayer
from contracts.sae import UnknownLatent
from services.explanation.atlas.building import TIERS
from services.explanation.atlas.retrieval import concepts_of, match_labels
from services.explanation.atlas.statistics import Floats
from services.kit.arrays import load_arrays

TRUSTED = 1  # tiers up to this number: verified and weak
LABELS = 10


@dataclass(frozen=True)
class Carried:
    """The files of one layer of an alignment. labels, map : arrays as stored; names : label texts by index."""

    alignment: AtlasAlignment
    layer: str
    labels: dict[str, np.ndarray]
    map: dict[str, np.ndarray]
    names: list[str]

    @classmethod
    def open(cls, alignment: AtlasAlignment, layer: str, files: dict[str, Path], names: list[str]) -> Carried:
        """Read a layer's files.

        Raises
        ------
        UnknownLayer : the layer was not aligned. InsufficientEvidence : it was, and nothing could be judged.
        """
        found = next((one for one in alignment.layers if one.layer == layer), None)
        if found is None:
            known = [one.layer for one in alignment.layers]
            raise UnknownLayer(f"{layer} was not aligned", field="layer", closest=known[:5])
        if found.state != "ok":
            raise InsufficientEvidence(f"no latent could be judged on {layer}", field="layer")
        return cls(alignment, layer, load_arrays(files["labels"]), load_arrays(files[f"map/{layer}"]), names)

    @property
    def trusted(self) -> np.ndarray:
        """[m] bool: label and transfer are both verified or weak."""
        return (self.labels["tier"] <= TRUSTED) & (self.map["tier"] <= TRUSTED)

    def text(self, latent: int) -> str:
        """Label of a latent."""
        return self.names[int(self.labels["index"][latent])]

    def unit(self, unit: int) -> UnitLabels:
        """Trusted labels of one unit, by z. Raises `UnknownLatent` for a unit that the layer lacks."""
        z = self.map["z"]
        if unit >= len(z):
            raise UnknownLatent(f"{self.layer} has no unit {unit}", field="unit", latents=len(z))
        latents, percentile = concepts_of(z[unit], self.trusted, k=LABELS)
        return UnitLabels(
            alignment=self.alignment.id, layer=self.layer, unit=unit, translator=self._translator,
            labels=[
                CarriedLabel(
                    latent=int(at), text=self.text(int(at)), z=float(z[unit, at]), percentile=float(share),
                    label_tier=TIERS[self.labels["tier"][at]], transfer_auroc=float(self.map["auroc"][at]),
                    transfer_tier=TIERS[self.map["tier"][at]],
                )
                for at, share in zip(latents, percentile, strict=True)
            ],
        )  # fmt: skip

    def search(self, query: UnitSearch, direction: Floats) -> UnitHits:
        """Units by a text's embedding. Raises `NoMatchingConcept`."""
        names = [self.text(at) if self.labels["index"][at] >= 0 else "" for at in range(len(self.trusted))]
        match = match_labels(direction, self.labels["vectors"], self.trusted, names, m=query.latents)
        columns = self.map["matrix"][:, match.latents].astype(np.float64)
        norm = np.linalg.norm(columns, axis=0)
        scores = (columns / np.where(norm > 0, norm, 1)) @ match.weight
        order = np.argsort(-scores, kind="stable")[: query.k]
        used = [
            UsedLatent(latent=int(at), text=names[at], cosine=float(cosine), weight=float(weight))
            for at, cosine, weight in zip(match.latents, match.cosine, match.weight, strict=True)
        ]
        units = [FoundUnit(unit=int(at), score=float(scores[at])) for at in order]
        return UnitHits(alignment=self.alignment.id, layer=self.layer, latents=used, units=units)

    @property
    def _translator(self) -> str:
        return str(next(one.chosen for one in self.alignment.layers if one.layer == self.layer))
