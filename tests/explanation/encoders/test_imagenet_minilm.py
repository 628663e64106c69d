import subprocess
import sys

import numpy as np
import pytest

from services.explanation.encoders import imagenet_minilm


def test_rows_have_unit_length_and_the_declared_width(offline, photographs):
    for rows in (offline.encode_images(photographs), offline.encode_texts(["a cat", "a rocket"])):
        assert rows.dtype == np.float32
        assert rows.shape[1] == offline.width == 384
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_picture_of_a_cat_is_nearer_to_a_cat_than_to_a_rocket_and_the_reverse(offline, photographs):
    cosines = offline.encode_images(photographs) @ offline.encode_texts(["a cat", "a rocket", "a cup of coffee"]).T
    assert cosines.argmax(1).tolist() == [0, 1, 2]


def test_a_batch_equals_single_calls(offline, photographs, noise):
    pictures = [*photographs, noise]
    together = offline.encode_images(pictures)
    alone = np.concatenate([offline.encode_images([picture]) for picture in pictures])
    assert np.abs(together - alone).max() < 1e-5
    texts = ["a cat", "a very long sentence about a clock on a wall", "x"]
    alone = np.concatenate([offline.encode_texts([text]) for text in texts])
    assert np.abs(offline.encode_texts(texts) - alone).max() < 1e-5


def test_two_calls_give_equal_bytes(offline, photographs):
    assert offline.encode_images(photographs).tobytes() == offline.encode_images(photographs).tobytes()


def test_nothing_in_gives_nothing_out(offline):
    assert offline.encode_images([]).shape == (0, 384)
    assert offline.encode_texts([]).shape == (0, 384)
    assert offline.truncates([]) == []


def test_an_empty_text_has_a_finite_unit_embedding(offline):
    assert np.linalg.norm(offline.encode_texts([""]), axis=1) == pytest.approx(1, abs=1e-5)


def test_a_text_beyond_the_context_is_cut_and_said_to_be(offline):
    long = "cat " * 400
    assert offline.truncates(["cat", long]) == [False, True]
    assert np.array_equal(offline.encode_texts([long]), offline.encode_texts([long + "rocket"]))


def test_text_is_encoded_without_reading_the_picture_model():
    code = (
        "import sys; from services.explanation.encoders.registry import load_encoder\n"
        "load_encoder('imagenet-minilm').encode_texts(['cat']); assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_fingerprint_follows_the_constants_and_is_equal_in_another_process(monkeypatch, offline):
    code = (
        "from services.explanation.encoders.registry import describe_encoder\n"
        "import sys; sys.stdout.write(describe_encoder('imagenet-minilm').fingerprint)\n"
        "assert 'torch' not in sys.modules"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    before = offline.fingerprint
    assert other.stdout == before
    monkeypatch.setitem(imagenet_minilm.CONSTANTS, "side", 224)
    assert offline.fingerprint != before


def test_one_changed_byte_of_the_checkpoint_is_another_encoder(tmp_path, offline):
    checkpoint = tmp_path / "lite2.pth"
    checkpoint.write_bytes(b"weights")
    encoder = imagenet_minilm.ImageNetMiniLM(checkpoint, offline._folder)
    before = encoder.fingerprint
    checkpoint.write_bytes(b"weighty")
    changed = imagenet_minilm.ImageNetMiniLM(checkpoint, offline._folder).fingerprint
    assert len({before, changed, offline.fingerprint}) == 3
