"""The stages that capture a language model over a corpus: norms once, then a shard of windows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from contracts.captures import CaptureRequest
from contracts.model import ModelRef
from services.kit.corpora import load_corpus
from services.kit.stages import StageFunction, Work
from services.kit.windows import chosen_windows, described_windows

if TYPE_CHECKING:
    from services.model.language.capture import TokenActivations
    from services.model.service import Models


def capture_stages(models: Models) -> tuple[StageFunction, ...]:
    """The stages of captures that run a model."""
    return (
        StageFunction("text-norms", 1, lambda work: measure_norms(work, models)),
        StageFunction("text-activations", 2, lambda work: capture_shard(work, models)),
    )


def measure_norms(work: Work, models: Models) -> None:
    """Median norm of each layer's tokens over the first windows: it decides which tokens are sinks."""
    from services.model.language.capture import norm_medians
    from services.model.languages import language_of

    _, layers, texts = _asked(work, 0, 64)
    with models.loaded(ModelRef.model_validate(work.spec["model"])) as built:
        work.emit_record("norms", norm_medians(language_of(built), texts, layers))
    work.advance(1)


def capture_shard(work: Work, models: Models) -> None:
    """Put out what a model does on one shard of windows.

    `text`: window, split, document, count [n], starts [n + 1], ids [T], spans [T, 2]. For each layer `tokens/…`:
    values [K, d] of the kept tokens and token [K], their number in `text`; and `pooled/…`: [n, d] a pool, kept [n].
    """
    from services.model.language.capture import in_order, token_activations
    from services.model.languages import language_of

    start, stop = int(str(work.spec["start"])), int(str(work.spec["stop"]))
    request, layers, texts = _asked(work, start, stop)
    medians = {name: float(str(value)) for name, value in work.record("norms").items()}
    batches: list[TokenActivations] = []
    with models.loaded(ModelRef.model_validate(work.spec["model"])) as built:
        for batch in token_activations(language_of(built), texts, layers, medians=medians, batch=request.batch):
            batches.append(batch)
            work.advance(min(request.batch, len(texts) - request.batch * (len(batches) - 1)))
    found = in_order(batches)
    counts = np.bincount(found.window.numpy(), minlength=len(texts))
    corpus = load_corpus(work.path("corpus"))
    windows = chosen_windows(corpus, request.windows, seed=request.seed)[start:stop]
    work.emit_arrays(
        "text",
        {
            "window": windows, **described_windows(corpus, windows), "count": counts,
            "starts": np.concatenate([[0], np.cumsum(counts)]), "ids": found.ids.numpy().astype(np.int32),
            "spans": found.spans.numpy().astype(np.int32),
        },
        {"start": start, "stop": stop},
    )  # fmt: skip
    for layer in layers:
        _emit(work, layer, found, request, len(texts))


def _emit(work: Work, layer: str, found: TokenActivations, request: CaptureRequest, n: int) -> None:
    import torch

    from services.model.language.pools import FLOAT16_MAX, pooled

    keep = found.kept[layer]
    values, windows = found.values[layer][keep], found.window[keep]
    largest = float(values.abs().max()) if len(values) else 0.0
    stored = values.half() if largest <= FLOAT16_MAX else values
    facts = {"layer": layer, "tokens": len(values), "absmax": largest}
    work.emit_arrays(f"tokens/{layer}", {"values": stored.numpy(), "token": keep.nonzero()[:, 0].numpy()}, facts)
    there, numbered = torch.unique_consecutive(windows, return_inverse=True)
    rows: dict[str, np.ndarray] = {"kept": np.isin(np.arange(n), there.numpy())}
    for pool in request.pools:
        whole = torch.zeros(n, values.shape[1])
        if len(there):
            whole[there] = pooled(values, numbered, len(there), pool)
        rows[pool] = whole.numpy()
    work.emit_arrays(f"pooled/{layer}", rows, {"layer": layer})


def _asked(work: Work, start: int, stop: int) -> tuple[CaptureRequest, list[str], list[str]]:
    """The request, its layers, and the texts of some of its windows."""
    request = CaptureRequest.model_validate(work.spec["request"])
    corpus = load_corpus(work.path("corpus"))
    windows = chosen_windows(corpus, request.windows, seed=request.seed)[start:stop]
    return request, list(request.layers or []), [one.text for one in corpus.passages(windows.tolist())]
