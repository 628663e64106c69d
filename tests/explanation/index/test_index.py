import os
import subprocess
import sys

import numpy as np
import pytest

from contracts.errors import CorruptArtifact
from services.explanation.index.builder import (
    build_index,
    build_with_gate,
    kind_for,
    read_index,
    recall,
    tuned,
    write_index,
)
from services.explanation.index.generation import Filters, Generation
from services.kit.arrays import save_arrays
from services.kit.blobs import Blobs
from tests.explanation.planted import unit

ANY = Filters()


def stored(folder, rows: np.ndarray, *, component=None, layer=None, clarity=None, kind: str = "flat") -> Generation:
    """A generation over rows; each row is a component of its own unless told otherwise."""
    folder.mkdir(exist_ok=True)
    n = len(rows)
    columns = {
        "layer": np.zeros(n, np.int32) if layer is None else np.asarray(layer, np.int32),
        "component": np.arange(n) if component is None else np.asarray(component),
        "clarity": np.full(n, 0.5, np.float32) if clarity is None else np.asarray(clarity, np.float32),
    }
    save_arrays(folder / "rows", {"rows": rows, **columns})
    write_index(build_index(rows, kind=kind), folder / "index")
    return Generation(folder / "index", folder / "rows", kind=kind, nprobe=None)


def exact(rows: np.ndarray, query: np.ndarray, k: int) -> tuple[list[int], np.ndarray]:
    scores = (rows.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = np.lexsort((np.arange(len(rows)), -scores))[:k]
    return order.tolist(), scores[order]


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(2000, 32)))


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return unit(np.random.default_rng(1).normal(size=(20, 32)))


@pytest.mark.parametrize("kind", ["flat", "fp16"])
def test_ids_order_and_scores_equal_exact_search(tmp_path, rows, queries, kind):
    generation = stored(tmp_path, rows, kind=kind)
    for query in queries:
        ids, scores = exact(rows, query, 20)
        found, printed = generation.nearest(query, 20, ANY)
        assert found.tolist() == ids
        np.testing.assert_array_equal(printed, scores)


@pytest.mark.parametrize("components", [31, 32, 33])
def test_a_planted_component_is_found_whatever_its_layer_s_width(tmp_path, components):
    """A width equal to the encoder's must not turn the score matrix round."""
    rows = unit(np.random.default_rng(0).normal(size=(components, 32)))
    found, scores = stored(tmp_path, rows).nearest(rows[3], 1, ANY)
    assert found.tolist() == [3]
    assert scores[0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["flat", "fp16"])
def test_ties_come_in_component_order_even_if_there_are_hundreds(tmp_path, rows, kind):
    equal = rows.copy()
    equal[100:500] = rows[7]
    found, scores = stored(tmp_path, equal, kind=kind).nearest(rows[7], 50, ANY)
    assert found.tolist() == [7, *range(100, 149)]
    assert len(set(scores.tolist())) == 1


def test_filters_give_exactly_the_best_of_what_they_leave(tmp_path, rows, queries):
    draw = np.random.default_rng(2)
    layer, clarity = np.repeat([0, 1, 2, 3], 500), draw.uniform(0, 1, 2000).astype(np.float32)
    generation = stored(tmp_path, rows, layer=layer, clarity=clarity)
    for query in queries[:5]:
        for filters, kept in [
            (Filters(layers=frozenset({2})), layer == 2),
            (Filters(layers=frozenset({0, 3}), min_clarity=0.9), np.isin(layer, [0, 3]) & (clarity >= 0.9)),
            (Filters(without=11), np.arange(2000) != 11),
            (Filters(min_clarity=0.5, without=11), (clarity >= 0.5) & (np.arange(2000) != 11)),
        ]:
            there = np.flatnonzero(kept)
            ids, scores = exact(rows[there], query, 15)
            found, printed = generation.nearest(query, 15, filters)
            assert found.tolist() == there[ids].tolist()
            np.testing.assert_array_equal(printed, scores)


def test_a_filter_that_leaves_nothing_gives_no_hits(tmp_path, rows):
    found, scores = stored(tmp_path, rows).nearest(rows[0], 5, Filters(min_clarity=2.0))
    assert len(found) == len(scores) == 0


