"""The stages of a text autoencoder after its training: figures and codes, then what only the model can say."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import InsufficientEvidence
from contracts.model import ModelRef
from contracts.sae import SaeRequest
from services.kit.arrays import load_arrays
from services.kit.corpora import load_corpus
from services.kit.stages import StageFunction, Work
from services.kit.windows import SPLITS
from services.model.sae.evidence import Evidence

if TYPE_CHECKING:
    from services.model.sae.autoencoder import SparseAutoencoder
    from services.model.service import Models

HELD_OUT = 262_144  # tokens that figures are measured on, at most
SPLICED = 64  # windows that the model reads with the reconstruction in place


def text_sae_stages(models: Models) -> tuple[StageFunction, ...]:
    """Stages of text autoencoders."""
    return (
        StageFunction("measure-text-sae", 1, measure_text_sae),
        StageFunction("read-latents", 1, lambda work: read_latents(work, models)),
    )


def measure_text_sae(work: Work) -> None:
    """Figures on test tokens, codes pooled by maximum over each window, evidence of each latent, and the weights.

    Evidence comes from training documents only; labels are chosen and judged on the others.
    """
    import torch

    from services.model.sae.metrics import measure
    from services.model.sae.stages import facts_of_sae, finished_sae, folder_bytes, warnings_of
    from services.model.sae.text_rows import rows_of_split, text_shards, text_stream

    request = SaeRequest.model_validate(work.spec["request"])
    stream = text_stream(work, request) if request.folder is None else None
    sae = finished_sae(work, request, stream)
    shards = text_shards(work)
    held = rows_of_split(shards, "test", most=HELD_OUT)
    found = measure(sae, torch.from_numpy(held))
    seen = measure(sae, torch.from_numpy(rows_of_split(shards, "train", most=HELD_OUT)))
    quality = {name: value for name, value in asdict(found).items() if name not in ("density", "rows")} | {
        "explained_training": seen.explained, "held_out": found.rows,
        "trained_on": 0 if stream is None else stream.steps_per_epoch * request.batch,
    }  # fmt: skip
    facts = facts_of_sae(sae)
    work.emit_record("figures", {**facts, "quality": quality, "warnings": warnings_of(request)})
    work.emit_arrays("sae", {name: value.numpy() for name, value in sae.tensors().items()}, facts)
    evidence, codes = Evidence(sae.latents), []
    for shard in shards:
        text = load_arrays(shard.text)
        codes.append(evidence.add(sae, shard.values(), shard.window_of_tokens(), load_arrays(shard.tokens), text))
        work.advance(1)
    _emit_codes(work, codes, [load_arrays(shard.text, ["window", "split", "document"]) for shard in shards], sae)
    work.emit_arrays("features", evidence.arrays(), {"latents": sae.latents})
    with work.writing("folder") as path:
        path.write_bytes(folder_bytes(sae, model=str(work.spec["model"]), layer=request.layer))


def _emit_codes(
    work: Work, codes: list[dict[str, np.ndarray]], texts: list[dict[str, np.ndarray]], sae: SparseAutoencoder
) -> None:
    described = {name: np.concatenate([one[name] for one in texts]) for name in ("window", "split", "document")}
    counts = np.concatenate([one["counts"] for one in codes])
    arrays = {
        "starts": np.concatenate([[0], np.cumsum(counts)]),
        "latents": np.concatenate([one["latents"] for one in codes]),
        "values": np.concatenate([one["values"] for one in codes]),
        "held_out": described["split"] != SPLITS.index("train"), **described,
    }  # fmt: skip
    work.emit_arrays("codes", arrays, {"shape": [len(counts), sae.latents]})


def read_latents(work: Work, models: Models) -> None:
    """Tokens of each latent by activation and by the logit lens, and the cross-entropy that the layer keeps."""
    from services.model.language.layout import require_site
    from services.model.languages import language_of
    from services.model.sae.splicing import cross_entropies, lens_tokens
    from services.model.sae.stored import load_sae

    request = SaeRequest.model_validate(work.spec["request"])
    sae, features = load_sae(work.path("sae")), load_arrays(work.path("features"))
    corpus, codes = load_corpus(work.path("corpus")), load_arrays(work.path("codes"), ["window", "split"])
    chosen = codes["window"][codes["split"] == SPLITS.index("test")][:SPLICED]
    texts = [one.text for one in corpus.passages(chosen.tolist())]
    norm = float(str(work.record("norms")[request.layer]))
    with models.loaded(ModelRef.model_validate(work.spec["model_ref"])) as built:
        language = language_of(built)
        site = require_site(language.model, language.architecture, request.layer)
        kept, spliced, zeroed = cross_entropies(language, site, sae, texts, norm=norm)
        known = {int(one): language.tokenizer.decode([int(one)]) for one in np.unique(features["mass_ids"]) if one >= 0}
        raises, lowers = lens_tokens(language, site, sae.decoder)
    tokens = [
        [[known[int(token)], float(share)] for token, share in zip(ids, shares, strict=True) if token >= 0]
        for ids, shares in zip(features["mass_ids"], features["mass"], strict=True)
    ]
    try:
        from services.model.sae.metrics import loss_recovered

        recovered: float | None = loss_recovered(kept, spliced, zeroed)
    except InsufficientEvidence:
        recovered = None  # a layer whose zeroing costs nothing; a random model in a test
    losses = {"original": kept, "reconstructed": spliced, "zeroed": zeroed}
    work.emit_record("lexicon", {"tokens": tokens, "raises": raises, "lowers": lowers})
    work.emit_record("spliced", {"recovered": recovered, "losses": losses, "windows": len(texts)})
    work.advance(1)
