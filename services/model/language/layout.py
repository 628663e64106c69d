"""Where residual stream, MLP output and attention output lie in models of different architectures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from contracts.errors import UnknownLayer
from contracts.language import UnsupportedLanguageModel

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Layout:
    """Module names: the list of blocks, and inside a block its attention and its MLP."""

    blocks: str
    attention: str
    mlp: str


LLAMA = Layout("model.layers", "self_attn", "mlp")
LAYOUTS = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "phi3": LLAMA,
    "gemma2": LLAMA,
    "gemma3": LLAMA,
    "gemma3_text": LLAMA,
    "gpt2": Layout("transformer.h", "attn", "mlp"),
    "gpt_neox": Layout("gpt_neox.layers", "attention", "mlp"),
}


@dataclass(frozen=True)
class Site:
    """One place in the forward pass. `name` is the module whose output it is; `kind` is residual, attention or mlp."""

    name: str
    block: int
    kind: str


def layout_of(architecture: str) -> Layout:
    """Layout of an architecture. Raises `UnsupportedLanguageModel`, naming those that are known."""
    if architecture not in LAYOUTS:
        raise UnsupportedLanguageModel(
            f"models of architecture {architecture} cannot be read", field="architecture", supported=[*LAYOUTS]
        )
    return LAYOUTS[architecture]


def sites_of(model: nn.Module, architecture: str) -> list[Site]:
    """All sites in the order in which they run: of each block attention, MLP, then the residual stream after it.

    The residual stream is the block's own output, before any final norm. In Gemma a norm follows attention and MLP
    before their outputs are added; the sites lie before that norm.

    Raises
    ------
    UnsupportedLanguageModel : unknown architecture, or modules that are not where they should be.
    """
    return list(_walk(model, layout_of(architecture), architecture))


def _walk(model: nn.Module, layout: Layout, architecture: str) -> Iterator[Site]:
    known = dict(model.named_modules())
    blocks = known.get(layout.blocks)
    count = len(blocks) if blocks is not None and hasattr(blocks, "__len__") else 0
    for block in range(count):
        stem = f"{layout.blocks}.{block}"
        sites = (
            Site(f"{stem}.{layout.attention}", block, "attention"),
            Site(f"{stem}.{layout.mlp}", block, "mlp"),
            Site(stem, block, "residual"),
        )
        if not all(site.name in known for site in sites):
            raise UnsupportedLanguageModel(
                f"block {block} of this {architecture} has no attention or MLP where they were expected",
                field="architecture", supported=[*LAYOUTS],
            )  # fmt: skip
        yield from sites
    if not count:
        raise UnsupportedLanguageModel(
            f"this {architecture} has no blocks at {layout.blocks}", field="architecture", supported=[*LAYOUTS]
        )


def require_site(model: nn.Module, architecture: str, name: str) -> Site:
    """Find a site by name. Raises `UnknownLayer` with the closest names."""
    sites = {site.name: site for site in sites_of(model, architecture)}
    if name not in sites:
        closest = get_close_matches(name, sites, n=3, cutoff=0.0)
        raise UnknownLayer(f"the model has no layer {name}", field="layer", closest=[*closest])
    return sites[name]
