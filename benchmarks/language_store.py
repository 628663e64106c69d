"""Activations of packaged language models over the demo corpus, kept in a folder so that a run can go on."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from contracts.corpora import DemoTextSource
from services.data.corpora import sorted_out
from services.data.readers.documentation import read_documentation
from services.kit.corpora import Corpus, Document
from services.model.language.capture import last_block, norm_medians, token_activations
from services.model.language.convert import convert_gguf
from services.model.language.folder import META, LanguageModel, load_folder
from services.model.language.sources import join_parts, packaged_parts

SHARD, MOST = 200, 30_000  # windows
PACKAGES = ["numpy", "scipy", "sklearn", "skimage", "torch", "transformers"]


def demo_windows(store: Path) -> list[tuple[str, str]]:
    """(document, text) of each window of 256 characters, documents in the order of their hashes; written once."""
    path = store / "windows.json"
    if not path.is_file():
        found, _, _ = sorted_out(read_documentation(DemoTextSource.model_validate({"packages": PACKAGES})))
        order = sorted(found, key=lambda one: hashlib.sha256(f"0:{one.sha256}".encode()).digest())
        corpus = Corpus([Document(one.name, one.text, one.licence) for one in order], 256)
        windows = [(one.document, one.text) for one in corpus.passages(range(min(len(corpus), MOST)))]
        path.write_text(json.dumps(windows))
    return [(document, text) for document, text in json.loads(path.read_text())]


def packaged_model(name: str, store: Path) -> LanguageModel:
    """Load a packaged model, converted once into the folder."""
    folder = store / name
    if not (folder / META).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as parts:
            file = join_parts(packaged_parts(name), Path(parts) / "whole.gguf")
            convert_gguf(file, folder, perplexity_limit=40.0, licence=None)
    return load_folder(folder, verify=False)


@dataclass(frozen=True)
class Captured:
    """Kept tokens of one layer: shards of `values` [K, d] float16, `window`, `position`, `ids`, `spans` [K, 2]."""

    folder: Path

    @cached_property
    def shards(self) -> list[dict[str, np.ndarray]]:
        """All shards, in order."""
        return [dict(np.load(path)) for path in sorted(self.folder.glob("shard_*.npz"))]

    def joined(self, name: str) -> np.ndarray:
        """One field of all shards."""
        return np.concatenate([shard[name] for shard in self.shards])


def capture(name: str, store: Path, *, windows: int, layer: str | None = None) -> Captured:
    """Capture the residual stream at half depth over the first windows; what is there is not done again."""
    language = packaged_model(name, store)
    layer = layer or last_block(language)
    texts = [text for _, text in demo_windows(store)[:windows]]
    medians = norm_medians(language, texts, [layer])
    target = store / f"{name}.{layer}"
    target.mkdir(exist_ok=True)
    for start in range(0, len(texts), SHARD):
        path = target / f"shard_{start // SHARD:05d}.npz"
        if path.is_file():
            continue
        begun, kept = time.perf_counter(), []
        part = texts[start : start + SHARD]
        order = np.argsort([len(one.ids) for one in language.tokenizer.encode_spans(part)], kind="stable")
        sorted_texts = [part[at] for at in order]  # equal lengths together: less padding
        for found in token_activations(language, sorted_texts, [layer], medians=medians, batch=25):
            keep = found.kept[layer]
            kept.append(
                (
                    found.values[layer][keep].half().numpy(),
                    *(getattr(found, field)[keep].numpy() for field in ("window", "position", "ids", "spans")),
                )
            )
        values, window, position, ids, spans = (np.concatenate(part) for part in zip(*kept, strict=True))
        partial = path.with_suffix(".part")
        with partial.open("wb") as out:
            np.savez(
                out, values=values, window=(order[window] + start).astype(np.int32), position=position.astype(np.int16),
                ids=ids.astype(np.int32), spans=spans.astype(np.int16),
            )  # fmt: skip
        partial.replace(path)
        rate = len(values) / (time.perf_counter() - begun)
        print(f"{name} {start + SHARD} of {len(texts)} windows, {rate:.0f} tokens/s", file=sys.stderr, flush=True)
    return Captured(target)


if __name__ == "__main__":
    torch.set_num_threads(1)
    capture(sys.argv[1], Path(sys.argv[2]), windows=int(sys.argv[3]))
