"""The plan of a comparison: features, concepts of each seed, profiles, alignments, matches, and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise

from pydantic import JsonValue

from contracts.alignment import ComparisonRequest
from contracts.data import Dataset
from contracts.model import Layer, Model
from orchestration.pipelines.snapshot import Params, shards_of
from services.kit.keys import artifact_key
from services.kit.layers import resolve_layers
from services.kit.points import require_fitting
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

LIBRARIES = ("umap-learn", "hdbscan", "numba", "pynndescent", "faiss-cpu", "scikit-learn", "scipy", "numpy")
MOST_CROSSED = 16


@dataclass(frozen=True)
class Represented:
    """One representation of the comparison: a layer of one side's model."""

    place: int
    side: int
    model: Model
    layer: Layer


def matched_places(sides: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Which representations are matched concept by concept.

    Consecutive layers of each side; and of two sides every pair of layers up to 16 pairs, beyond that each layer of the
    longer side with the one at the same relative depth.
    """
    pairs = {(a, b) for side in sides for a, b in pairwise(side)}
    for place, one in enumerate(sides):
        for other in sides[place + 1 :]:
            if len(one) * len(other) <= MOST_CROSSED:
                pairs |= {(a, b) for a in one for b in other}
                continue
            longest = max(len(one), len(other)) - 1
            for step in range(longest + 1):
                depth = step / longest
                pairs.add((one[round(depth * (len(one) - 1))], other[round(depth * (len(other) - 1))]))
    return sorted(pairs)


class ComparisonPlanner:
    """Plans one comparison. Adding a layer computes its own chain and its pairs; the rest is found by key.

    Parameters
    ----------
    models : of the request's sides, in order. numerics : what can change the last bits on this installation.
    """

    def __init__(
        self,
        request: ComparisonRequest,
        *,
        models: Sequence[Model],
        dataset: Dataset,
        registry: StageRegistry,
        numerics: dict[str, str | int],
    ) -> None:
        self.request, self.models, self.dataset, self.registry = request, models, dataset, registry
        self.numerics = numerics | {name: version(name) for name in LIBRARIES}
        self.shards = shards_of(dataset.ref.n, request.shard)
        self.manifest = dataset.lineage
        self.represented: list[Represented] = []
        for number, (side, model) in enumerate(zip(request.sides, models, strict=True)):
            layers = resolve_layers(model, side.layers, {})
            require_fitting(layers, request.points)
            start = len(self.represented)
            self.represented += [Represented(start + i, number, model, layer) for i, layer in enumerate(layers)]
        sides = [[r.place for r in self.represented if r.side == side] for side in range(len(models))]
        self.matched = matched_places(sides)
        self.feature_keys: dict[int, dict[str, str]] = {r.place: {} for r in self.represented}
        self.concept_keys: dict[int, dict[str, str]] = {}
        self.published: dict[str, str] = {}

    def plan(self) -> JobPlan:
        """Plan all stages, in the order in which they run."""
        stages = [self._features(), self._concepts(), self._profiles()]
        if len(self.represented) > 1:
            stages += [self._alignments(), self._matches()]
        stages.append(self._publish())
        key = stages[-1].parts[0].outputs["comparison"]
        title = f"concepts of {len(self.represented)} layers on {self.dataset.ref.name}"
        return JobPlan("comparison", title, tuple(stages), f"c_{key[:16]}")

    def _key(self, stage: str, inputs: Sequence[str], params: Params, *, seed: int | None = None) -> str:
        number = self.registry.version(stage)
        return artifact_key(
            stage, version=number, inputs=inputs, params=params, seed=seed, numerics=self.numerics, output=""
        )

    def _features(self) -> StagePlan:
        points = self.request.points.model_dump(mode="json")
        parts = []
        for model in {model.ref.id: model for model in self.models}.values():
            mine = [r for r in self.represented if r.model.ref.id == model.ref.id]
            layers = {r.layer.name: r.layer.model_dump(mode="json") for r in mine}
            for shard in self.shards:
                span: Params = {"start": shard.start, "stop": shard.stop, "batch": self.request.batch}
                keys = {
                    name: self._key(
                        "features",
                        [model.ref.model_sha256, self.manifest],
                        {"layer": layer, "points": points, **span},
                    )
                    for name, layer in layers.items()
                }
                for r in mine:
                    self.feature_keys[r.place][f"features/{r.place}/{shard.role}"] = keys[r.layer.name]
                spec: Params = {
                    "model": model.ref.model_dump(mode="json"),
                    "layers": list(layers.values()),
                    "points": points,
                    **span,
                }
                parts.append(PartPlan(spec, {"manifest": self.manifest}, keys, units=shard.units))
        return StagePlan("features", tuple(parts), unit="pictures", title="run the models")

    def _common(self, place: int) -> Params:
        return {"place": place, "shards": len(self.shards), "preprocess": self.request.preprocess}

    def _concepts(self) -> StagePlan:
        parts = {}
        for r in self.represented:
            inputs = self.feature_keys[r.place]
            self.concept_keys[r.place] = {}
            for run in range(self.request.seeds):
                seed = self.request.points.seed + run
                params: Params = {
                    "method": self.request.method,
                    "parameters": dict[str, JsonValue](self.request.parameters),
                    "preprocess": self.request.preprocess,
                }
                key = self._key("concepts", list(inputs.values()), params, seed=seed)
                self.concept_keys[r.place][f"concepts/{r.place}/{run}"] = key
                spec: Params = {**self._common(r.place), **params, "seed": seed}
                parts[key] = PartPlan(spec, inputs, {"concepts": key})
        return StagePlan("concepts", tuple(parts.values()), unit="runs", title="find concepts")

    def _profiles(self) -> StagePlan:
        parts = {}
        for r in self.represented:
            inputs = {"manifest": self.manifest, **self.feature_keys[r.place], **self.concept_keys[r.place]}
            shown: Params = {"model": r.model.ref.name, "layer": r.layer.name, "grid": self.request.points.grid}
            key = self._key("profiles", list(inputs.values()), {**shown, "place": r.place})
            self.published[f"profiles/{r.place}"] = key
            spec: Params = {**self._common(r.place), **shown, "seeds": self.request.seeds}
            parts[key] = PartPlan(spec, inputs, {"profile": key})
        return StagePlan("profiles", tuple(parts.values()), unit="layers", title="describe concepts")

    def _sides(self, places: Sequence[int]) -> dict[str, str]:
        inputs: dict[str, str] = {}
        for place in places:
            inputs |= self.concept_keys[place] | {f"profiles/{place}": self.published[f"profiles/{place}"]}
        return inputs

    def _alignments(self) -> StagePlan:
        parts = []
        for r in self.represented[:-1]:
            others = [other.place for other in self.represented[r.place + 1 :]]
            inputs = self._sides([r.place, *others])
            for place in (r.place, *others):
                inputs |= self.feature_keys[place]
            params: Params = {"place": r.place, "others": list[JsonValue](others)}
            key = self._key("alignments", list(inputs.values()), params)
            self.published[f"alignments/{r.place:04d}"] = key
            spec: Params = {**self._common(r.place), **params, "seeds": self.request.seeds}
            parts.append(PartPlan(spec, inputs, {"alignments": key}, units=len(others)))
        return StagePlan("alignments", tuple(parts), unit="pairs", title="align")

    def _matches(self) -> StagePlan:
        parts = []
        for ours, theirs in self.matched:
            inputs = self._sides([ours, theirs])
            params: Params = {"ours": ours, "theirs": theirs, "permutations": self.request.permutations}
            key = self._key("matches", list(inputs.values()), params)
            self.published[f"matches/{ours}/{theirs}"] = key
            spec: Params = {**params, "seeds": self.request.seeds}
            parts.append(PartPlan(spec, inputs, {"pair": key}))
        return StagePlan("matches", tuple(parts), unit="pairs", title="match concepts")

    def _publish(self) -> StagePlan:
        sides = [
            side.model_copy(update={"model": model.ref.id})
            for side, model in zip(self.request.sides, self.models, strict=True)
        ]
        request = self.request.model_copy(update={"sides": sides, "dataset": self.dataset.ref.id})
        inputs = {"manifest": self.manifest, **self.published}
        asked = request.model_dump(mode="json", exclude={"name"})  # a name is presentation: it changes no key
        key = self._key("publish-comparison", list(inputs.values()), {"request": asked})
        models = {model.ref.id: model.ref.model_dump(mode="json") for model in self.models}
        spec: Params = {
            "request": request.model_dump(mode="json"),
            "models": list(models.values()),
            "dataset": self.dataset.ref.model_dump(mode="json"),
            "places": len(self.represented),
            "matched": [[a, b] for a, b in self.matched] if len(self.represented) > 1 else [],
        }
        return StagePlan("publish-comparison", (PartPlan(spec, inputs, {"comparison": key}),), title="publish")
