"""Steering a language model beside nnsight: the same addition to a block at every place, in one process, in turns."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import Report
from contracts.steering import DirectionTarget, Intervention
from services.model.interventions import steered, steps_of
from services.model.language.capture import last_block, norm_medians
from services.model.language.convert import convert_gguf
from services.model.language.folder import LanguageModel, load_folder
from services.model.language.generate import Sampling, generate, prompt_of, texts_of
from services.model.language.sources import packaged_parts
from services.model.language.tiny import tiny_language_model

PEER = "nnsight 0.8.1"
PROMPT, ROWS = "There are several ways to", 8


def text_model(*, quick: bool) -> tuple[LanguageModel, str]:
    """SmolLM2, converted in a folder that goes; or a tiny one, where a minute is all there is."""
    if quick:
        return tiny_language_model(), "a tiny model"
    with tempfile.TemporaryDirectory() as folder:
        convert_gguf(packaged_parts("smollm2")[0], Path(folder) / "smollm2")
        return load_folder(Path(folder) / "smollm2"), "SmolLM2"


def beside_nnsight_on_text(
    report: Report, seconds_each: Callable[[list[Callable[[], object]], int], list[float]], *, quick: bool
) -> None:
    """Logits and greedy texts have to be equal; speed is that of writing with a cache, which is what users wait for."""
    try:
        from nnsight import LanguageModel as Wrapped
        from nnsight import NNsight
    except ImportError:
        print("nnsight is not installed: pip install nnsight==0.8.1", file=sys.stderr)
        return
    from transformers import PreTrainedTokenizerFast

    language, name = text_model(quick=quick)
    model: Any = language.model
    layer = last_block(language)
    number, width = int(layer.rpartition(".")[2]), int(model.config.hidden_size)
    vector = torch.randn(width, generator=torch.Generator().manual_seed(0))
    strength = 0.3 * norm_medians(language, [PROMPT], [layer])[layer]
    shift = strength * vector / vector.norm()
    target = DirectionTarget(layer=layer, vector=vector.tolist())
    steps = steps_of([Intervention(target=target, change="add", strength=strength, unit="raw")], widths={layer: width})
    row = [*language.tokenizer.facts.prefix, *language.tokenizer.encode(PROMPT)]
    ids = torch.tensor([row] * ROWS)
    tokens = 8 if quick else 32
    wrapped = NNsight(model)

    def logits() -> Tensor:
        with torch.inference_mode(), steered(model, steps):
            found: Tensor = model(input_ids=ids).logits
        return found

    def their_logits() -> Tensor:
        with torch.inference_mode(), wrapped.trace(input_ids=ids):
            block = wrapped.model.layers[number]
            block.output = block.output + shift
            found = wrapped.output.logits.save()
        return found  # type: ignore[no-any-return]

    apart = float((logits() - their_logits()).abs().max())
    with torch.inference_mode():
        moved = float((logits() - model(input_ids=ids).logits).abs().max())
    report.line(
        metric=f"{name}, steered: largest difference of the logits", value=float(f"{apart:.2e}"), unit="1",
        goal="<= 1e-4", ok=apart <= 1e-4 < moved, peer=PEER,
    )  # fmt: skip
    fast = PreTrainedTokenizerFast(tokenizer_object=language.tokenizer.backend)
    fast.pad_token = fast.decode([row[-1]])
    writer = Wrapped(model, tokenizer=fast)
    asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    prompts = [prompt_of(language.tokenizer, PROMPT, seed=seed) for seed in range(ROWS)]

    def ours() -> list[str]:
        with steered(model, rows=[steps] * ROWS) as steering:
            return texts_of(generate(language, prompts, Sampling(tokens, 0.0), steering=steering), ROWS)

    def theirs() -> list[str]:
        greedy = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": row[-1]}
        with torch.inference_mode(), writer.generate(asked, **greedy) as tracer:
            for _ in tracer.iter[:tokens]:
                block = writer.model.layers[number]
                block.output = block.output + shift
            found = tracer.result.save()
        return [language.tokenizer.decode(each[len(row) :].tolist()) for each in found]

    same = ours() == theirs()
    report.line(metric=f"{name}, steered: greedy texts equal", value=float(same), unit="1", goal="1", ok=same, n=ROWS)
    mine, peer = seconds_each([ours, theirs], 5 if quick else 9)
    speed, ratio = ROWS * tokens / mine, peer / mine
    report.line(
        metric=f"{name}, steered: writing", value=round(speed, 1), unit="tokens/s", goal=">= 0.95 x", ok=ratio >= 0.95,
        peer=PEER, peer_value=round(ROWS * tokens / peer, 1), ratio=round(ratio, 3), n=ROWS * tokens,
    )  # fmt: skip
