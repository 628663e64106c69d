"""Plans are pure: what depends on a change gets new keys, everything else keeps its own."""

from datetime import UTC, datetime

import pytest

from contracts.attribution import NoClassScores, UnknownMethod
from contracts.data import Dataset, DatasetRef
from contracts.errors import UnknownLayer, UnknownPooling
from contracts.model import Layer, LayerKind, Model, ModelRef, Preprocessing
from contracts.snapshots import Encoder, SnapshotRequest
from orchestration.pipelines.snapshot import SPAN, SnapshotPlanner, layers_worth_explaining, require_rule, shards_of
from services.kit.stages import StageFunction, StageRegistry

STAGES = ("activations", "partials", "examples", "embeddings", "nulls", "vectors", "index", "publish")
HASH = "0" * 64


def layer(name: str, width: int = 4) -> Layer:
    return Layer(name=name, kind=LayerKind.MAP, module="Conv2d", width=width, signed=False, pooling="max")


def model(sha: str = HASH) -> Model:
    half = (0.5, 0.5, 0.5)
    ref = ModelRef(
        id="m_1", name="net", architecture="timm:x", weights_sha256=sha,
        preprocessing=Preprocessing(resize=8, crop=8, mean=half, std=half), preprocess_sha256=HASH, model_sha256=sha,
    )  # fmt: skip
    layers = [layer("early"), layer("late", 8)]
    return Model(ref=ref, layers=layers, parameters=1, lineage=HASH, created_at=datetime(2026, 1, 1, tzinfo=UTC))


