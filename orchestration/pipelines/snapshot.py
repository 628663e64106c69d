"""The plan of a snapshot: which stages, which parts, and the key of everything that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import JsonValue

from contracts.attribution import NoClassScores, UnknownMethod
from contracts.crops import THRESHOLDS
from contracts.data import Dataset
from contracts.errors import UnknownPooling
from contracts.model import Layer, Model
from contracts.snapshots import Encoder, SnapshotRequest
from services.kit.keys import artifact_key
from services.kit.layers import require_maxima, resolve_layers
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

Params = dict[str, JsonValue]
RANDOM_SETS = 2000
BACKGROUND = 1000
LOWEST = 10
ENCODE_BATCH = 32
DEFAULT_RULE = "epsilon"  # of examples by relevance
CROPPED = 64  # components whose examples one part cuts and embeds
SPAN = 32  # shards that one part collects; a dataset of no more is collected in one go


@dataclass(frozen=True)
class Shard:
    """Samples `start` to `stop` (exclusive) of the dataset."""

    number: int
    start: int
    stop: int

    @property
    def role(self) -> str:
        """The shard as the last half of an input's role name."""
        return f"{self.number:05d}"

    @property
    def units(self) -> int:
        """How many samples it has."""
        return self.stop - self.start


def shards_of(n: int, size: int) -> tuple[Shard, ...]:
    """Cut `n` samples into shards of `size`, in order."""
    return tuple(Shard(number, start, min(start + size, n)) for number, start in enumerate(range(0, n, size)))


