"""Datasets of a Parquet file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import UnreadableSource
from tests.data.desk import png


def written(tmp_path, columns, name="set.parquet", **options):
    path = tmp_path / name
    pq.write_table(pa.table(columns), path, **options)
    return {"kind": "parquet", "path": str(path)}


def test_a_column_of_bytes_with_labels_and_captions(desk, tmp_path):
    columns = {
        "image": [png(0), None, png(2)], "label": [3, 4, None], "caption": [" a\0b ", "lost", ""],
    }  # fmt: skip
    dataset = desk.register(written(tmp_path, columns))
    assert [(s.name, s.label, s.caption) for s in desk.samples(dataset)] == [
        ("row 0", "3", "ab"), ("row 2", None, None),
    ]  # fmt: skip
    assert desk.rejected(dataset) == {"row 1": ("UnsafePicture", "the file is empty")}
    assert dataset.labels == ["3"]


def test_a_struct_of_bytes_and_other_column_names(desk, tmp_path):
    pictures = [{"bytes": png(n), "path": f"{n}.png"} for n in range(5)] + [None]
    source = written(tmp_path, {"photo": pictures, "class": list("abcdea")}, row_group_size=2)
    dataset = desk.register({**source, "image": "photo", "label": "class", "caption": None}, part_size=3)
    assert [(s.name, s.label) for s in desk.samples(dataset)] == [(f"row {n}", "abcde"[n]) for n in range(5)]
    assert list(desk.rejected(dataset)) == ["row 5"]


def test_large_binary_and_no_words(desk, tmp_path):
    dataset = desk.register(written(tmp_path, {"image": pa.array([png(0)], pa.large_binary())}))
    assert [(s.label, s.caption) for s in desk.samples(dataset)] == [(None, None)]


@pytest.mark.parametrize("field", ["image", "label", "caption"])
def test_a_missing_column_is_refused_and_those_that_are_there_are_named(desk, tmp_path, field):
    source = written(tmp_path, {"image": [png(0)], "x.y": [1]})
    with pytest.raises(UnreadableSource, match="no column nothing") as refusal:
        desk.plan({**source, field: "nothing"})
    assert refusal.value.field == field and refusal.value.facts == {"columns": ["image", "x.y"]}


@pytest.mark.parametrize("column", [[1], ["text"], [{"path": "a.png"}], [[b"x"]]], ids=str)
def test_a_column_without_bytes_is_refused_before_anything_runs(desk, tmp_path, column):
    with pytest.raises(UnreadableSource, match="not the bytes of pictures"):
        desk.plan(written(tmp_path, {"image": column}))


def test_something_else_is_no_parquet(desk, tmp_path):
    path = tmp_path / "x.parquet"
    for body in (b"", b"PAR1", b"PAR1" + bytes(200) + b"PAR1", png(0)):
        path.write_bytes(body)
        with pytest.raises(UnreadableSource, match="no Parquet"):
            desk.plan({"kind": "parquet", "path": str(path)})
    with pytest.raises(UnreadableSource):
        desk.plan({"kind": "parquet", "path": str(tmp_path)})


def test_a_damaged_row_group_costs_its_rows_and_no_others(desk, tmp_path):
    source = written(tmp_path, {"image": [png(0), png(1)]}, row_group_size=1, compression="zstd", use_dictionary=False)
    group = pq.ParquetFile(source["path"]).metadata.row_group(0).column(0)
    path = tmp_path / "set.parquet"
    body = bytearray(path.read_bytes())
    start = group.data_page_offset
    body[start : start + group.total_compressed_size] = bytes(group.total_compressed_size)
    path.write_bytes(body)
    dataset = desk.register(source)
    assert [s.name for s in desk.samples(dataset)] == ["row 1"]
    assert "row group is damaged" in desk.rejected(dataset)["row 0"][1]


def test_a_file_that_changes_after_the_plan_is_refused(desk, tmp_path):
    plan = desk.plan(written(tmp_path, {"image": [png(0)]}))
    written(tmp_path, {"image": [png(1), png(2)]})
    with pytest.raises(UnreadableSource, match="changed"):
        desk.run(plan)


def test_the_same_file_elsewhere_has_the_same_keys(desk, tmp_path):
    one, two = (desk.plan(written(tmp_path, {"image": [png(0)]}, name)) for name in ("a.parquet", "b.parquet"))
    assert one.stages[1].parts[0].outputs == two.stages[1].parts[0].outputs
