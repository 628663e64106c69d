"""Activations of a language model over windows of text, sinks dropped, the forward pass stopped where it may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from contracts.errors import NonFiniteActivation
from contracts.language import NoTokens, PromptTooLong
from services.model.capture.hooks import first_tensor
from services.model.language.folder import LanguageModel
from services.model.language.layout import Site, require_site, sites_of
from services.model.language.pools import pooled

SINK_FACTOR = 10.0
CALIBRATED_ON = 64
ORDER = {"attention": 0, "mlp": 1, "residual": 2}


class _Enough(Exception):
    pass


@dataclass(frozen=True)
class TokenActivations:
    """Tokens of some windows of text, without the prefix; those of a window are together and in order.

    Parameters
    ----------
    window, position : [K] int64: index of the text, and position in the input, prefix counted, so the first is >= 1.
    ids : [K] int64. spans : [K, 2] int64, characters in the window, half-open.
    values : layer -> [K, d] float32.
    kept : layer -> [K] bool, False for sinks.
    """

    window: Tensor
    position: Tensor
    ids: Tensor
    spans: Tensor
    values: Mapping[str, Tensor]
    kept: Mapping[str, Tensor]


@contextmanager
def stopped_after(model: nn.Module, sites: Sequence[Site]) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
    """Lend a function that runs ids [B, T] to the last of the sites and returns each one's output, [B, T, d] float32.

    Other threads' passes through the model are neither captured nor stopped; hooks are removed whatever happens.
    """
    seen: dict[str, Tensor] = {}
    owner = threading.get_ident()
    last = max(sites, key=lambda site: (site.block, ORDER[site.kind])).name

    def hook_for(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if threading.get_ident() != owner:
                return
            seen[name] = first_tensor(name, output).detach().float()
            if name == last:
                raise _Enough

        return hook

    def run(ids: Tensor) -> dict[str, Tensor]:
        seen.clear()
        try:
            with torch.inference_mode():
                model(input_ids=ids, use_cache=False)
        except _Enough:
            pass
        return dict(seen)

    with ExitStack() as undo:
        for site in sites:
            undo.callback(model.get_submodule(site.name).register_forward_hook(hook_for(site.name)).remove)
        yield run


def norm_medians(language: LanguageModel, texts: Sequence[str], layers: Sequence[str]) -> dict[str, float]:
    """Median Euclidean norm of a layer's activations over the tokens of up to 64 texts, prefix left out.

    It decides which tokens are sinks, so measure it once for a corpus and pass it on: shards then agree.

    Raises
    ------
    NoTokens : no text has a token.
    """
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for batch in _raw(language, texts[:CALIBRATED_ON], layers, batch=16):
        for layer in layers:
            found[layer].append(torch.linalg.vector_norm(batch.values[layer], dim=1))
    if not any(map(len, found.values())):
        raise NoTokens("no text has a token", field="texts")
    return {layer: float(torch.cat(norms).median()) for layer, norms in found.items()}


def token_activations(
    language: LanguageModel, texts: Sequence[str], layers: Sequence[str], *, medians: Mapping[str, float],
    batch: int = 32,
) -> Iterator[TokenActivations]:  # fmt: skip
    """Yield the tokens of `batch` texts at a time with their activations; texts of like length are run together.

    The prefix (the model's BOS, or a sink token for a model without one) is put before every text and dropped again;
    a token is also not kept if its norm exceeds ten times the layer's median: such sinks carry position, not meaning.

    Parameters
    ----------
    layers : names of sites, see `layout.sites_of`. The forward pass ends at the last of them.
    medians : see `norm_medians`.

    Raises
    ------
    UnknownLayer. PromptTooLong : a text beyond the context, by index. NonFiniteActivation : by layer and text.
    """
    for found in _raw(language, texts, layers, batch=batch):
        kept = {
            layer: torch.linalg.vector_norm(found.values[layer], dim=1) <= SINK_FACTOR * medians[layer]
            for layer in layers
        }
        yield TokenActivations(found.window, found.position, found.ids, found.spans, found.values, kept)


def pooled_activations(
    language: LanguageModel, texts: Sequence[str], layers: Sequence[str], pools: Sequence[str], *,
    medians: Mapping[str, float], batch: int = 32,
) -> dict[tuple[str, str], Tensor]:  # fmt: skip
    """Pool kept tokens window by window: (layer, pool) -> [N, d] float32, N texts in order.

    Raises
    ------
    As `token_activations`; UnknownPooling; NoTokens : a window of which nothing is kept, by its index.
    """
    found = in_order(token_activations(language, texts, layers, medians=medians, batch=batch))
    rows = {}
    for layer in layers:
        keep = found.kept[layer]
        values, windows = found.values[layer][keep], found.window[keep]
        missing = (torch.bincount(windows, minlength=len(texts)) == 0).nonzero()
        if len(missing):
            window = int(missing[0])
            raise NoTokens(f"window {window} has no kept token in {layer}", field="texts", window=window)
        rows |= {(layer, pool): pooled(values, windows, len(texts), pool) for pool in pools}
    return rows


def in_order(batches: Iterable[TokenActivations]) -> TokenActivations:
    """All tokens of some batches, window by window."""
    found = list(batches)
    order = torch.cat([one.window for one in found]).argsort(stable=True)

    def joined(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)[order]

    return TokenActivations(
        window=joined([one.window for one in found]), position=joined([one.position for one in found]),
        ids=joined([one.ids for one in found]), spans=joined([one.spans for one in found]),
        values={layer: joined([one.values[layer] for one in found]) for layer in found[0].values},
        kept={layer: joined([one.kept[layer] for one in found]) for layer in found[0].kept},
    )  # fmt: skip


def last_block(language: LanguageModel, share: float = 0.5) -> str:
    """Name of the residual site at a share of the depth, counted from 1: 0.5 of 30 blocks is the 15th, `...14`."""
    sites = [site for site in sites_of(language.model, language.architecture) if site.kind == "residual"]
    return sites[max(0, round(share * len(sites)) - 1)].name


def _raw(
    language: LanguageModel, texts: Sequence[str], layers: Sequence[str], *, batch: int
) -> Iterator[TokenActivations]:
    sites = [require_site(language.model, language.architecture, layer) for layer in dict.fromkeys(layers)]
    prefix = list(language.tokenizer.facts.prefix)
    read = language.tokenizer.encode_spans(texts)
    order = sorted(range(len(read)), key=lambda text: len(read[text].ids))  # like lengths together: less padding
    longest = len(read[order[-1]].ids) if order else 0
    if len(prefix) + longest > language.context:
        raise PromptTooLong(
            f"text {order[-1]} has {longest} tokens", field="texts", window=order[-1], needed=len(prefix) + longest,
            limit=language.context,
        )  # fmt: skip
    for start in range(0, len(texts), batch):
        chosen = torch.tensor(order[start : start + batch])
        encoded = [read[text] for text in chosen.tolist()]
        longest = len(encoded[-1].ids)
        rows = torch.zeros(len(encoded), len(prefix) + longest, dtype=torch.int64)
        real = torch.zeros(rows.shape, dtype=torch.bool)
        for at, one in enumerate(encoded):  # padding on the right changes nothing before it: attention looks back only
            rows[at, : len(prefix) + len(one.ids)] = torch.tensor(prefix + one.ids)
            real[at, len(prefix) : len(prefix) + len(one.ids)] = True
        with stopped_after(language.model, sites) as run:
            outputs = run(rows)
        row, position = real.nonzero(as_tuple=True)
        values = {site.name: outputs[site.name][real] for site in sites}
        for name, found in values.items():
            _require_finite(name, found, chosen[row])
        spans = torch.tensor([span for one in encoded for span in one.spans], dtype=torch.int64).reshape(-1, 2)
        yield TokenActivations(chosen[row], position, rows[real], spans, values, {})


def _require_finite(layer: str, values: Tensor, windows: Tensor) -> None:
    if bool(torch.isfinite(values.sum())):  # one reduction for the common case
        return
    bad = (~torch.isfinite(values)).any(1).nonzero()
    if len(bad):
        window = int(windows[int(bad[0])])
        raise NonFiniteActivation(f"{layer} is not finite in text {window}", field="texts", layer=layer, window=window)
