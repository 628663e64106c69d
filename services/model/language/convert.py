"""From GGUF, or a folder of transformers, to the folder that `folder.load_folder` reads; done once a model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from contracts.language import BrokenLanguageFile, MissingLanguagePackage
from services.kit.keys import sha256_of_file
from services.kit.torchvision_ops import mend_torchvision
from services.model.language.folder import CONFIG, TOKENIZER, LanguageModel, Meta, load_causal, write_meta
from services.model.language.layout import layout_of, sites_of
from services.model.language.perplexity import TEXT, require_plausible
from services.model.language.sources import PERPLEXITY_LIMIT
from services.model.language.tokens import SINK, TextTokenizer, TokenFacts, mended, open_tokenizer, probed
from services.model.language.tokens import require_golden as golden

if TYPE_CHECKING:
    from torch import nn

MAGIC = b"GGUF"
QUANTISED = ("is_quantized", "quantization_method")


def gguf_facts(path: Path) -> dict[str, Any]:
    """Metadata of a GGUF file: single values and strings; arrays are left out.

    Raises
    ------
    BrokenLanguageFile : no such file, no GGUF, or cut short. MissingLanguagePackage : the package gguf.
    """
    if find_spec("gguf") is None:
        raise MissingLanguagePackage("reading GGUF needs the package gguf", field="weights", install="pip install gguf")
    from gguf import GGUFReader

    if not path.is_file():
        raise BrokenLanguageFile(f"there is no file {path.name}", field="weights")
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise BrokenLanguageFile(f"{path.name} is no GGUF file", field="weights")
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError, OverflowError) as error:
        raise BrokenLanguageFile(f"{path.name} is damaged: {str(error)[:100]}", field="weights") from error
    facts = {name: one.contents() for name, one in reader.fields.items() if len(one.types) == 1}
    return facts | {"tensors": len(reader.tensors)}


def convert_gguf(
    path: Path, target: Path, *, perplexity_limit: float = PERPLEXITY_LIMIT, licence: str | None = None
) -> Meta:
    """De-quantise a GGUF file into a folder in float32, mend its tokenizer, and check both.

    Parameters
    ----------
    target : a folder that does not exist; it appears complete or not at all.
    perplexity_limit : see `perplexity.require_plausible`.

    Raises
    ------
    BrokenLanguageFile, UnsupportedLanguageModel, MissingLanguagePackage : what can be seen in the file's header, first.
    TokenizerDrift, ImplausiblePerplexity : the conversion went wrong.
    """
    facts = gguf_facts(path)
    architecture = str(facts["general.architecture"])
    layout_of(architecture)
    if find_spec("accelerate") is None:
        raise MissingLanguagePackage("reading GGUF needs accelerate", field="weights", install="pip install accelerate")
    backend, family = gguf_tokenizer(path, facts)
    model = _dequantised(path)
    meta = Meta(
        architecture=architecture,
        context=int(facts.get(f"{architecture}.context_length", model.config.max_position_embeddings)),
        prefix=_prefix(facts, backend),
        stops=_stops(facts.get("tokenizer.ggml.eos_token_id"), backend),
        probes={text: list(ids) for text, ids in probed(backend).items()},
        chat=facts.get("tokenizer.chat_template"),
        source={"file": path.name, "sha256": sha256_of_file(path), "bytes": path.stat().st_size},
        tokenizer_family=family,
        licence=licence or facts.get("general.license"),
    )
    return _keep(model, backend, meta, target, perplexity_limit)


def convert_folder(
    path: Path, target: Path, *, perplexity_limit: float = PERPLEXITY_LIMIT, licence: str | None = None
) -> Meta:
    """Take over a folder of transformers with config.json, safetensors and tokenizer.json; the same checks.

    Raises
    ------
    BrokenLanguageFile, UnsupportedLanguageModel, ImplausiblePerplexity.
    """
    if not (path / CONFIG).is_file():
        raise BrokenLanguageFile(f"{path.name} has no {CONFIG}", field="weights")
    try:
        config = json.loads((path / CONFIG).read_bytes())
    except ValueError as error:
        raise BrokenLanguageFile(f"{CONFIG} is no JSON", field="weights") from error
    architecture = str(config.get("model_type"))
    layout_of(architecture)
    backend = open_tokenizer(path / TOKENIZER)
    told = _tokenizer_config(path)
    bos = _id_of(told.get("bos_token"), backend)
    starts = backend.encode("a").ids[:1] == [bos]
    model = load_causal(path)
    meta = Meta(
        architecture=architecture,
        context=int(model.config.max_position_embeddings),  # type: ignore[union-attr,arg-type]
        prefix=[bos] if starts and bos is not None else _sink(backend),
        stops=_stops(config.get("eos_token_id"), backend),
        probes={text: list(ids) for text, ids in probed(backend).items()},
        chat=told.get("chat_template") if isinstance(told.get("chat_template"), str) else None,
        source={"file": path.name},
        tokenizer_family=architecture,
        licence=licence,
    )
    return _keep(model, backend, meta, target, perplexity_limit)


def gguf_tokenizer(path: Path, facts: Mapping[str, Any]) -> tuple[Tokenizer, str]:
    """Read the tokenizer of a GGUF file, mended, and the family that it belongs to.

    Parameters
    ----------
    facts : the file's metadata, see `gguf_facts`.
    """
    mend_torchvision()
    from transformers import AutoTokenizer

    try:
        read = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        detail = f"the tokenizer of {path.name} cannot be read: {str(error)[:200]}"
        raise BrokenLanguageFile(detail, field="weights") from error
    byte_level = facts.get("tokenizer.ggml.model") == "gpt2"
    family = str(facts.get("tokenizer.ggml.pre", "") if byte_level else facts["general.architecture"])
    return mended(read.backend_tokenizer, family), family


def _dequantised(path: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise BrokenLanguageFile(f"{path.name} cannot be converted: {str(error)[:200]}", field="weights") from error
    model.hf_quantizer = None  # 5.23 takes it for quantised and refuses to save
    for name in QUANTISED:
        vars(model).pop(name, None)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = ""
    return model.eval().requires_grad_(False)


def _keep(model: nn.Module, backend: Tokenizer, meta: Meta, target: Path, limit: float) -> Meta:
    """Check, write into a temporary folder beside `target`, and rename."""
    facts = TokenFacts(tuple(meta.prefix), tuple(meta.stops), {t: tuple(i) for t, i in meta.probes.items()}, meta.chat)
    language = LanguageModel(model, TextTokenizer(backend, facts), meta.architecture, meta.context)
    sites_of(model, meta.architecture)
    known = golden(language.tokenizer, meta.tokenizer_family)
    figure = {"value": round(require_plausible(language, limit=limit), 4), "text": TEXT, "tokens": 1024}
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        model.save_pretrained(working, max_shard_size="100GB")  # type: ignore[operator]
        backend.save(str(working / TOKENIZER))
        whole = write_meta(working, Meta(**{**vars(meta), "perplexity": figure, "tokenizer_golden": known}))
        working.chmod(0o755)
        working.rename(target)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise
    return whole


def _prefix(facts: Mapping[str, Any], backend: Tokenizer) -> list[int]:
    """The BOS where the file says that the model wants one, or leaves it open for a SentencePiece vocabulary."""
    bos = facts.get("tokenizer.ggml.bos_token_id")
    default = facts.get("tokenizer.ggml.model") == "llama"
    if bos is not None and facts.get("tokenizer.ggml.add_bos_token", default):
        return [int(bos)]
    return _sink(backend)


def _sink(backend: Tokenizer) -> list[int]:
    """A token to take the first position, where attention collects: what separated documents in training."""
    found = backend.token_to_id(SINK)
    return [0 if found is None else int(found)]


def _stops(eos: object, backend: Tokenizer) -> list[int]:
    given: Sequence[object] = eos if isinstance(eos, list) else [eos]
    turns = (backend.token_to_id(mark) for mark in (SINK, "<|im_end|>", "<end_of_turn>", "<|eot_id|>"))
    return sorted({int(one) for one in (*given, *turns) if isinstance(one, int)})


def _tokenizer_config(path: Path) -> dict[str, Any]:
    file = path / "tokenizer_config.json"
    try:
        return dict(json.loads(file.read_bytes())) if file.is_file() else {}
    except ValueError as error:
        raise BrokenLanguageFile(f"{file.name} is no JSON", field="weights") from error


def _id_of(token: object, backend: Tokenizer) -> int | None:
    name = token.get("content") if isinstance(token, dict) else token
    return backend.token_to_id(name) if isinstance(name, str) else None
