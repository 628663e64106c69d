import json

import numpy as np
import pytest

from contracts.model import Layer
from contracts.snapshots import Encoder
from services.explanation.errors import TooFewSamples
from services.kit.arrays import load_arrays, save_arrays
from services.kit.keys import sha256_of_file
from tests.explanation.planted import (
    CONCEPTS,
    MAPS,
    TOKENS,
    Bench,
    K,
    N,
    PlantedEncoder,
    activations,
    concepts_of,
)  # fmt: skip


def arrays(bench: Bench, role: str) -> dict[str, np.ndarray]:
    return load_arrays(bench.blobs.open(bench.blob(role)))


def best(column: np.ndarray, k: int) -> list[int]:
    return np.lexsort((np.arange(len(column)), -column.astype(np.float64)))[:k].tolist()


def test_examples_of_all_shards_are_those_of_the_whole(built):
    table, values = arrays(built, "examples/maps"), activations(N)["maps"]
    for component in range(MAPS.width):
        ids = best(values["values"][:, component], K)
        assert table["ids"][component].tolist() == ids
        np.testing.assert_array_equal(table["values"][component], values["values"][ids, component])
        np.testing.assert_array_equal(table["positions"][component], values["positions"][ids, component])


def test_a_signed_layer_has_both_sides_and_true_activations(built):
    table, values = arrays(built, "examples/tokens"), activations(N)["tokens"]["values"]
    assert table["sign"].tolist() == [1, 1, 1, -1, -1, -1]
    assert table["index"].tolist() == [0, 1, 2, 0, 1, 2]
    for row, (sign, component) in enumerate(zip(table["sign"], table["index"], strict=True)):
        ids = best(values[:, component] * np.float32(sign), K)
        assert table["ids"][row].tolist() == ids
        np.testing.assert_array_equal(table["values"][row], values[ids, component])


def test_the_lowest_of_one_side_are_the_highest_of_the_other(built):
    table = arrays(built, "examples/tokens")
    np.testing.assert_array_equal(table["bottom_ids"][:3], table["ids"][3:, :4])


def test_histograms_count_every_sample_once(built):
    table, values = arrays(built, "examples/maps"), activations(N)["maps"]["values"]
    assert (table["histogram"].sum(axis=1) == N).all()
    for component in (0, 5, 8):
        edges = table["edges"][component]
        counts, _ = np.histogram(values[:, component], bins=edges.astype(np.float64))
        np.testing.assert_array_equal(table["histogram"][component], counts)


def test_columns_hold_every_activation_in_blocks(built):
    columns = arrays(built, "columns/maps")
    np.testing.assert_array_equal(columns["block_00000"], activations(N)["maps"]["values"].astype(np.float16))


