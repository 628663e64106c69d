"""Architectures of each family, built small and run."""

import sys

import pytest
import torch
from torch import nn

from contracts.errors import LayoutError, UnknownArchitecture, UnknownPooling
from contracts.model import LayerKind, Preprocessing
from services.model.adapters.port import Built
from services.model.adapters.registry import adapter_for, build
from services.model.capture.catalogue import catalogue
from services.model.capture.hooks import captured, evaluating
from services.model.errors import BadConfig

SMALL_VIT = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 5}


def layers_of(built, side):
    draw = torch.Generator().manual_seed(0)
    batch = torch.randn(2, 3, side, side, generator=draw)
    found = catalogue(built.model, batch, pick=adapter_for("timm:resnet18")[0].pick, channels_last=built.channels_last)
    return {layer.name: layer for layer in found}, batch


def run(built, layer, batch):
    with evaluating(built.model), captured(built.model, [layer], special_tokens=built.special_tokens) as kept:
        built.model(batch)
    return kept.take()[layer.name].values


def test_torchvision_has_published_preprocessing_and_classes():
    built = build("torchvision:resnet18", {})
    assert built.preprocessing.crop == 224
    assert built.classes[0] == "tench"
    found, batch = layers_of(built, 64)
    assert (found["layer4"].kind, found["layer4"].width) == (LayerKind.MAP, 512)
    assert run(built, found["layer4"], batch).shape == (2, 512)


def test_tokens_are_pooled_without_the_class_token():
    built = build("timm:vit_tiny_patch16_224", SMALL_VIT)
    found, batch = layers_of(built, 32)
    layer = found["blocks.0"]
    assert (layer.kind, layer.width, layer.pooling) == (LayerKind.TOKENS, 24, "token-mean")
    outputs = []
    handle = built.model.blocks[0].register_forward_hook(lambda module, given, out: outputs.append(out))
    pooled = run(built, layer, batch)
    handle.remove()
    torch.testing.assert_close(pooled, outputs[0][:, 1:].mean(1))
    with pytest.raises(UnknownPooling):
        run(built, layer.model_copy(update={"pooling": "token:5"}), batch)  # class token and four patches
    torch.testing.assert_close(
        run(built, layer.model_copy(update={"pooling": "token:0"}), batch), outputs[0][:, 0].clone()
    )


def test_swin_maps_are_channels_last_and_a_wrong_layout_is_refused():
    config = {"img_size": 64, "patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": [1, 1, 1, 1]}
    built = build("timm:swin_tiny_patch4_window7_224", {**config, "num_heads": [1, 2, 2, 2], "num_classes": 5})
    found, batch = layers_of(built, 64)
    layer = found["layers.0"]
    assert (layer.kind, layer.width) == (LayerKind.MAP_LAST, 16)
    assert run(built, found["layers.1"], batch).shape == (2, 32)
    with pytest.raises(LayoutError):
        run(built, found["layers.1"].model_copy(update={"kind": LayerKind.MAP}), batch)


def test_an_image_tower_of_open_clip_comes_without_its_text_side():
    built = build("open_clip:ViT-S-32-alt", {})
    assert built.prefix == "visual."
    assert not any("token_embedding" in name for name in built.model.state_dict())
    side = built.preprocessing.crop
    with torch.inference_mode():
        assert built.model(torch.zeros(1, 3, side, side)).shape == (1, 256)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An installed package with an entry point, as its metadata would be on disk."""
    (tmp_path / "own_models.py").write_text(
        "from torch import nn\n"
        "def stripes(width=6):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "def number():\n"
        "    return 3\n"
    )
    info = tmp_path / "own_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xsys.models]\nstripes = own_models:stripes\nnumber = own_models:number\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_models", None)


@pytest.mark.usefixtures("own")
def test_an_installed_entry_point_makes_a_bare_module():
    built = build("entry_point:stripes", {"width": 4})
    assert isinstance(built, Built)
    assert isinstance(built.model, nn.Sequential)
    found, batch = layers_of(built, 16)
    assert (found["1"].width, found["1"].signed) == (4, False)
    assert run(built, found["0"], batch).shape == (2, 4)


@pytest.mark.usefixtures("own")
def test_an_entry_point_that_makes_no_module_is_refused():
    with pytest.raises(BadConfig, match="returned int, no module"):
        build("entry_point:number", {})
    with pytest.raises(BadConfig, match="unexpected keyword argument 'depth'"):
        build("entry_point:stripes", {"depth": 4})


@pytest.mark.usefixtures("own")
def test_a_function_can_be_named_by_its_module():
    assert isinstance(build("entry_point:own_models:stripes", {}).model, nn.Sequential)
    with pytest.raises(UnknownArchitecture, match="cannot be imported"):
        build("entry_point:own_models:spots", {})


def test_unknown_families_and_reserved_arguments_are_refused():
    with pytest.raises(UnknownArchitecture) as refusal:
        build("keras:resnet", {})
    assert "timm" in refusal.value.facts["closest"]
    with pytest.raises(BadConfig, match="pretrained cannot be configured"):
        build("timm:resnet18", {"pretrained": True})
    with pytest.raises(BadConfig, match="weights cannot be configured"):
        build("torchvision:resnet18", {"weights": "DEFAULT"})


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(300, 200), (97, 251), (64, 64)])
def test_preprocessing_is_that_of_torchvision(interpolation, size):
    import numpy as np
    from PIL import Image

    from services.kit.torchvision_ops import mend_torchvision
    from services.model.preprocess import to_batch

    mend_torchvision()
    from torchvision import transforms

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    how = Preprocessing(resize=48, crop=40, interpolation=interpolation, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    theirs = transforms.Compose(
        [
            transforms.Resize(48, transforms.InterpolationMode(interpolation)),
            transforms.CenterCrop(40),
            transforms.ToTensor(),
            transforms.Normalize(how.mean, how.std),
        ]
    )(picture)
    torch.testing.assert_close(to_batch([picture], how)[0], theirs, atol=2 / 255 / 0.2, rtol=0)
