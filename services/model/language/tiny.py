"""A very small language model of the llama type with a byte tokenizer: for tests, examples and constructed truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from services.kit.torchvision_ops import mend_torchvision
from services.model.language.folder import TOKENIZER, LanguageModel, Meta, write_meta
from services.model.language.tokens import SINK, TextTokenizer, TokenFacts, probed

if TYPE_CHECKING:
    from torch import nn

CONTEXT = 256


def byte_tokenizer() -> Tokenizer:
    """Make a tokenizer of 258 tokens: id 0 separates documents, one for each byte, and `th` as the only merge."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {SINK: 0, **{letter: index + 1 for index, letter in enumerate(alphabet)}}
    vocabulary["th"] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    backend.add_special_tokens([AddedToken(SINK, special=True, normalized=False)])
    return backend


def trained_tokenizer(texts: list[str], *, size: int = 400) -> Tokenizer:
    """Byte-pair tokenizer of a text's commonest pieces, the same for the same texts: frequent words are one token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[SINK], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator(texts, trainer)
    return backend


def tiny_language_model(
    seed: int = 0, *, width: int = 32, blocks: int = 3, heads: int = 4, context: int = CONTEXT,
    backend: Tokenizer | None = None,
) -> LanguageModel:  # fmt: skip
    """Build a random model, the same for the same seed: grouped attention, tied embeddings, 258 tokens by default."""
    backend = backend or byte_tokenizer()
    mend_torchvision()
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=backend.get_vocab_size(with_added_tokens=True), hidden_size=width,
        intermediate_size=2 * width, num_hidden_layers=blocks,
        num_attention_heads=heads, num_key_value_heads=max(1, heads // 2), max_position_embeddings=context,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    facts = TokenFacts((0,), (0,), probed(backend))
    return LanguageModel(model.eval().requires_grad_(False), TextTokenizer(backend, facts), "llama", context)


def trained_on(
    language: LanguageModel, text: str, *, steps: int = 200, batch: int = 16, length: int = 48, seed: int = 0
) -> LanguageModel:
    """Train all weights in place on random pieces of a text with Adam (lr 3e-3); 200 steps take a few seconds."""
    ids = torch.tensor(language.tokenizer.encode(text))
    draw = torch.Generator().manual_seed(seed)
    model: Any = language.model.requires_grad_(True).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        starts = torch.randint(0, len(ids) - length, (batch,), generator=draw)
        rows = torch.stack([ids[start : start + length] for start in starts.tolist()])
        rows = torch.cat([torch.full((batch, 1), language.tokenizer.facts.prefix[0]), rows], 1)
        loss = model(input_ids=rows, labels=rows, use_cache=False).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval().requires_grad_(False)
    return language


def save_tiny(language: LanguageModel, folder: Path) -> Path:
    """Write a model as a folder that `folder.load_folder` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    model: nn.Module = language.model
    model.save_pretrained(folder)  # type: ignore[operator]
    language.tokenizer.backend.save(str(folder / TOKENIZER))
    facts = language.tokenizer.facts
    write_meta(
        folder,
        Meta(
            architecture=language.architecture, context=language.context, prefix=[*facts.prefix], stops=[*facts.stops],
            probes={text: [*ids] for text, ids in facts.probes.items()},
        ),
    )  # fmt: skip
    return folder
