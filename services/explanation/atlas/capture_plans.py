"""The plan of a capture: the layers' norms, a part for each shard of windows, and the published record."""

from __future__ import annotations

from difflib import get_close_matches

from pydantic import JsonValue

from contracts.base import Caller
from contracts.captures import Capture, CaptureRequest, CorpusTooSmall
from contracts.corpora import HoldsPictures
from contracts.data import DataService, Dataset
from contracts.errors import UnknownLayer
from contracts.language import ReadsPictures
from contracts.model import Layer, Model, ModelService
from services.explanation.atlas.keys import keys_of
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry
from services.kit.windows import FEWEST


def plan_capture(
    request: CaptureRequest, *, caller: Caller, models: ModelService, data: DataService, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one capture.

    Raises
    ------
    UnknownModel; UnknownDataset; ReadsPictures; HoldsPictures; UnknownLayer; CorpusTooSmall.
    """
    model, corpus = models.model(caller, request.model), data.dataset(caller, request.corpus)
    layers = _layers(model, corpus, request.layers)
    n = min(request.windows, corpus.ref.n)
    asked = request.model_copy(
        update={"model": model.ref.id, "corpus": corpus.ref.id, "layers": [one.name for one in layers], "windows": n}
    )
    key = keys_of(registry, numerics, request.seed)
    spec: dict[str, JsonValue] = {
        "request": asked.model_dump(mode="json"), "model": model.ref.model_dump(mode="json"),
    }  # fmt: skip
    told: dict[str, object] = {"layers": asked.layers, "windows": n, "batch": request.batch}
    source = [model.ref.model_sha256, corpus.lineage]
    norms = {"norms": key("text-norms", source, {**told, "batch": None}, "norms")}
    inputs = {"corpus": corpus.lineage, **norms}
    parts, made = [], dict[str, str]()
    for number, start in enumerate(range(0, n, request.shard)):
        stop = min(start + request.shard, n)
        params = {**told, "pools": [*request.pools], "start": start, "stop": stop}
        names = ["text", *(f"{kind}/{layer.name}" for layer in layers for kind in ("tokens", "pooled"))]
        outputs = {name: key("text-activations", [*source, norms["norms"]], params, name) for name in names}
        made |= {f"{name}/{number:05d}": one for name, one in outputs.items()}
        parts.append(PartPlan({**spec, "start": start, "stop": stop}, inputs, outputs, units=stop - start))
    published = {**inputs, **made}
    whole = key("publish-capture", list(published.values()), {"name": request.name}, "record")
    final: dict[str, JsonValue] = {
        **spec, "widths": {one.name: one.width for one in layers}, "shards": len(parts), "manifest": corpus.lineage,
    }  # fmt: skip
    stages = (
        StagePlan(
            "text-norms", (PartPlan(dict(spec), {"corpus": corpus.lineage}, norms),), title="measure the layers' norms"
        ),
        StagePlan("text-activations", tuple(parts), unit="windows", title="run the model"),
        StagePlan("publish-capture", (PartPlan(final, published, {"record": whole}),), title="publish"),
    )
    title = f"{model.ref.name} on {corpus.ref.name}: {n:,} windows, {len(layers)} layers"
    return JobPlan("capture", title, stages, f"cap_{whole[:16]}")


def _layers(model: Model, corpus: Dataset, wanted: list[str] | None) -> list[Layer]:
    if not model.ref.architecture.startswith("causal_lm:"):
        raise ReadsPictures(f"{model.ref.name} is {model.ref.architecture}, no language model", field="model")
    if corpus.kind != "text":
        raise HoldsPictures(f"{corpus.ref.name} holds pictures, no text", field="corpus")
    if corpus.ref.n < FEWEST:
        raise CorpusTooSmall(
            f"{corpus.ref.name} has {corpus.ref.n} windows", field="corpus", needed=FEWEST, found=corpus.ref.n
        )
    known = {layer.name: layer for layer in model.layers}
    if wanted is None:  # the residual stream at half depth, counted from 1
        blocks = [name for name in known if name.rpartition(".")[2].isdigit()]
        return [known[blocks[max(0, round(0.5 * len(blocks)) - 1)]]]
    for name in wanted:
        if name not in known:
            closest = get_close_matches(name, known, n=3, cutoff=0.0)
            raise UnknownLayer(f"{model.ref.name} has no layer {name}", field="layers", closest=[*closest])
    return [known[name] for name in dict.fromkeys(wanted)]


def capture_inputs(capture: Capture, artifacts: dict[str, str], layer: str, *kinds: str) -> dict[str, str]:
    """Roles and keys of one layer's shards: `text/00000`, and for each kind `tokens/00000` or `pooled/00000`.

    Raises
    ------
    UnknownLayer : the layer was not captured.
    """
    known = [one.layer for one in capture.layers]
    if layer not in known:
        closest = get_close_matches(layer, known, n=3, cutoff=0.0)
        raise UnknownLayer(f"{capture.name} did not capture {layer}", field="layer", closest=[*closest])
    shards = sorted(role.rpartition("/")[2] for role in artifacts if role.startswith("text/"))
    found = {f"text/{shard}": artifacts[f"text/{shard}"] for shard in shards}
    return found | {f"{kind}/{shard}": artifacts[f"{kind}/{layer}/{shard}"] for kind in kinds for shard in shards}