class SnapshotPlanner:
    """Plans one snapshot. Each method plans one stage and keeps the keys that later stages need.

    Parameters
    ----------
    numerics : what can change the last bits on this installation: library versions, threads, device kind.
    """

    def __init__(
        self,
        request: SnapshotRequest,
        *,
        model: Model,
        dataset: Dataset,
        encoder: Encoder,
        registry: StageRegistry,
        numerics: dict[str, str | int],
    ) -> None:
        self.request, self.model, self.dataset, self.encoder = request, model, dataset, encoder
        self.registry = registry
        self.numerics = numerics
        self.layers = resolve_layers(model, request.layers, request.pooling)
        if request.crop == "receptive-field":
            require_maxima(self.layers)
        self.rule = relevance_rule(request)
        self.shards = shards_of(dataset.ref.n, request.shard)
        self.manifest = dataset.lineage
        self.activation_keys: dict[str, dict[str, str]] = {}
        self.partial_keys: dict[str, dict[str, str]] = {}
        self.embedding_keys: dict[str, str] = {}
        self.crop_keys: dict[str, dict[str, str]] = {}
        self.published: dict[str, str] = {}

    def plan(self) -> JobPlan:
        """Plan all stages, in the order in which they run."""
        stages = (
            self._activations(),
            *self._partials(),
            self._examples(),
            *self._relevant(),
            self._embeddings(),
            *self._crops(),
            self._nulls(),
            self._vectors(),
            self._index(),
            self._publish(),
        )
        snapshot = stages[-1].parts[0].outputs["snapshot"]
        title = f"{self.model.ref.name} on {self.dataset.ref.name}: {len(self.layers)} layers"
        return JobPlan(kind="snapshot", title=title, stages=stages, result=f"s_{snapshot[:16]}")

    def _key(self, stage: str, inputs: Sequence[str], params: Params, output: str = "") -> str:
        return artifact_key(
            stage,
            version=self.registry.version(stage),
            inputs=inputs,
            params=params,
            seed=self.request.seed,
            numerics=self.numerics,
            output=output,
        )

    def _activations(self) -> StagePlan:
        forward: Params = {"precision": self.request.precision, "batch": self.request.batch, "layout": "channels-last"}
        parts = []
        for shard in self.shards:
            span: Params = {"start": shard.start, "stop": shard.stop}
            keys = {
                layer.name: self._key(
                    "activations",
                    [self.model.ref.model_sha256, self.manifest],
                    {"layer": layer.model_dump(mode="json"), **span, **forward},
                )
                for layer in self.layers
            }
            self.activation_keys[shard.role] = keys
            spec: Params = {
                "model": self.model.ref.model_dump(mode="json"),
                "layers": [layer.model_dump(mode="json") for layer in self.layers],
                **span,
                "batch": self.request.batch,
                "precision": self.request.precision,
            }
            parts.append(PartPlan(spec, {"manifest": self.manifest}, keys, units=shard.units))
        return StagePlan("activations", tuple(parts), unit="pictures", title="run the model")

    @property
    def _wanted(self) -> Params:
        return {"k": self.request.k, "n_bottom": LOWEST, "max_per_group": self.request.max_per_group}

    def _pieces(self, layer: Layer, shards: Sequence[Shard]) -> dict[str, str]:
        return {f"shard/{shard.role}": self.activation_keys[shard.role][layer.name] for shard in shards}

    def _partials(self) -> tuple[StagePlan, ...]:
        """Many shards are collected in spans first, so that the workers share that work too."""
        if len(self.shards) <= SPAN:
            return ()
        parts = []
        for layer in self.layers:
            keys = self.partial_keys.setdefault(layer.name, {})
            for number, first in enumerate(range(0, len(self.shards), SPAN)):
                shards = self.shards[first : first + SPAN]
                inputs = {"manifest": self.manifest, **self._pieces(layer, shards)}
                span: Params = {"start": shards[0].start, "n": self.dataset.ref.n}
                key = self._key("partials", list(inputs.values()), {"layer": layer.name, **span, **self._wanted})
                keys[f"partial/{number:05d}"] = key
                spec: Params = {"layer": layer.model_dump(mode="json"), **span, **self._wanted}
                parts.append(PartPlan(spec, inputs, {"partial": key}))
        return (StagePlan("partials", tuple(parts), unit="spans", title="collect spans"),)

    def _examples(self) -> StagePlan:
        params = self._wanted
        parts = []
        for layer in self.layers:
            partials = self.partial_keys.get(layer.name, {})
            inputs = {"manifest": self.manifest, **self._pieces(layer, self.shards), **partials}
            outputs = {
                name: self._key("examples", list(inputs.values()), {"layer": layer.name, **params}, name)
                for name in ("examples", "columns")
            }
            self.published[f"examples/{layer.name}"] = outputs["examples"]
            self.published[f"columns/{layer.name}"] = outputs["columns"]
            spec: Params = {"layer": layer.model_dump(mode="json"), "n": self.dataset.ref.n, **params}
            parts.append(PartPlan(spec, inputs, outputs, units=layer.width))
        return StagePlan("examples", tuple(parts), unit="components", title="find examples")

    def _relevant(self) -> tuple[StagePlan, ...]:
        """Examples by relevance; where they are what snapshots rest on, those by activation stand beside them."""
        if self.rule is None:
            return ()
        ref = self.model.ref.model_dump(mode="json")
        measured, collected = [], []
        pieces: dict[str, dict[str, str]] = {layer.name: {} for layer in self.layers}
        for shard in self.shards:
            span: Params = {"start": shard.start, "stop": shard.stop, "rule": self.rule}
            keys = {}
            for layer in self.layers:
                shape: Params = {"layer": layer.model_dump(mode="json"), **span}
                keys[layer.name] = self._key("relevances", [self.model.ref.model_sha256, self.manifest], shape)
                pieces[layer.name][f"shard/{shard.role}"] = keys[layer.name]
            spec: Params = {"model": ref, "layers": [layer.model_dump(mode="json") for layer in self.layers], **span}
            measured.append(PartPlan(spec, {"manifest": self.manifest}, keys, units=shard.units))
        for layer in self.layers:
            tables = {role: self.published[f"{role}/{layer.name}"] for role in ("examples", "columns")}
            inputs = {"manifest": self.manifest, **tables, **pieces[layer.name]}
            how: Params = {"k": self.request.k, "max_per_group": self.request.max_per_group, "rule": self.rule}
            key = self._key("relevant", list(inputs.values()), {"layer": layer.name, **how})
            ranked = self.request.rank_by == "relevance"
            self.published[f"others/{layer.name}"] = tables["examples"] if ranked else key
            self.published[f"examples/{layer.name}"] = key if ranked else tables["examples"]
            spec = {"layer": layer.model_dump(mode="json"), "n": self.dataset.ref.n, **how}
            collected.append(PartPlan(spec, inputs, {"relevant": key}, units=layer.width))
        return (
            StagePlan("relevances", tuple(measured), unit="pictures", title="follow predictions back"),
            StagePlan("relevant", tuple(collected), unit="components", title="find examples by relevance"),
        )

    def _embeddings(self) -> StagePlan:
        parts = []
        for shard in self.shards:
            span: Params = {"start": shard.start, "stop": shard.stop}
            key = artifact_key(  # no seed: shared by every snapshot of this dataset and encoder
                "embeddings",
                version=self.registry.version("embeddings"),
                inputs=[self.encoder.fingerprint, self.manifest],
                params={**span, "batch": ENCODE_BATCH},
                numerics=self.numerics,
            )
            self.embedding_keys[f"embeddings/{shard.role}"] = key
            spec: Params = {"encoder": self.encoder.model_dump(mode="json"), **span, "batch": ENCODE_BATCH}
            parts.append(PartPlan(spec, {"manifest": self.manifest}, {"embeddings": key}, units=shard.units))
        return StagePlan("embeddings", tuple(parts), unit="pictures", title="embed pictures")

    def _crops(self) -> tuple[StagePlan, ...]:
        """Crops are cut and embedded for a few components at a time; whole pictures and crops are never mixed."""
        asked = self.request
        if asked.crop == "none":
            return ()
        ref = self.model.ref.model_dump(mode="json")
        how: Params = {"crop": asked.crop, "threshold": crop_threshold(asked), "batch": asked.batch}
        cut, embedded = [], []
        for layer in self.layers:
            examples = self.published[f"examples/{layer.name}"]
            inputs = {"manifest": self.manifest, "examples": examples}
            rows = layer.width * (2 if layer.signed else 1)
            for start in range(0, rows, CROPPED):
                span: Params = {"start": start, "stop": min(start + CROPPED, rows)}
                shape: Params = {"layer": layer.model_dump(mode="json"), **span, **how}
                key = self._key("crop-boxes", [self.model.ref.model_sha256, *inputs.values()], shape)
                units = min(CROPPED, rows - start)
                cut.append(PartPlan({"model": ref, **shape}, dict(inputs), {"boxes": key}, units=units))
                role = f"{start:07d}"
                self.published[f"boxes/{layer.name}/{role}"] = key
                given = {"manifest": self.manifest, "boxes": key, "examples": examples}
                params: Params = {**span, "batch": ENCODE_BATCH}
                unit = self._key("crop-embeddings", [self.encoder.fingerprint, *given.values()], params)
                spec: Params = {"encoder": self.encoder.model_dump(mode="json"), **params}
                embedded.append(PartPlan(spec, given, {"embeddings": unit}, units=units))
                self.crop_keys.setdefault(layer.name, {})[f"crops/{role}"] = unit
        return (
            StagePlan("crop-boxes", tuple(cut), unit="components", title="cut examples"),
            StagePlan("crop-embeddings", tuple(embedded), unit="components", title="embed crops"),
        )

    def _nulls(self) -> StagePlan:
        params: Params = {"k": self.request.k, "seed": self.request.seed, "R": RANDOM_SETS, "background": BACKGROUND}
        crops = {
            f"crops/{number:05d}/{role}": key
            for number, keys in enumerate(self.crop_keys.values())
            for role, key in keys.items()
        }
        inputs = {**self.embedding_keys, **crops}
        key = self._key("nulls", [self.encoder.fingerprint, *inputs.values()], params)
        self.published["nulls"] = key
        spec: Params = {"encoder": self.encoder.model_dump(mode="json"), **params}
        part = PartPlan(spec, inputs, {"nulls": key})
        return StagePlan("nulls", (part,), title="calibrate")

    def _vectors(self) -> StagePlan:
        parts = []
        for layer in self.layers:
            inputs = {
                "examples": self.published[f"examples/{layer.name}"],
                "nulls": self.published["nulls"],
                **(self.crop_keys.get(layer.name) or self.embedding_keys),
            }
            params: Params = {"k": self.request.k, "seed": self.request.seed}
            key = self._key("vectors", list(inputs.values()), {"layer": layer.name, **params})
            self.published[f"vectors/{layer.name}"] = key
            spec: Params = {"layer": layer.model_dump(mode="json"), "n": self.dataset.ref.n, **params}
            parts.append(PartPlan(spec, inputs, {"vectors": key}, units=layer.width))
        return StagePlan("vectors", tuple(parts), unit="components", title="place and measure")

    def _index(self) -> StagePlan:
        inputs = {role: key for role, key in self.published.items() if role.startswith("vectors/")}
        inputs["nulls"] = self.published["nulls"]
        params: Params = {"layers": [layer.name for layer in self.layers], "seed": self.request.seed}
        outputs = {name: self._key("index", list(inputs.values()), params, name) for name in INDEX_OUTPUTS}
        self.published.update({f"index/{name}": key for name, key in outputs.items()})
        spec: Params = {"encoder": self.encoder.model_dump(mode="json"), **params}
        return StagePlan("index", (PartPlan(spec, inputs, outputs),), title="index")

    def _publish(self) -> StagePlan:
        inputs = {"manifest": self.manifest, **self.published}
        named = {"model": self.model.ref.id, "dataset": self.dataset.ref.id, "relevance": self.rule}
        request = self.request.model_copy(update={**named, "crop_threshold": crop_threshold(self.request)})
        unsaid = {"name"}  # a name is presentation: it changes no key
        unsaid |= {"crop", "crop_threshold"} if request.crop == "none" else set()
        unsaid |= {"rank_by", "relevance"} if self.rule is None else set()
        asked = request.model_dump(mode="json", exclude=unsaid)
        key = self._key("publish", list(inputs.values()), {"request": asked})
        spec: Params = {
            "request": request.model_dump(mode="json"),
            "model": self.model.ref.model_dump(mode="json"),
            "dataset": self.dataset.ref.model_dump(mode="json"),
            "encoder": self.encoder.model_dump(mode="json"),
            "layers": [layer.model_dump(mode="json") for layer in self.layers],
        }
        return StagePlan("publish", (PartPlan(spec, inputs, {"snapshot": key}),), title="publish")


