"""The sentence encoder all-MiniLM-L6-v2, from the packaged folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from services.explanation.encoders.arrays import unit_rows
from services.explanation.encoders.port import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

CONTEXT = 256  # tokens, from the checkpoint's sentence_bert_config.json
WIDTH = 384
TEXTS_A_BATCH = 32
PLACES = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}


class MiniLM:
    """Texts to unit vectors of 384 columns: mean over the tokens of the last layer. Loads on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._loaded: tuple[Any, Any] | None = None

    def _parts(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                from safetensors.torch import load_file
                from tokenizers import Tokenizer

                tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
                tokenizer.no_padding()
                tokenizer.no_truncation()
                config = json.loads((self._folder / "config.json").read_text())
                model = build_bert(config, load_file(self._folder / "model.safetensors"))
                self._loaded = (tokenizer, model.eval())
            return self._loaded

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts: [B, 384] float32 unit rows. Texts of equal length share a forward pass, so no padding."""
        import torch

        if not texts:
            return np.zeros((0, WIDTH), np.float32)
        tokenizer, model = self._parts()
        rows = [_cut(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]
        by_length: dict[int, list[int]] = {}
        for place, ids in enumerate(rows):
            by_length.setdefault(len(ids), []).append(place)
        out = np.zeros((len(texts), WIDTH), np.float32)
        for places in by_length.values():
            for start in range(0, len(places), TEXTS_A_BATCH):
                chosen = places[start : start + TEXTS_A_BATCH]
                with torch.inference_mode():
                    ids = torch.tensor([rows[place] for place in chosen])
                    states = model(ids)  # [b, tokens, 384]
                    out[chosen] = states.mean(1).numpy()
        return unit_rows(out)

    def truncates(self, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether it has more tokens than the context."""
        tokenizer, _ = self._parts()
        return [len(encoding.ids) > CONTEXT for encoding in tokenizer.encode_batch(list(texts))]


def _cut(ids: list[int]) -> list[int]:
    return ids if len(ids) <= CONTEXT else [*ids[: CONTEXT - 1], ids[-1]]  # the last token is [SEP]


def build_bert(config: dict[str, Any], state: dict[str, Tensor]) -> nn.Module:
    """BERT from torch's own encoder layers: ids [b, tokens] int64 -> [b, tokens, width] float32.

    The sum of word, position and segment-0 embeddings, normalised, then post-norm encoder layers. It equals the
    transformers library's BertModel to 1e-5 and loads three seconds sooner, which every command-line search would pay.

    Parameters
    ----------
    config : the checkpoint's config.json; state : its tensors under BertModel's names.
    """
    import torch
    from torch import nn

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width, eps = config["hidden_size"], config["layer_norm_eps"]
            self.words = nn.Embedding(config["vocab_size"], width)
            self.positions = nn.Embedding(config["max_position_embeddings"], width)
            self.segment = nn.Parameter(torch.zeros(width))
            self.norm = nn.LayerNorm(width, eps=eps)
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, config["num_attention_heads"], config["intermediate_size"], dropout=0.0,
                    activation=config["hidden_act"], layer_norm_eps=eps, batch_first=True,
                )
                for _ in range(config["num_hidden_layers"])
            )  # fmt: skip

        def forward(self, ids: Tensor) -> Tensor:
            places = torch.arange(ids.shape[1])
            states = self.norm(self.words(ids) + self.positions(places) + self.segment)
            for layer in self.layers:
                states = layer(states)
            return states

    with torch.device("meta"):
        model = Bert()
    model.load_state_dict(_renamed(state, int(config["num_hidden_layers"])), assign=True)
    return model.eval()


def _renamed(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """BertModel's names to torch's: query, key and value become one matrix."""
    import torch

    named = {
        "words.weight": state["embeddings.word_embeddings.weight"],
        "positions.weight": state["embeddings.position_embeddings.weight"],
        "segment": state["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": state["embeddings.LayerNorm.weight"],
        "norm.bias": state["embeddings.LayerNorm.bias"],
    }
    for number in range(layers):
        theirs = f"encoder.layer.{number}."
        for kind in ("weight", "bias"):
            three = [state[f"{theirs}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            named[f"layers.{number}.self_attn.in_proj_{kind}"] = torch.cat(three)
            for ours, name in PLACES.items():
                named[f"layers.{number}.{ours}.{kind}"] = state[f"{theirs}{name}.{kind}"]
    return named
