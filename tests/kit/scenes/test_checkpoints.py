"""The models that come with the installation: small, complete, and written out once."""

import json

import numpy as np
import pytest

from contracts.errors import WrongWeights
from services.kit.arrays import load_arrays
from services.kit.scenes.checkpoints import (
    FOLDER,
    TABLE,
    narrow,
    packaged_encoder,
    packaged_names,
    packaged_weights,
    widen,
)


def test_what_is_packaged_is_small():
    sizes = [path.stat().st_size for path in FOLDER.iterdir()]
    assert max(sizes) <= 1_500_000 and sum(sizes) <= 4_000_000
    assert {"clip", "cnn-0", "cnn-0.8-faint-0.3", "cnn-1", "vit-0"} <= set(packaged_names())


def test_a_model_that_is_not_here_is_refused_with_those_that_are():
    with pytest.raises(WrongWeights) as refusal:
        packaged_weights("cnn-0.33")
    assert refusal.value.facts["names"] == packaged_names()


def test_the_zero_rows_of_the_token_table_come_back():
    table = np.zeros((50, 4), np.float16)
    table[[3, 7, 49]] = np.arange(12).reshape(3, 4) + 1
    arrays = {TABLE: table, "rest": np.ones(2)}
    packed = narrow(arrays)
    assert packed[f"{TABLE}/values"].shape == (3, 4)
    back = widen(packed)
    assert back.keys() == arrays.keys()
    assert np.array_equal(back[TABLE], table)


def test_the_encoder_is_written_out_once_with_its_description(tmp_path):
    name = packaged_encoder(tmp_path / "new")
    assert name.startswith("open_clip:scenes//")
    (weights,) = (tmp_path / "new").glob("*.safetensors")
    config = json.loads(weights.with_suffix(".json").read_text())
    assert load_arrays(weights)[TABLE].shape == (config["text_cfg"]["vocab_size"], config["text_cfg"]["width"])
    before = weights.stat().st_mtime_ns
    assert packaged_encoder(tmp_path / "new") == name
    assert weights.stat().st_mtime_ns == before
