"""A registered language model from the blobs that its registration kept."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from contracts.model import ModelRef
from services.kit.blobs import Blobs
from services.model.language.folder import CONFIG, META, TOKENIZER, WEIGHTS, LanguageModel, load_folder


def load_stored(ref: ModelRef, blobs: Blobs) -> LanguageModel:
    """Load a model from its weights, tokenizer and facts; the store checks their hashes.

    Raises
    ------
    BrokenLanguageFile, TokenizerDrift : see `load_folder`.
    """
    facts = json.loads(blobs.open(str(ref.config["language_sha256"])).read_bytes())
    with tempfile.TemporaryDirectory(prefix="xsys-language-") as name:
        folder = Path(name)
        (folder / WEIGHTS).symlink_to(blobs.open(ref.weights_sha256).absolute())
        (folder / TOKENIZER).symlink_to(blobs.open(str(ref.config["tokenizer_sha256"])).absolute())
        (folder / CONFIG).write_text(json.dumps(facts["config"]))
        (folder / META).write_text(json.dumps(facts["meta"]))
        return load_folder(folder, verify=False)
