import numpy as np
import pytest
from safetensors import SafetensorError

from services.kit.arrays import ArrayWriter, facts_of, load_arrays, load_rows, pack_arrays, save_arrays, unpack_arrays

ARRAYS = {"b": np.arange(6, dtype=np.int64).reshape(2, 3), "a": np.array([[1.5], [-2.0]], dtype=np.float32)}


def test_arrays_cross_the_wire_with_their_types():
    back = unpack_arrays(pack_arrays(ARRAYS))
    assert {name: (array.dtype, array.tolist()) for name, array in back.items()} == {
        name: (array.dtype, array.tolist()) for name, array in ARRAYS.items()
    }


def test_truncated_arrays_are_refused():
    with pytest.raises(SafetensorError):
        unpack_arrays(pack_arrays(ARRAYS)[:-1])


def test_equal_arrays_have_equal_bytes_however_they_were_ordered(tmp_path):
    save_arrays(tmp_path / "1", ARRAYS, {"n": 1})
    save_arrays(tmp_path / "2", dict(reversed(ARRAYS.items())), {"n": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert facts_of(tmp_path / "1") == {"n": 1}


def test_some_arrays_and_some_rows_can_be_read_alone(tmp_path):
    save_arrays(tmp_path / "x", ARRAYS)
    assert list(load_arrays(tmp_path / "x", ["a"])) == ["a"]
    assert load_rows(tmp_path / "x", "b", 1, 2).tolist() == [[3, 4, 5]]


def test_a_file_written_piece_by_piece_reads_like_one_written_at_once(tmp_path):
    shapes = {
        "first": (np.dtype(np.float16), (5, 2)),
        "empty": (np.dtype(np.int32), (0,)),
        "last": (np.dtype(np.int64), (3,)),
    }
    first = np.arange(10, dtype=np.float16).reshape(5, 2)
    with ArrayWriter(tmp_path / "x", shapes, {"k": 2}) as writer:
        writer.append("first", first[:2])
        writer.append("first", first[2:])
        writer.append("last", np.array([7, 8, 9]))
    back = load_arrays(tmp_path / "x")
    assert back["first"].tolist() == first.tolist()
    assert back["last"].tolist() == [7, 8, 9]
    assert back["empty"].shape == (0,)
    assert facts_of(tmp_path / "x") == {"k": 2}


def test_an_unfinished_or_disordered_file_is_an_error(tmp_path):
    shapes = {"a": (np.dtype(np.int32), (2,)), "b": (np.dtype(np.int32), (1,))}
    with pytest.raises(ValueError, match="incomplete"), ArrayWriter(tmp_path / "x", shapes) as writer:
        writer.append("a", np.zeros(1, np.int32))
    with pytest.raises(ValueError, match="due is a"), ArrayWriter(tmp_path / "x", shapes) as writer:
        writer.append("b", np.zeros(1, np.int32))


def test_a_single_number_stays_one(tmp_path):
    save_arrays(tmp_path / "x", {"n": np.array(3, dtype=np.int64), "t": np.arange(6).reshape(2, 3).T})
    back = load_arrays(tmp_path / "x")
    assert back["n"].shape == () and back["n"] == 3
    assert back["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
