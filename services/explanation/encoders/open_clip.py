"""`open_clip:ARCH/TAG_OR_FILE`: any open_clip model, with weights from a local file or a pretrained tag.

A file beside the weights with their name and the suffix `.json` describes an architecture that open_clip does not
know (`embed_dim`, `vision_cfg`, `text_cfg`). A tag needs the network once; the hub's cache is used afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from contracts.errors import UnknownEncoder, WrongWeights
from contracts.snapshots import Encoder
from services.explanation.encoders.arrays import unit_rows
from services.explanation.encoders.files import file_hash, fingerprint_of
from services.explanation.encoders.port import FloatArray, NullMode
from services.kit.packaged import read_checkpoint
from services.kit.torchvision_ops import mend_torchvision

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "open_clip:"
VERSION = 1
PICTURES_A_PASS = 32
SUFFIXES = {".safetensors", ".pth", ".pt", ".bin"}
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training; a pretrained tag may bring its own
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Checkpoint:
    """What identifies an open_clip model: weights, architecture, preprocessing."""

    name: str
    architecture: str
    weights: Path
    config: dict[str, Any]
    local: bool  # the architecture comes from the file beside the weights
    preprocessing: dict[str, Any]


def open_encoder(name: str) -> OpenClip:
    """Find weights and architecture of `open_clip:ARCH/TAG_OR_FILE`.

    Raises
    ------
    UnknownEncoder : no such architecture, tag or file, or the tag's weights cannot be fetched from here.
    WrongWeights : the description beside the weights cannot be read.
    """
    architecture, _, source = name.removeprefix(PREFIX).partition("/")
    if not architecture or not source:
        raise UnknownEncoder(
            f"{name!r} is not of the form open_clip:ARCH/TAG or open_clip:ARCH/FILE (two slashes before an absolute "
            "path)",
            field="encoder",
        )
    if Path(source).suffix in SUFFIXES:
        return OpenClip(_local(name, architecture, Path(source)))
    return OpenClip(_tagged(name, architecture, source))


def _known(name: str, architecture: str) -> dict[str, Any]:
    mend_torchvision()
    import open_clip

    config = open_clip.get_model_config(architecture)
    if config is None:
        raise UnknownEncoder(f"{name!r}: open_clip has no architecture {architecture!r}", field="encoder")
    return config


def _local(name: str, architecture: str, weights: Path) -> Checkpoint:
    if not weights.is_file():
        raise UnknownEncoder(
            f"{name!r}: there is no file {weights.name} (two slashes before an absolute path)", field="encoder"
        )
    description = weights.with_suffix(".json")
    local = description.is_file()
    if local:
        try:
            config = json.loads(description.read_text())
            side = config["vision_cfg"]["image_size"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WrongWeights(
                f"{description.name} describes no open_clip model: {error!r}", field="encoder"
            ) from error
    else:
        config = _known(name, architecture)
        side = config.get("vision_cfg", {}).get("image_size", 224)
    preprocessing = {
        "size": side,
        "mean": MEAN,
        "std": DEVIATION,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    return Checkpoint(name, architecture, weights, config, local, preprocessing)


def _tagged(name: str, architecture: str, tag: str) -> Checkpoint:
    config = _known(name, architecture)
    import httpx
    import open_clip

    pretrained = open_clip.get_pretrained_cfg(architecture, tag)
    if not pretrained:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise UnknownEncoder(
            f"{name!r}: {architecture} has no weights {tag!r}; tags: {', '.join(tags) or 'none'}", field="encoder"
        )
    try:
        weights = Path(open_clip.download_pretrained(pretrained))
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        raise UnknownEncoder(
            f"{name!r}: the weights are not here and cannot be fetched; give a local file as open_clip:ARCH/FILE",
            field="encoder",
            reason=type(error).__name__,
        ) from error
    base = {"size": config.get("vision_cfg", {}).get("image_size", 224), "mean": MEAN, "std": DEVIATION}
    given = {
        key: pretrained[key] for key in ("size", "mean", "std", "interpolation", "resize_mode") if key in pretrained
    }
    preprocessing = {"interpolation": "bicubic", "resize_mode": "shortest", **base, **given}
    if "quick_gelu" in pretrained:
        config = {**config, "quick_gelu": pretrained["quick_gelu"]}
    return Checkpoint(name, architecture, weights, config, False, preprocessing)


class OpenClip:
    """Both sides of an open_clip model, unit length. The weights are read on first use."""

    null: NullMode = "template"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.name = checkpoint.name
        self.width = int(checkpoint.config["embed_dim"])
        self._lock = Lock()
        self._loaded: tuple[Any, Callable[[Image.Image], Tensor], Any] | None = None

    @property
    def fingerprint(self) -> str:
        """See EncoderPort. The path of the weights is no part of it, their bytes are."""
        mine = self._checkpoint
        constants: dict[str, object] = {
            "encoder": "open_clip",
            "version": VERSION,
            "architecture": mine.architecture,
            "config": mine.config,
            "preprocessing": mine.preprocessing,
        }
        return fingerprint_of({"weights": mine.weights}, constants)

    def describe(self) -> Encoder:
        """See EncoderPort."""
        note = f"open_clip {self._checkpoint.architecture}, weights sha256 {file_hash(self._checkpoint.weights)[:12]}"
        return Encoder(
            name=self.name, fingerprint=self.fingerprint, width=self.width, text=True, null=self.null, note=note
        )

    def encode_images(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """See EncoderPort."""
        import torch

        if not pictures:
            return np.zeros((0, self.width), np.float32)
        model, transform, _ = self._parts()
        rows = []
        for start in range(0, len(pictures), PICTURES_A_PASS):
            batch = torch.stack([transform(each.convert("RGB")) for each in pictures[start : start + PICTURES_A_PASS]])
            with torch.inference_mode():
                rows.append(model.encode_image(batch).float().numpy())
        return unit_rows(np.concatenate(rows))

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """See EncoderPort. Texts beyond the context are cut; `truncates` tells which."""
        import torch

        if not texts:
            return np.zeros((0, self.width), np.float32)
        model, _, tokenizer = self._parts()
        rows = []
        for start in range(0, len(texts), PICTURES_A_PASS):
            with torch.inference_mode():
                tokens = tokenizer(list(texts[start : start + PICTURES_A_PASS]))
                rows.append(model.encode_text(tokens).float().numpy())
        return unit_rows(np.concatenate(rows))

    def truncates(self, texts: Sequence[str]) -> list[bool]:
        """See EncoderPort: compare with the tokens that a context twice as long would keep."""
        if not texts:
            return []
        _, _, tokenizer = self._parts()
        wide = tokenizer(list(texts), context_length=tokenizer.context_length + 1)
        return [bool(last) for last in (wide[:, -1] != wide.min()).tolist()]

    def _parts(self) -> tuple[Any, Callable[[Image.Image], Tensor], Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self._checkpoint)
            return self._loaded


def _load(checkpoint: Checkpoint) -> tuple[nn.Module, Callable[[Image.Image], Tensor], Any]:
    mend_torchvision()
    import open_clip

    config = {key: value for key, value in checkpoint.config.items() if key not in {"custom_text"}}
    try:
        if checkpoint.local:
            model = open_clip.CLIP(**config)
            context = config["text_cfg"].get("context_length", 77)
            tokenizer = open_clip.SimpleTokenizer(context_length=context)
        else:
            model = open_clip.create_model(
                checkpoint.architecture,
                pretrained=None,
                force_quick_gelu=bool(config.get("quick_gelu")),
                pretrained_text=False,
            )
            tokenizer = open_clip.get_tokenizer(checkpoint.architecture)
        model.load_state_dict(read_checkpoint(checkpoint.weights), strict=True)
    except (RuntimeError, TypeError, KeyError) as error:
        raise WrongWeights(
            f"{checkpoint.weights.name} does not fit {checkpoint.architecture}: {str(error)[:200]}", field="encoder"
        ) from error
    wanted = open_clip.transform.PreprocessCfg(**checkpoint.preprocessing)
    transform = open_clip.transform.image_transform_v2(wanted, is_train=False)
    return model.eval(), transform, tokenizer
