import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.data import DemoSource
from services.kit.keys import artifact_key, canonical_json, sha256_of, sha256_of_file

BASE = {"version": 1, "inputs": ["a", "b"], "params": {"k": 30}, "seed": 0, "numerics": {"threads": 2}}


def test_the_order_in_which_a_mapping_was_filled_does_not_matter():
    assert canonical_json({"b": 1, "a": [1.5, None, True]}) == b'{"a":[1.5,null,true],"b":1}'


def test_composed_and_decomposed_letters_are_one_string():
    assert canonical_json({"e\u0301": "e\u0301"}) == canonical_json({"\u00e9": "\u00e9"})


def test_a_default_written_out_does_not_change_a_key():
    assert sha256_of(DemoSource()) == sha256_of(DemoSource(crops=1056, seed=0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_say_has_no_key(value):
    with pytest.raises(ValueError, match="canonical"):
        canonical_json({"x": value})


def test_objects_without_a_canonical_form_are_refused():
    with pytest.raises(TypeError, match="set"):
        canonical_json({"x": {1, 2}})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"inputs": ["b", "a"]},
        {"params": {"k": 31}},
        {"seed": 1},
        {"numerics": {"threads": 1}},
        {"output": "columns"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_anything_that_decides_the_bytes_changes_the_key(change):
    assert artifact_key("examples", **{**BASE, **change}) != artifact_key("examples", **BASE)


def test_the_same_work_has_the_same_key_in_every_release():
    assert artifact_key("examples", **BASE) == "{}".format(
        hashlib.sha256(
            b'{"inputs":["a","b"],"numerics":{"threads":2},"output":"","params":{"k":30},"seed":0,'
            b'"stage":"examples","stage_version":1}'
        ).hexdigest()
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_to_the_last_bit(value):
    import json

    assert json.loads(canonical_json([value]))[0] == value


def test_a_file_hashes_like_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
