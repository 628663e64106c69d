"""A vision-language model of transformers from a local folder: nothing is fetched, no code of the folder is run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from jinja2 import TemplateError
from PIL import Image
from safetensors import SafetensorError

from contracts.labels import VisionModelUnavailable
from services.explanation.candidates.port import LONGEST_ANSWER
from services.explanation.encoders.files import fingerprint_of
from services.kit.torchvision_ops import mend_torchvision

CONFIG = "config.json"
READ = (".json", ".safetensors", ".jinja", ".model", ".txt")
OWN_CODE = "auto_map"
FAILURES = (ValueError, RuntimeError, KeyError, TypeError, IndexError, AttributeError)  # of a library on odd files
LIBRARIES = ("torch", "transformers", "tokenizers")


class TransformersVision:
    """An image-text-to-text model with its processor and chat template; greedy, on the CPU. Read on first use.

    Parameters
    ----------
    folder : config.json, weights as safetensors, processor, tokenizer and chat template, as `save_pretrained` writes.

    Raises
    ------
    VisionModelUnavailable : no such folder, no safetensors, or it wants to run code of its own.
    """

    adapter: Literal["transformers"] = "transformers"

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._folder = folder
        self._lock = Lock()
        self._loaded: tuple[Any, Any] | None = None
        self._require_plain()

    @property
    def fingerprint(self) -> str:
        """See VisionModel: the bytes of all files that are read, and the libraries that run them."""
        files = {path.name: path for path in sorted(self._folder.iterdir()) if path.suffix in READ}
        libraries = {name: version(name) for name in LIBRARIES}
        return fingerprint_of(files, {"adapter": self.adapter, "libraries": libraries, "tokens": LONGEST_ANSWER})

    def answer(self, prompt: str, pictures: Sequence[Image.Image]) -> str:
        """See VisionModel."""
        import torch

        model, processor = self._parts()
        content: list[dict[str, str]] = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": prompt}]
        try:
            text = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            given = processor(text=[text], images=list(pictures), return_tensors="pt")
            with torch.inference_mode():
                said = model.generate(
                    **given.to(model.dtype), max_new_tokens=LONGEST_ANSWER, do_sample=False, num_beams=1
                )
            new = said[0, given["input_ids"].shape[1] :]
            return str(processor.decode(new, skip_special_tokens=True))
        except (*FAILURES, TemplateError) as error:
            raise self._refusal(f"{self.name} cannot answer: {type(error).__name__}: {str(error)[:160]}") from error

    def _require_plain(self) -> None:
        if not (self._folder / CONFIG).is_file():
            raise self._refusal(f"XSYS_VLM_FOLDER: {self.name} has no {CONFIG}")
        if not any(self._folder.glob("*.safetensors")):
            raise self._refusal(f"XSYS_VLM_FOLDER: {self.name} has no weights as safetensors")
        for path in self._folder.glob("*.json"):
            if path.name.endswith("config.json") and _wants_code(path):
                raise self._refusal(f"XSYS_VLM_FOLDER: {path.name} wants to run code of its own")

    def _parts(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> tuple[Any, Any]:
        mend_torchvision()
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from transformers.utils import logging

        logging.disable_progress_bar()
        here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = AutoProcessor.from_pretrained(self._folder, **here)
            model, told = AutoModelForImageTextToText.from_pretrained(
                self._folder, use_safetensors=True, dtype="auto", output_loading_info=True, **here
            )
        except (*FAILURES, OSError, ImportError, SafetensorError) as error:
            raise self._refusal(f"XSYS_VLM_FOLDER: {self.name} cannot be read: {str(error)[:200]}") from error
        if told["missing_keys"]:  # the library would draw them at random
            some = ", ".join(sorted(told["missing_keys"])[:3])
            raise self._refusal(f"XSYS_VLM_FOLDER: {self.name} lacks weights: {some}")
        if getattr(processor, "chat_template", None) is None:
            raise self._refusal(f"XSYS_VLM_FOLDER: {self.name} has no chat template to ask it by")
        return model.eval(), processor

    def _refusal(self, detail: str) -> VisionModelUnavailable:
        return VisionModelUnavailable(detail, field="candidates", model=self.name)


def _wants_code(path: Path) -> bool:
    try:
        config = json.loads(path.read_bytes())
    except ValueError:
        return False  # the loader says what is wrong with it
    return isinstance(config, dict) and OWN_CODE in config
