"""Layers with odd names and activations at the ends of float32 are stored, shown and searched as any other."""

import numpy as np
import pytest

from contracts.errors import NonFiniteActivation
from contracts.explanation import ComponentDetail, SearchQuery, TextTerm
from contracts.model import Layer
from services.kit.arrays import save_arrays
from tests.explanation.planted import CALLER, Bench, activations

SMALL = 60


@pytest.fixture
def bench(tmp_path) -> Bench:
    bench = Bench(tmp_path, n=SMALL)
    bench.prepare()
    return bench


def plant(bench: Bench, name: str, values: np.ndarray) -> Layer:
    path = bench.blobs.temporary("shard")
    save_arrays(path, {"values": values})
    bench.put(f"shard/{name}/00000", path)
    return Layer(name=name, kind="map", module=name, width=values.shape[1], signed=False, pooling="max")


@pytest.mark.parametrize("ends", [(-3e38, 3e38), (-1e30, 3.4e38), (0.0, 1e-40)])
def test_a_component_at_the_ends_of_float32_has_a_page_of_finite_figures(bench, ends):
    values = activations(SMALL)["maps"]["values"]
    values[[7, 9], 2] = ends
    snapshot = bench.build(layers=(plant(bench, "maps", values),))
    page = bench.service.component(CALLER, snapshot, "maps", 2)
    assert ComponentDetail.model_validate_json(page.model_dump_json()) == page
    assert (page.histogram.edges[0], page.component.maximum) == (values[:, 2].min(), values[:, 2].max())
    assert page.histogram.edges == sorted(page.histogram.edges)
    assert sum(page.histogram.counts) == SMALL


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_activation_that_is_not_finite_is_refused_by_component_and_sample(bench, value):
    values = activations(SMALL)["maps"]["values"]
    values[7, 2] = value
    with pytest.raises(NonFiniteActivation, match="component 2 is not finite on sample 7"):
        bench.build(layers=(plant(bench, "maps", values),))


@pytest.mark.parametrize("name", ["blocks/0/attention", "../maps", "a b.ü"])
def test_a_layer_may_have_any_name(bench, name):
    snapshot = bench.build(layers=(plant(bench, name, activations(SMALL)["maps"]["values"]),))
    hit = bench.service.search(CALLER, snapshot, SearchQuery(terms=[TextTerm(text="sky")], layers=[name], k=1)).hits[0]
    assert (hit.component.layer, hit.component.index) == (name, 3)
    assert len(bench.service.vectors(CALLER, snapshot, name)["index"]) == 9
