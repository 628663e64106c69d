import os

import numpy as np
import pytest

from contracts.errors import NoTextSide
from services.explanation.encoders.arrays import pixels
from services.explanation.encoders.dino import DEVIATION, MEAN, SIDE, build_model


def test_it_reads_no_text(dino):
    for ask in (dino.encode_texts, dino.truncates):
        with pytest.raises(NoTextSide) as refusal:
            ask(["cat"])
        assert "picture" in refusal.value.remedy
    assert dino.describe().text is False


def test_rows_have_unit_length_and_do_not_depend_on_the_batch(dino, photographs):
    rows = dino.encode_images(photographs)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    alone = np.concatenate([dino.encode_images([picture]) for picture in photographs])
    assert np.abs(rows - alone).max() < 1e-5
    assert dino.encode_images([]).shape == (0, 384)


def test_two_views_of_a_cat_are_nearer_than_a_cat_and_a_rocket(dino, photographs):
    cat, rocket = photographs[:2]
    rows = dino.encode_images([cat, cat.crop((40, 20, 400, 290)), rocket])
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2


def test_every_token_equals_what_onnxruntime_computes(dino, photographs):
    if os.environ.get("CI") != "true":
        pytest.importorskip("onnxruntime")
    import onnx
    import onnxruntime
    import torch

    path, tensor = dino._path, "/backbone/layernorm/Add_1_output_0"
    graph = onnx.load(str(path))
    graph.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = np.ascontiguousarray(pixels(photographs, SIDE, mean=MEAN, deviation=DEVIATION))
    due = session.run([tensor], {"input_image": batch})[0]  # [B, 257, 384]
    with torch.inference_mode():
        ours = build_model(path).forward_features(torch.from_numpy(batch)).numpy()
    assert ours.shape == due.shape == (3, 257, 384)
    assert np.abs(ours - due).max() < 1e-4
