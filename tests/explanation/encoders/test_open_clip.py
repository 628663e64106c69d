import json

import numpy as np
import pytest

from contracts.errors import UnknownEncoder, WrongWeights
from services.explanation.encoders.registry import describe_encoder, load_encoder

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def saved(folder, seed=0, name="tiny.safetensors"):
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    path = folder / name
    path.with_suffix(".json").write_text(json.dumps(TINY))
    save_file({key: value.contiguous() for key, value in open_clip.CLIP(**TINY).state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def tiny(weights):
    return load_encoder(f"open_clip:tiny/{weights}")


def test_both_sides_give_unit_rows_that_do_not_depend_on_the_batch(tiny, photographs):
    assert (tiny.width, tiny.null) == (32, "template")
    for encode, items in ((tiny.encode_images, photographs), (tiny.encode_texts, ["a cat", "rocket", ""])):
        rows = encode(items)
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
        assert np.abs(rows - np.concatenate([encode([item]) for item in items])).max() < 1e-5
        assert encode([]).shape == (0, 32)


def test_it_computes_what_open_clip_computes(tiny, weights, photographs):
    import open_clip
    import torch
    from safetensors.torch import load_file

    model = open_clip.CLIP(**TINY).eval()
    model.load_state_dict(load_file(weights))
    with torch.inference_mode():
        text = model.encode_text(open_clip.SimpleTokenizer(context_length=16)(["a cat"]), normalize=True).numpy()
        sight = open_clip.image_transform(
            32, is_train=False, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD
        )
        picture = model.encode_image(sight(photographs[0])[None], normalize=True).numpy()
    assert np.abs(tiny.encode_texts(["a cat"]) - text).max() < 1e-5
    assert np.abs(tiny.encode_images(photographs[:1]) - picture).max() < 1e-5


def test_a_text_is_said_to_be_cut_exactly_when_a_token_is_lost(tiny):
    assert tiny.truncates(["cat " * 14, "cat " * 15, "cat", ""]) == [False, True, False, False]
    assert tiny.truncates([]) == []


def test_the_fingerprint_is_of_the_bytes_and_not_of_the_path(tiny, tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "other").mkdir()
    same = describe_encoder(f"open_clip:tiny/{saved(tmp_path / 'copy', 0)}")
    other = describe_encoder(f"open_clip:tiny/{saved(tmp_path / 'other', 1)}")
    assert same.fingerprint == tiny.fingerprint
    assert other.fingerprint != tiny.fingerprint


def test_an_architecture_that_open_clip_knows_loads_from_a_file(tmp_path, photographs):
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    import open_clip
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    model = open_clip.create_model("ViT-S-32-alt", pretrained=None)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    encoder = load_encoder(f"open_clip:ViT-S-32-alt/{path}")
    assert encoder.encode_images(photographs[:1]).shape == encoder.encode_texts(["cat"]).shape == (1, encoder.width)


@pytest.mark.parametrize(
    "name",
    ["open_clip:", "open_clip:ViT-B-32", "open_clip:ViT-B-32/no-such-tag", "open_clip:No-Net/openai",
     "open_clip:ViT-B-32//nowhere/weights.safetensors"],
)  # fmt: skip
def test_what_cannot_be_opened_is_an_unknown_encoder(name):
    with pytest.raises(UnknownEncoder) as refusal:
        load_encoder(name)
    assert refusal.value.field == "encoder"


def test_weights_of_another_architecture_are_refused_by_name(weights, tmp_path, photographs):
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(weights.read_bytes())
    path.with_suffix(".json").write_text(json.dumps({**TINY, "embed_dim": 16}))
    with pytest.raises(WrongWeights):
        load_encoder(f"open_clip:tiny/{path}").encode_images(photographs[:1])


def test_a_description_that_is_no_model_is_refused(weights, tmp_path):
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(weights.read_bytes())
    path.with_suffix(".json").write_text("[]")
    with pytest.raises(WrongWeights):
        load_encoder(f"open_clip:tiny/{path}")
