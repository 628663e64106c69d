"""Examples ranked by relevance: exact over shards, with activations beside them, kept apart by sign and group."""

import numpy as np
import pytest

from services.explanation.components import detail
from services.explanation.opened import Opened, Pinned
from services.kit.arrays import save_arrays
from tests.explanation.planted import CALLER, MAPS, SHARD, TOKENS, Bench, K, N, activations
from tests.explanation.test_stages import arrays, best


def relevances(layer) -> dict[str, np.ndarray]:
    """Seeded relevance: of the positive side (or the whole), and of the negative one."""
    draw = np.random.default_rng(5)
    names = ("values", "negative") if layer.signed else ("values",)
    return {name: draw.normal(0, 1, (N, layer.width)).astype(np.float32) for name in names}


def ranked(bench: Bench, layer, limit=None) -> dict[str, np.ndarray]:
    shards = {}
    for number, start in enumerate(range(0, N, SHARD)):
        path = bench.blobs.temporary("shard")
        save_arrays(path, {name: each[start : start + SHARD] for name, each in relevances(layer).items()})
        bench.put(f"relevance/{layer.name}/{number:05d}", path)
        shards[f"shard/{number:05d}"] = f"relevance/{layer.name}/{number:05d}"
    spec = {"layer": layer.model_dump(mode="json"), "k": K, "n": N, "max_per_group": limit, "rule": "epsilon"}
    tables = {"examples": f"examples/{layer.name}", "columns": f"columns/{layer.name}"}
    bench.run("relevant", spec, {"manifest": "manifest", **tables, **shards}, {"relevant": "relevant"})
    return arrays(bench, "relevant")


@pytest.mark.parametrize("layer", [MAPS, TOKENS], ids=lambda layer: layer.name)
def test_examples_are_the_samples_of_the_largest_relevance_of_their_side(own, layer):
    table, plain = ranked(own, layer), arrays(own, f"examples/{layer.name}")
    values = activations(N)[layer.name]["values"]
    for row, (sign, component) in enumerate(zip(table["sign"], table["index"], strict=True)):
        column = relevances(layer)["values" if sign > 0 else "negative"][:, component]
        ids = best(column, K)
        assert table["ids"][row].tolist() == ids
        np.testing.assert_array_equal(table["relevances"][row], column[ids])
        np.testing.assert_array_equal(table["values"][row], values[ids, component].astype(np.float16))
        assert table["n_valid"][row] == (column[ids] > 0).sum()
    for name in ("sign", "index", "histogram", "edges", "minimum", "maximum", "mean", "dead", "bottom_ids"):
        np.testing.assert_array_equal(table[name], plain[name])
    assert "positions" not in table


def test_a_limit_per_group_is_kept(own):
    table = ranked(own, MAPS, limit=1)
    for row in range(MAPS.width):
        photographs = [sample // 2 for sample in table["ids"][row].tolist()]
        assert len(set(photographs)) == len(photographs)
        assert table["n_groups"][row] == table["n_valid"][row]


def test_the_page_shows_relevance_beside_the_activation(own):
    table, whole = ranked(own, MAPS), own.service.opened(CALLER, own.snapshot)
    blobs = {role: own.blob(role) for role in ("manifest", "examples/maps", "vectors/maps", "examples/tokens")}
    blobs |= {role: own.blob(role) for role in ("vectors/tokens", "index/index", "index/rows", "index/manifest")}
    opened = Opened(Pinned(whole.snapshot, {**blobs, "others/maps": own.blob("relevant")}), own.blobs)
    shown = detail(opened, "maps", 0, 1)
    assert [one.relevance for one in shown.examples] == [None] * len(shown.examples)
    assert table["n_valid"][0] == len(shown.others) > 0
    assert [one.sample for one in shown.others] == table["ids"][0].tolist()
    assert [one.relevance for one in shown.others] == pytest.approx(table["relevances"][0].tolist())
    assert detail(opened, "tokens", 0, 1).others == []


def test_a_component_that_no_prediction_rests_on_has_no_examples_by_relevance(own):
    path = own.blobs.temporary("table")
    save_arrays(path, {**ranked(own, MAPS), "n_valid": np.zeros(MAPS.width, np.int32)})
    own.put("none", path)
    whole = own.service.opened(CALLER, own.snapshot)
    roles = ("manifest", "examples/maps", "vectors/maps", "index/index", "index/rows", "index/manifest")
    opened = Opened(
        Pinned(whole.snapshot, {**{role: own.blob(role) for role in roles}, "others/maps": own.blob("none")}), own.blobs
    )
    assert detail(opened, "maps", 0, 1).others == []