def test_a_component_counts_once_with_its_best_prototype(tmp_path, rows, queries):
    component = np.arange(2000) // 3  # three prototypes each
    generation = stored(tmp_path, rows, component=component)
    for query in queries[:5]:
        scores = (rows.astype(np.float64) @ query).astype(np.float32)
        best = np.array([scores[component == c].max() for c in range(component[-1] + 1)])
        expected = np.argsort(-best, kind="stable")[:20]
        found, printed = generation.nearest(query, 20, ANY)
        assert component[found].tolist() == expected.tolist()
        np.testing.assert_array_equal(printed, best[expected])


def test_more_hits_than_components_are_all_components(tmp_path, rows):
    found, _ = stored(tmp_path, rows[:10]).nearest(rows[0], 1000, ANY)
    assert sorted(found.tolist()) == list(range(10))


def test_an_index_of_nothing_finds_nothing(tmp_path):
    found, _ = stored(tmp_path, np.zeros((0, 8), np.float32)).nearest(unit(np.ones(8)), 5, ANY)
    assert len(found) == 0


def test_kinds_go_by_size():
    assert [kind_for(n) for n in (1, 50_000, 50_001, 1_000_000, 1_000_001)] == [
        "flat", "flat", "fp16", "fp16", "ivf-fp16",
    ]  # fmt: skip


def test_recall_of_an_exact_index_is_one_and_is_recorded_by_kind(rows, queries):
    _, kind, measured, nprobe = build_with_gate(rows, {"text": queries, "component": rows[:5]})
    assert (kind, measured, nprobe) == ("flat", {"text": 1.0, "component": 1.0}, None)


def test_recall_counts_what_inverted_lists_miss_and_the_gate_raises_nprobe(rows, queries):
    index = build_index(rows, kind="ivf-fp16")
    index.nprobe = 1
    assert recall(index, rows, queries) < 0.5
    measured, nprobe = tuned(index, rows, {"text": queries})
    assert measured["text"] >= 0.99
    assert nprobe > 8


def test_inverted_lists_that_never_pass_the_gate_become_an_exact_index(rows, queries, monkeypatch):
    from services.explanation.index import builder

    monkeypatch.setattr(builder, "FP16_UP_TO", 1000)
    monkeypatch.setattr(builder, "EXACT_UP_TO", 100)
    monkeypatch.setattr(builder, "PROBES", (1, 2))
    _, kind, measured, nprobe = builder.build_with_gate(rows, {"text": queries})
    assert (kind, nprobe) == ("fp16", None)
    assert measured["text"] >= 0.99


@pytest.mark.parametrize("kind", ["flat", "fp16", "ivf-fp16"])
def test_building_twice_gives_the_same_bytes(tmp_path, rows, kind):
    for name in ("a", "b"):
        write_index(build_index(rows, kind=kind), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_a_damaged_index_is_refused_before_it_is_read(tmp_path, rows, damage):
    """A flipped byte would load without complaint and give wrong vectors."""
    store = Blobs(tmp_path / "blobs")
    path = store.temporary()
    write_index(build_index(rows, kind="flat"), path)
    name = store.keep(path)
    file = store.path(name)
    data = bytearray(file.read_bytes())
    data[-10] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    with pytest.raises(CorruptArtifact):
        read_index(Blobs(tmp_path / "blobs").open(name))


def test_an_index_of_other_rows_is_refused(tmp_path, rows):
    stored(tmp_path, rows)
    write_index(build_index(rows[:-1]), tmp_path / "index")
    with pytest.raises(CorruptArtifact):
        Generation(tmp_path / "index", tmp_path / "rows", kind="flat", nprobe=None)


def test_torch_and_faiss_live_in_one_process_and_one_thread_of_faiss_is_none_of_torchs():
    program = (
        "from services.explanation.index.library import faiss, one_thread, searched; library = faiss();"
        "import torch, numpy as np; torch.set_num_threads(2);"
        "x = np.eye(8, dtype='float32'); index = library.IndexFlatIP(8); index.add(x);"
        "torch.ones(64, 64) @ torch.ones(64);"
        "during = [];\n"
        "with one_thread(): during.append(library.omp_get_max_threads())\n"
        "print(searched(index, x, 1)[1].ravel().tolist(), during, torch.get_num_threads(),"
        " library.get_deserialization_loop_limit())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ}, timeout=120
    )
    assert done.stdout.split("\n")[0] == "[0, 1, 2, 3, 4, 5, 6, 7] [1] 2 10000000"
