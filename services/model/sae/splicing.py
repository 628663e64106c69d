"""What a layer's reconstruction costs the model, and which tokens a decoder row makes likelier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from services.model.capture.hooks import first_tensor
from services.model.interventions.hooks import replaced
from services.model.language.capture import SINK_FACTOR
from services.model.language.folder import LanguageModel
from services.model.language.layout import LAYOUTS, Site
from services.model.sae.autoencoder import SparseAutoencoder

ROWS, LENS_TOKENS, LENS_BLOCK = 8, 20, 256


@contextmanager
def changed(model: nn.Module, site: Site, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace what a site puts out by a function of it, [B, T, d]; the hook is removed whatever happens."""

    def hook(module: nn.Module, inputs: object, output: object) -> object:
        h = first_tensor(site.name, output)
        return replaced(output, h, change(h))

    handle = model.get_submodule(site.name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def cross_entropies(
    language: LanguageModel, site: Site, sae: SparseAutoencoder, texts: Sequence[str], *, norm: float
) -> tuple[float, float, float]:
    """Mean cross-entropy of the texts' tokens (nats): as it is, with the layer's reconstruction, with zeros.

    Only tokens that the autoencoder is trained on are replaced: the prefix and sinks (ten times `norm`) stay.
    """

    def spliced(h: Tensor) -> Tensor:
        return _where_kept(h, sae.reconstruct(h.float().flatten(0, 1)).view(h.shape), norm)

    def zeroed(h: Tensor) -> Tensor:
        return _where_kept(h, torch.zeros_like(h), norm)

    found = [_loss(language, texts)]
    for change in (spliced, zeroed):
        with changed(language.model, site, change):
            found.append(_loss(language, texts))
    return found[0], found[1], found[2]


def _where_kept(h: Tensor, other: Tensor, norm: float) -> Tensor:
    kept = torch.linalg.vector_norm(h.float(), dim=-1, keepdim=True) <= SINK_FACTOR * norm
    kept[:, 0] = False
    return torch.where(kept, other.to(h.dtype), h)


def _loss(language: LanguageModel, texts: Sequence[str]) -> float:
    prefix = list(language.tokenizer.facts.prefix)
    total = counted = 0.0
    for start in range(0, len(texts), ROWS):
        ids = [prefix + language.tokenizer.encode(text) for text in texts[start : start + ROWS]]
        rows = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.int64)
        real = torch.zeros(rows.shape, dtype=torch.bool)
        for row, one in enumerate(ids):
            rows[row, : len(one)], real[row, max(1, len(prefix)) : len(one)] = torch.tensor(one), True
        logits = language.model(input_ids=rows, use_cache=False).logits[:, :-1].float()
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
        total += float(losses[real[:, 1:]].double().sum())
        counted += int(real[:, 1:].sum())
    return total / max(counted, 1)


@torch.inference_mode()
def lens_tokens(language: LanguageModel, site: Site, decoder: Tensor) -> tuple[list[list[str]], list[list[str]]]:
    """The 20 tokens that each decoder row [m, d] raises, and lowers, most: W_U · (gain ⊙ row).

    Source: logit lens (nostalgebraist 2020). Only of residual sites; others write through later weights: empty lists.
    """
    if site.kind != "residual":
        return [[] for _ in decoder], [[] for _ in decoder]
    weights = language.model.get_output_embeddings().weight.float()  # type: ignore[operator]
    gain = final_gain(language)
    raises: list[list[str]] = []
    lowers: list[list[str]] = []
    k = min(LENS_TOKENS, len(weights))
    for block in (decoder * gain).split(LENS_BLOCK):
        logits = block @ weights.T
        for found, largest in ((raises, True), (lowers, False)):
            places = logits.topk(k, dim=1, largest=largest).indices.tolist()
            found.extend([language.tokenizer.decode([token]) for token in row] for row in places)
    return raises, lowers


def final_gain(language: LanguageModel) -> Tensor:
    """Gain of the norm before the output layer: [d]. Gemma stores it less one."""
    blocks = LAYOUTS[language.architecture].blocks
    norms = [
        module
        for name, module in language.model.named_modules()
        if "Norm" in type(module).__name__ and not name.startswith(f"{blocks}.")
    ]
    weight: Tensor = norms[-1].weight.float()  # type: ignore[assignment, operator]
    return weight + 1 if type(norms[-1]).__name__.startswith("Gemma") else weight
