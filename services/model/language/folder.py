"""A language model as a folder: config.json, model.safetensors, tokenizer.json and meta.json with their hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.language import BrokenLanguageFile
from services.kit.keys import sha256_of_file
from services.kit.torchvision_ops import mend_torchvision
from services.model.language.tokens import FIX_VERSION, TextTokenizer, TokenFacts, open_tokenizer, require_same

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
WEIGHTS, CONFIG, TOKENIZER, META = "model.safetensors", "config.json", "tokenizer.json", "meta.json"
LIBRARIES = ("transformers", "tokenizers", "torch", "safetensors", "gguf")


@dataclass(frozen=True)
class LanguageModel:
    """A language model ready to run, in eval mode, on the CPU.

    Parameters
    ----------
    model : takes `input_ids` [B, T] int64, gives `.logits` [B, T, vocabulary] float32.
    context : longest input in tokens.
    facts : what meta.json says.
    """

    model: nn.Module
    tokenizer: TextTokenizer
    architecture: str
    context: int
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Meta:
    """Contents of meta.json. Perplexity is that of `services.model.language.perplexity`, None where not measured."""

    architecture: str
    context: int
    prefix: list[int]
    stops: list[int]
    probes: dict[str, list[int]]
    chat: str | None = None
    source: dict[str, str | int] = field(default_factory=dict)
    tokenizer_family: str = ""
    tokenizer_golden: bool = False
    tokenizer_fix: int = FIX_VERSION
    perplexity: dict[str, str | int | float] | None = None
    licence: str | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def token_facts(self) -> TokenFacts:
        """Return what the tokenizer has to know."""
        probes = {text: tuple(ids) for text, ids in self.probes.items()}
        return TokenFacts(tuple(self.prefix), tuple(self.stops), probes, self.chat)


def write_meta(folder: Path, meta: Meta) -> Meta:
    """Hash the other files and write meta.json; it is written last, so a folder without it is incomplete."""
    hashes = {name: sha256_of_file(folder / name) for name in (CONFIG, TOKENIZER, WEIGHTS)}
    libraries = {name: version(name) for name in LIBRARIES if find_spec(name)}
    whole = Meta(**{**asdict(meta), "sha256": hashes, "libraries": libraries})
    (folder / META).write_text(json.dumps(asdict(whole), indent=1, sort_keys=True, ensure_ascii=False))
    return whole


def read_meta(folder: Path) -> Meta:
    """Read meta.json.

    Raises
    ------
    BrokenLanguageFile : missing, damaged, or of another format.
    """
    path = folder / META
    if not path.is_file():
        raise BrokenLanguageFile(f"{folder.name} has no {META}: it was not converted to the end", field="weights")
    try:
        meta = Meta(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise BrokenLanguageFile(f"{META} cannot be read: {str(error)[:100]}", field="weights") from error
    if meta.format != FORMAT:
        raise BrokenLanguageFile(f"{META} has format {meta.format}, {FORMAT} is due", field="weights")
    return meta


def load_folder(folder: Path, *, verify: bool = True) -> LanguageModel:
    """Load a converted model; nothing is fetched, no code of the folder is run.

    Parameters
    ----------
    verify : compare the files with the hashes in meta.json first (half a second for 500 MB).

    Raises
    ------
    BrokenLanguageFile : a file is missing or has other bytes.
    TokenizerDrift : the installed tokenizer library cuts text otherwise than at conversion.
    """
    meta = read_meta(folder)
    for name, due in meta.sha256.items():
        path = folder / name
        if not path.is_file():
            raise BrokenLanguageFile(f"{name} is missing", field="weights", file=name)
        if verify and sha256_of_file(path) != due:
            raise BrokenLanguageFile(f"{name} has other bytes than when it was converted", field="weights", file=name)
    tokenizer = TextTokenizer(open_tokenizer(folder / TOKENIZER), meta.token_facts())
    require_same(tokenizer)
    return LanguageModel(load_causal(folder), tokenizer, meta.architecture, meta.context, asdict(meta))


def load_causal(folder: Path) -> nn.Module:
    """Read config.json and model.safetensors in float32, eval mode, without gradients.

    Raises
    ------
    BrokenLanguageFile : they do not belong together or cannot be read.
    """
    mend_torchvision()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BrokenLanguageFile(f"the model cannot be read: {str(error)[:200]}", field="weights") from error
    wrong = sorted({*told["missing_keys"], *told["unexpected_keys"], *(key[0] for key in told["mismatched_keys"])})
    if wrong:
        raise BrokenLanguageFile(
            f"{len(wrong)} tensors are missing, unexpected or of another shape: {', '.join(wrong[:5])}",
            field="weights", tensors=[*wrong[:5]],
        )  # fmt: skip
    return model.eval().requires_grad_(False)