def crop_threshold(request: SnapshotRequest) -> float:
    """The threshold that was asked for, or that of the method."""
    return THRESHOLDS[request.crop] if request.crop_threshold is None else request.crop_threshold


def relevance_rule(request: SnapshotRequest) -> str | None:
    """The rule of examples by relevance, if there are to be any."""
    return request.relevance or (DEFAULT_RULE if request.rank_by == "relevance" else None)


def require_rule(request: SnapshotRequest, model: Model, composites: Sequence[str]) -> None:
    """Refuse examples by relevance that cannot be had.

    Parameters
    ----------
    composites : the rules that give relevance of components.

    Raises
    ------
    UnknownMethod : another rule. NoClassScores : the model puts out embeddings, of which none is a prediction.
    UnknownPooling : receptive fields of examples that have no place.
    """
    if request.rank_by == "relevance" and request.crop == "receptive-field":
        raise UnknownPooling("examples by relevance have no place whose receptive field could be cut", field="crop")
    rule = relevance_rule(request)
    if rule is not None and rule not in composites:
        closest = get_close_matches(rule, composites, n=3, cutoff=0.0)
        raise UnknownMethod(f"{rule} gives no relevance of components", field="relevance", closest=[*closest])
    if rule is not None and model.ref.architecture.startswith("open_clip:"):
        raise NoClassScores(f"{model.ref.name} puts out embeddings, not class scores", field="relevance")


INDEX_OUTPUTS = ("index", "rows", "manifest")


def layers_worth_explaining(layers: Sequence[Layer], wanted: int = 5) -> list[str]:
    """Choose `wanted` layers from early to late when the user names none: evenly spaced by position, last included."""
    if len(layers) <= wanted:
        return [layer.name for layer in layers]
    steps = [round(place * (len(layers) - 1) / (wanted - 1)) for place in range(wanted)]
    return [layers[step].name for step in steps]
