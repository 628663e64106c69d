"""Training of the small open_clip model: scenes and their captions, matched within each batch.

The loss is CLIP's (Radford et al. 2021, arXiv 2103.00020, Fig. 3): symmetric cross-entropy over the batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from contracts.data import ScenesSource
from services.kit.scenes import Scene, caption_of, phrase_of
from services.kit.torchvision_ops import mend_torchvision
from services.model.controlled.pictures import course_of

CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 10, "patch_size": None},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
PICTURES, STEPS, BATCH = 16000, 600, 192
RATE, DECAY = 2e-3, 0.05
WHOLE_CAPTIONS = 0.3  # share; the others mention a part of the scene
LARGEST_SCALE = 4.6052  # ln 100, CLIP's bound
START, END = 49406, 49407


class Words:
    """open_clip's tokenizer with every word encoded once: captions are made of some sixty words."""

    def __init__(self, context: int = 32) -> None:
        mend_torchvision()
        import open_clip

        tokenizer = open_clip.SimpleTokenizer(context_length=context)
        self._context = context
        self._ids: Callable[[str], tuple[int, ...]] = lru_cache(None)(lambda word: tuple(tokenizer.encode(word)))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids, [B, context] int64; a longer text is cut and ended."""
        rows = np.zeros((len(texts), self._context), np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [token for word in re.findall(r"\w+|,", text) for token in self._ids(word)]
            ids = [START, *ids[: self._context - 2], END]
            row[: len(ids)] = ids
        return torch.from_numpy(rows)


def clip_input(pixels: np.ndarray) -> Tensor:
    """Scale uint8 pixels as open_clip's transform does at this size; [B, 3, side, side] float32."""
    import open_clip

    mean, std = (torch.tensor(x) for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    return torch.from_numpy(pixels).float().div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross-entropy of matching row i with row i.

    Parameters
    ----------
    images, texts : [B, d] unit rows.
    scale : logarithm of the inverse temperature.
    """
    logits = scale.clamp(max=LARGEST_SCALE).exp() * images @ texts.T
    own = torch.arange(len(logits))
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def train_clip(
    *, seed: int, steps: int | None = None, watch: Callable[[int, float], None] | None = None
) -> dict[str, Tensor]:
    """Train the small open_clip model on scenes without confounding, and return its weights.

    Rows of the token table that no caption used are zero: an unknown word says nothing.
    """
    mend_torchvision()
    import open_clip

    course = course_of(ScenesSource(n=PICTURES, seed=seed), size=BATCH, steps=steps or STEPS, seed=seed)
    words = Words()
    torch.manual_seed(seed)
    model = open_clip.CLIP(**CONFIG).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    draws = np.random.default_rng(seed)
    used = torch.zeros(CONFIG["text_cfg"]["vocab_size"], dtype=torch.bool)
    for number, batch in enumerate(course.batches):
        tokens = words([_text(course.pictures.scenes[index], draws.random) for index in batch])
        used[tokens] = True
        images = model.encode_image(clip_input(course.pictures.pixels[batch]), normalize=True)
        loss = contrastive_loss(images, model.encode_text(tokens, normalize=True), model.logit_scale)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if watch is not None:
            watch(number, float(loss.detach()))
    with torch.no_grad():
        model.token_embedding.weight[~used] = 0
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def _text(scene: Scene, draw: Callable[[], float]) -> str:
    return caption_of(scene) if draw() < WHOLE_CAPTIONS else phrase_of(scene, draw)