def dataset(lineage: str = "a" * 64, n: int = 8 * (SPAN + 1)) -> Dataset:
    ref = DatasetRef(id="d_1", name="pets", content_sha256=HASH, order_sha256=HASH, n=n)
    return Dataset(
        ref=ref, source="folder", labels=[], n_captions=0, n_groups=0, n_duplicates=0, n_rejected=0, lineage=lineage,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


ENCODER = Encoder(name="e", fingerprint="e" * 64, width=5, text=True, null="template", note="")


def plan(request=None, *, model_=None, dataset_=None, encoder=ENCODER, versions=None, numerics=None):
    asked = {"model": "net", "dataset": "pets", "layers": ["early", "late"], "shard": 8, **(request or {})}
    names = (*STAGES, "crop-boxes", "crop-embeddings", "relevances", "relevant")
    registry = StageRegistry(
        tuple(StageFunction(name, (versions or {}).get(name, 1), lambda work: None) for name in names)
    )
    return SnapshotPlanner(
        SnapshotRequest(**asked), model=model_ or model(), dataset=dataset_ or dataset(), encoder=encoder,
        registry=registry, numerics=numerics or {"threads": 2},
    ).plan()  # fmt: skip


def keys(job) -> dict[str, set[str]]:
    return {stage.stage: {key for part in stage.parts for key in part.outputs.values()} for stage in job.stages}


def changed(before, after) -> set[str]:
    return {stage for stage in STAGES if keys(before)[stage] != keys(after)[stage]}


def test_the_stages_run_in_the_documented_order_and_every_input_was_made_before():
    job = plan()
    assert tuple(stage.stage for stage in job.stages) == STAGES
    made = {"a" * 64}
    for stage in job.stages:
        assert {key for part in stage.parts for key in part.inputs.values()} <= made
        made |= {key for part in stage.parts for key in part.outputs.values()}


def test_many_shards_are_collected_in_spans_that_cover_each_of_them_once():
    spans = next(stage for stage in plan().stages if stage.stage == "partials").parts
    assert [(part.spec["layer"]["name"], part.spec["start"]) for part in spans] == [
        ("early", 0), ("early", 8 * SPAN), ("late", 0), ("late", 8 * SPAN),
    ]  # fmt: skip
    assert [len(part.inputs) - 1 for part in spans] == [SPAN, 1, SPAN, 1]


def test_few_shards_are_collected_in_one_go():
    job = plan(dataset_=dataset(n=8 * SPAN))
    assert "partials" not in {stage.stage for stage in job.stages}


def test_the_result_is_named_after_the_key_of_what_is_published():
    job = plan()
    assert job.result == "s_" + job.stages[-1].parts[0].outputs["snapshot"][:16]
    assert plan().result == job.result


EVERYTHING_BUT_EMBEDDINGS = set(STAGES) - {"embeddings", "nulls"}


@pytest.mark.parametrize(
    ("change", "dependants"),
    [
        ({"request": {"layers": ["early"]}}, {"activations", "partials", "examples", "vectors", "index", "publish"}),
        ({"request": {"k": 20}}, {"partials", "examples", "nulls", "vectors", "index", "publish"}),
        ({"request": {"max_per_group": 2}}, {"partials", "examples", "vectors", "index", "publish"}),
        (
            {"request": {"pooling": {"late": "mean"}}},
            {"activations", "partials", "examples", "vectors", "index", "publish"},
        ),
        ({"request": {"precision": "fp32"}}, EVERYTHING_BUT_EMBEDDINGS),
        ({"request": {"seed": 1}}, set(STAGES) - {"embeddings"}),
        ({"request": {"name": "another"}}, set()),
        ({"model_": model("1" * 64)}, EVERYTHING_BUT_EMBEDDINGS),
        ({"dataset_": dataset("b" * 64)}, set(STAGES)),
        (
            {"encoder": ENCODER.model_copy(update={"fingerprint": "f" * 64})},
            {"embeddings", "nulls", "vectors", "index", "publish"},
        ),
        ({"versions": {"vectors": 2}}, {"vectors", "index", "publish"}),
        ({"numerics": {"threads": 1}}, set(STAGES)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_change_gives_new_keys_to_exactly_its_dependants(change, dependants):
    assert changed(plan(), plan(**change)) == dependants


def test_a_further_layer_leaves_the_other_layers_keys_alone():
    one, two = keys(plan({"layers": ["early"]})), keys(plan())
    for stage in ("activations", "examples", "embeddings", "nulls", "vectors"):
        assert one[stage] <= two[stage]


def test_an_unknown_layer_is_refused_with_the_closest_names():
    with pytest.raises(UnknownLayer) as refusal:
        plan({"layers": ["erly"]})
    assert refusal.value.facts["closest"][0] == "early"


def test_shards_cover_every_sample_once():
    shards = shards_of(10, 4)
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 4), (4, 8), (8, 10)]
    assert [shard.role for shard in shards] == ["00000", "00001", "00002"]


def test_layers_are_chosen_from_early_to_late_when_none_is_named():
    layers = [layer(f"l{place}") for place in range(9)]
    assert layers_worth_explaining(layers, 3) == ["l0", "l4", "l8"]
    assert layers_worth_explaining(layers[:2], 3) == ["l0", "l1"]


def test_crops_have_stages_of_their_own_and_whole_pictures_stay_what_they_were():
    whole, cropped = plan(), plan({"crop": "activation-map"})
    assert keys(whole).keys() == keys(plan({"crop_threshold": 0.3})).keys()
    assert keys(whole) == keys(plan({"crop_threshold": 0.3}))  # says nothing about whole pictures
    names = [stage.stage for stage in cropped.stages]
    assert names.index("examples") < names.index("crop-boxes") < names.index("crop-embeddings") < names.index("nulls")
    assert changed(whole, cropped) == {"nulls", "vectors", "index", "publish"}
    vectors = next(stage for stage in cropped.stages if stage.stage == "vectors")
    assert not any(role.startswith("embeddings/") for part in vectors.parts for role in part.inputs)
    assert keys(cropped)["crop-boxes"] != keys(plan({"crop": "receptive-field"}))["crop-boxes"]
    with pytest.raises(UnknownPooling, match="early"):
        plan({"crop": "receptive-field", "pooling": {"early": "mean"}})


def test_examples_by_relevance_stand_beside_those_by_activation_and_change_nothing_else():
    plain, beside = plan(), plan({"relevance": "gamma"})
    names = [stage.stage for stage in beside.stages]
    assert names.index("examples") < names.index("relevances") < names.index("relevant") < names.index("vectors")
    assert changed(plain, beside) == {"publish"}
    published = beside.stages[-1].parts[0].inputs
    assert published["examples/early"] == plain.stages[-1].parts[0].inputs["examples/early"]
    assert published["others/early"] in keys(beside)["relevant"]


def test_a_snapshot_may_rest_on_examples_by_relevance():
    plain, ranked = plan(), plan({"rank_by": "relevance"})
    assert changed(plain, ranked) == {"vectors", "index", "publish"}
    published = ranked.stages[-1].parts[0].inputs
    assert published["examples/early"] in keys(ranked)["relevant"]
    assert published["others/early"] == plain.stages[-1].parts[0].inputs["examples/early"]
    assert keys(ranked) == keys(plan({"rank_by": "relevance", "relevance": "epsilon"}))
    assert keys(ranked)["relevances"] != keys(plan({"relevance": "gamma"}))["relevances"]


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"relevance": "gradcam"}, UnknownMethod),
        ({"relevance": "epsilom"}, UnknownMethod),
        ({"rank_by": "relevance", "crop": "receptive-field"}, UnknownPooling),
    ],
)
def test_examples_by_relevance_that_cannot_be_had_are_refused(fields, refusal):
    asked = SnapshotRequest(model="net", dataset="pets", layers=["early"], **fields)
    with pytest.raises(refusal):
        require_rule(asked, model(), ["epsilon", "gamma"])


def test_models_that_predict_nothing_have_no_examples_by_relevance():
    good = SnapshotRequest(model="net", dataset="pets", layers=["early"], relevance="gamma")
    require_rule(good, model(), ["epsilon", "gamma"])
    found = model()
    tower = found.model_copy(update={"ref": found.ref.model_copy(update={"architecture": "open_clip:ViT-B-32"})})
    with pytest.raises(NoClassScores):
        require_rule(good, tower, ["epsilon", "gamma"])