def test_groups_among_examples_are_counted(built):
    table = arrays(built, "examples/maps")
    assert table["n_groups"][0] == len({sample // 2 for sample in table["ids"][0].tolist()})
    assert table["n_groups"][7] == 3  # only three examples are evidence
    assert table["n_groups"][6] == 0


def test_a_limit_per_group_is_kept_and_exact(own):
    layer = MAPS.model_dump(mode="json")
    spec = {"layer": layer, "k": K, "n_bottom": 4, "max_per_group": 1, "n": N}
    shards = {role.replace("shard/maps", "shard"): role for role in own.roles if role.startswith("shard/maps")}
    own.run("examples", spec, {"manifest": "manifest", **shards}, {"examples": "limited", "columns": "c"})
    table, values = arrays(own, "limited"), activations(N)["maps"]
    for component in (0, 5, 8):
        column, kept, seen = values["values"][:, component], [], set()
        for sample in best(column, N):
            if sample // 2 not in seen:
                seen.add(sample // 2)
                kept.append(sample)
        assert table["ids"][component].tolist() == kept[:K]
        np.testing.assert_array_equal(table["values"][component], column[kept[:K]])  # not rounded to float16
        np.testing.assert_array_equal(table["positions"][component], values["positions"][kept[:K], component])


@pytest.mark.parametrize("limit", [None, 1], ids=["unlimited", "one-per-group"])
@pytest.mark.parametrize("layer", [MAPS, TOKENS], ids=lambda layer: layer.name)
def test_spans_collected_apart_merge_into_the_same_examples(own, layer, limit):
    spec = {"layer": layer.model_dump(mode="json"), "k": K, "n_bottom": 4, "max_per_group": limit, "n": N}
    roles = sorted(role for role in own.roles if role.startswith(f"shard/{layer.name}"))
    shards = {role.replace(f"shard/{layer.name}", "shard"): role for role in roles}
    own.run("examples", spec, {"manifest": "manifest", **shards}, {"examples": "whole", "columns": "c"})
    partials, start = {}, 0
    for number, (name, role) in enumerate(shards.items()):
        inputs = {"manifest": "manifest", name: role}
        own.run("partials", {**spec, "start": start}, inputs, {"partial": f"p{number}"})
        partials[f"partial/{number:05d}"] = f"p{number}"
        start += len(arrays(own, role)["values"])
    assert len(partials) > 1 and start == N
    inputs = {"manifest": "manifest", **shards, **partials}
    own.run("examples", spec, inputs, {"examples": "merged", "columns": "c2"})
    whole, merged = arrays(own, "whole"), arrays(own, "merged")
    assert set(whole) == set(merged)
    for name in set(whole) - {"mean"}:
        np.testing.assert_array_equal(merged[name], whole[name], err_msg=name)
    np.testing.assert_allclose(merged["mean"], whole["mean"], rtol=2**-23)
    assert own.blob("c") == own.blob("c2")


def test_dead_and_barely_active_components_have_no_vector_and_no_metric(built):
    vectors = arrays(built, "vectors/maps")
    assert vectors["state"].tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 0]
    for name in ("clarity", "clarity_z", "share", "share_z", "redundancy"):
        assert np.isnan(vectors[name][[6, 7]]).all()
    assert not vectors["unit"][[6, 7]].any()
    assert not np.isin(vectors["row_component"], [6, 7]).any()


def test_a_component_always_below_zero_is_measured_on_both_sides(built):
    vectors, table = arrays(built, "vectors/tokens"), arrays(built, "examples/tokens")
    assert vectors["state"][[2, 5]].tolist() == [0, 0]
    assert (table["ids"][2] >= 0).all()
    assert vectors["clarity"][2] < 0.5


def test_vectors_point_at_the_planted_concept(built):
    unit = arrays(built, "vectors/maps")["unit"]
    assert unit[:5, :5].argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(np.linalg.norm(unit[:6], axis=1), 1, atol=1e-6)


def test_the_component_of_two_concepts_has_a_prototype_for_each(built):
    vectors, table = arrays(built, "vectors/maps"), arrays(built, "examples/maps")
    rows = vectors["row_vectors"][vectors["row_component"] == 5]
    assert {int(row[:5].argmax()) for row in rows[:2]} == {0, 1}
    assert vectors["share_z"][5] > 3
    shown = concepts_of(N)[table["ids"][5]]
    first = vectors["members"][5] == 0
    assert len(set(shown[first].tolist())) == 1
    assert vectors["share_z"][2] < 3


def test_redundant_components_name_each_other(built):
    vectors = arrays(built, "vectors/tokens")
    partner = int(vectors["redundancy_partner"][1])
    unit = vectors["unit"].astype(np.float64)
    others = [row for row in range(6) if row != 1]
    assert partner == others[int(np.argmax(unit[others] @ unit[1]))]
    assert vectors["redundancy"][1] == pytest.approx(unit[partner] @ unit[1], abs=1e-6)


def test_the_manifest_of_the_index_describes_its_files(built):
    manifest = json.loads(built.blobs.read(built.blob("index/manifest")))
    for name in ("index", "rows"):
        path = built.blobs.path(built.blob(f"index/{name}"))
        assert manifest["files"][name] == {"sha256": sha256_of_file(path), "bytes": path.stat().st_size}
    assert manifest["kind"] == "flat"
    assert manifest["n"] == len(arrays(built, "index/rows")["rows"])
    assert manifest["recall_at_20"] == {"text": 1.0, "image": 1.0, "component": 1.0}
    assert manifest["encoder"] == built.encoder.fingerprint
    assert manifest["layers"] == ["maps", "tokens"]


def test_equal_inputs_give_equal_bytes(built, own):
    before = {role: own.blob(role) for role in own.roles}
    own.build(name="colours")
    assert {role: own.blob(role) for role in before} == before


def test_another_seed_changes_the_nulls_and_nothing_that_is_measured_directly(built, own):
    own.build(name="again", seed=1)
    assert own.blob("nulls") != built.blob("nulls")
    np.testing.assert_array_equal(arrays(own, "vectors/maps")["clarity"], arrays(built, "vectors/maps")["clarity"])


def test_fewer_samples_than_examples_are_no_reason_to_pad(tmp_path):
    bench = Bench(tmp_path, n=11)
    bench.prepare()
    bench.build(name="few")
    table = arrays(bench, "examples/maps")
    assert table["ids"].shape[1] == 11
    assert sorted(table["ids"][8].tolist()) == list(range(11))
    assert np.isnan(arrays(bench, "vectors/maps")["image_median"]).all()  # one random set only: no null, no z


def test_nine_pictures_are_too_few_to_calibrate(tmp_path):
    bench = Bench(tmp_path, n=9)
    bench.prepare()
    with pytest.raises(TooFewSamples, match="9 pictures"):
        bench.build(name="nine")


def test_a_layer_without_any_evidence_is_published_and_finds_nothing(tmp_path):
    from contracts.explanation import SearchQuery, TextTerm
    from tests.explanation.planted import CALLER

    bench = Bench(tmp_path, n=40)
    bench.prepare()
    silent = Layer(name="maps", kind="map", module="maps", width=2, signed=False, pooling="max")
    path = bench.blobs.temporary("shard")
    save_arrays(path, {"values": np.zeros((40, 2), np.float32)})
    bench.put("shard/maps/00000", path)
    snapshot = bench.build(name="silent", layers=(silent,))
    layer = bench.service.snapshot(CALLER, snapshot).layers[0]
    assert (layer.components, layer.dead, layer.clarity_mean) == (0, 2, None)
    assert bench.service.search(CALLER, snapshot, SearchQuery(terms=[TextTerm(text="cat")])).hits == []


def test_an_encoder_without_texts_builds_a_snapshot_for_pictures(tmp_path):
    bench = Bench(tmp_path, PlantedEncoder(text=False), n=60)
    bench.prepare()
    bench.build(name="pictures")
    manifest = json.loads(bench.blobs.read(bench.blob("index/manifest")))
    assert set(manifest["recall_at_20"]) == {"image", "component"}
    assert not any(name.startswith("text/") for name in arrays(bench, "nulls"))


def test_embeddings_are_those_of_the_encoder_and_do_not_depend_on_batches(built, own):
    shown = concepts_of(N)
    rows = np.concatenate([arrays(built, role)["unit"] for role in sorted(built.roles) if role.startswith("embed")])
    assert rows.dtype == np.float16
    assert rows[:, : len(CONCEPTS)].argmax(axis=1).tolist() == shown.tolist()
    encoder = Encoder.model_validate(own.encoder.describe()).model_dump(mode="json")
    spec = {"encoder": encoder, "start": 64, "stop": 128, "batch": 7}
    own.run("embeddings", spec, {"manifest": "manifest"}, {"embeddings": "again"})
    assert own.blob("again") == own.blob("embeddings/00001")


def test_both_layers_share_one_index(built):
    rows = arrays(built, "index/rows")
    assert sorted(set(rows["layer"].tolist())) == [0, 1]
    assert rows["component"].max() < MAPS.width + 2 * TOKENS.width
    assert (np.diff(rows["component"]) >= 0).all()
    assert rows["size"].min() >= 3
