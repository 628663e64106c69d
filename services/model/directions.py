"""Directions that have to be fetched or computed: stored arrays, and differences between sets of samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from contracts.base import Caller
from contracts.data import Sample
from contracts.errors import Unavailable
from contracts.model import Layer, LayerKind, Model
from contracts.steering import DifferenceTarget, DirectionTarget, DirectionUnavailable, EmptySampleSet, SampleSet
from services.kit.arrays import array_names, load_arrays
from services.kit.artifacts import find_artifacts
from services.kit.pictures import decode_picture
from services.model.capture.hooks import captured, evaluating
from services.model.interventions.steps import Derived
from services.model.preprocess import batches, reads_pictures

if TYPE_CHECKING:
    from PIL import Image

    from services.model.adapters.port import Built
    from services.model.service import Models

BATCH = 16
PAGE = 200
MEANS = {
    LayerKind.MAP: "mean",
    LayerKind.MAP_LAST: "mean",
    LayerKind.TOKENS: "token-mean",
    LayerKind.VECTOR: "identity",
}


@dataclass(frozen=True)
class Fetcher:
    """Fetches directions for one request: with the caller's rights, from the caller's workspace."""

    models: Models
    caller: Caller
    found: Model
    built: Built

    def __call__(self, target: Derived) -> Tensor:
        """Return the direction as it is stored or computed, not normalised; see `Step.direction`."""
        if isinstance(target, DirectionTarget):
            return self.stored(target)
        return self.difference(target)

    def stored(self, target: DirectionTarget) -> Tensor:
        """Read an array of an artifact of the workspace.

        Raises
        ------
        DirectionUnavailable : no such artifact, array or row.
        """
        key = target.artifact or ""
        with self.models.database.reading() as db:
            artifact = find_artifacts(db, self.caller.workspace, [key]).get(key)
        if artifact is None:
            raise DirectionUnavailable(f"nothing is stored under {key[:12]}", field="target.artifact")
        path = self.models.blobs.open(artifact.blob)
        names = sorted(array_names(path))
        if target.array not in names:
            raise DirectionUnavailable(
                f"{key[:12]} holds no array {target.array}", field="target.array", arrays=[*names[:20]]
            )
        array = torch.from_numpy(load_arrays(path, [target.array])[target.array])
        if target.row is not None:
            if array.ndim < 2 or target.row >= len(array):
                raise DirectionUnavailable(f"{target.array} has no row {target.row}", field="target.row")
            array = array[target.row]
        return array.float()

    def difference(self, target: DifferenceTarget) -> Tensor:
        """Mean activation of one set of samples minus that of the other, means over places first; [d] float32."""
        layer = next(layer for layer in self.found.layers if layer.name == target.layer)
        means = [self._mean(layer, some, field) for some, field in ((target.toward, "toward"), (target.away, "away"))]
        return means[0] - means[1]

    def _mean(self, layer: Layer, some: SampleSet, field: str) -> Tensor:
        samples = self._samples(some, field)
        shown = tuple(sample.sha256 for sample in samples)
        make = partial(self._mean_of, layer, some.dataset, samples)
        mean: Tensor = self.models.differences.get((self.found.ref.model_sha256, layer.name, shown), make)
        return mean

    def _mean_of(self, layer: Layer, dataset: str, samples: list[Sample]) -> Tensor:
        total = torch.zeros(layer.width, dtype=torch.float64)
        pooled = layer.model_copy(update={"pooling": MEANS[layer.kind]})
        pictures = self._pictures(dataset, samples)
        special = self.built.special_tokens
        with evaluating(self.built.model), captured(self.built.model, [pooled], special_tokens=special) as kept:
            for batch in batches(pictures, reads_pictures(self.found.ref), BATCH):
                self.built.model(batch)
                total += kept.take()[layer.name].values.double().sum(0)
        return (total / len(samples)).float()

    def _samples(self, some: SampleSet, field: str) -> list[Sample]:
        data = self.models.data
        if data is None:
            raise Unavailable("no data service is wired to this model service")
        if some.samples is not None:
            return [data.sample(self.caller, some.dataset, index) for index in dict.fromkeys(some.samples)]
        name, _, value = (some.factor or "").partition("=")
        chosen: list[Sample] = []
        cursor: str | None = None
        while len(chosen) < some.most:
            page = data.samples(self.caller, some.dataset, PAGE, cursor)
            for sample in page.items:
                known = sample.label == some.label if some.label else str(sample.factors.get(name)) == value
                chosen += [sample] if known else []
            cursor = page.next
            if cursor is None:
                break
        if not chosen:
            raise EmptySampleSet(f"no sample of {some.dataset} has {some.label or some.factor}", field=field)
        return chosen[: some.most]

    def _pictures(self, dataset: str, samples: list[Sample]) -> Iterator[Image.Image]:
        data = self.models.data
        if data is None:
            raise Unavailable("no data service is wired to this model service")
        for sample in samples:
            stored = data.picture(self.caller, dataset, sample.index).body
            yield decode_picture(stored, pixel_limit=sample.width * sample.height)
