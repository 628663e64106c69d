"""One latent of a text autoencoder as a user sees it: windows, tokens, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

from contracts.sae import LatentExample, Sae, SaeLatent, TokenMass
from services.explanation.atlas.codes import Codes
from services.kit.arrays import load_arrays
from services.kit.corpora import load_corpus

FEWEST = 5
TOKENS = 10


def text_latent(sae: Sae, latent: int, codes: Codes, files: dict[str, Path]) -> SaeLatent:
    """Describe a latent by its top training windows, its tokens, and the logit lens of its decoder row."""
    features, lexicon = load_arrays(files["features"]), json.loads(files["lexicon"].read_bytes())
    corpus = load_corpus(files["corpus"])
    examples = []
    rows = zip(
        *(features[f"top_{name}"][latent].tolist() for name in ("window", "value", "start", "stop")), strict=True
    )
    for window, value, start, stop in rows:
        if window >= 0:
            passage = corpus.passage(int(window))
            examples.append(
                LatentExample(
                    sample=int(window), label=passage.document, value=float(value), held_out=False,
                    text=passage.text, span=(int(start), int(stop)),
                )
            )  # fmt: skip
    fired = int((codes.column(latent) > 0).sum())
    return SaeLatent(
        sae=sae.id, index=latent, density=float(features["density"][latent]),
        maximum=float(features["maximum"][latent]),
        state="dead" if not fired else "insufficient_evidence" if fired < FEWEST else "ok",
        label=None, label_share=None, examples=examples,
        tokens=[TokenMass(token=str(token), share=float(share)) for token, share in lexicon["tokens"][latent][:TOKENS]],
        raises=lexicon["raises"][latent][:TOKENS], lowers=lexicon["lowers"][latent][:TOKENS],
    )  # fmt: skip
