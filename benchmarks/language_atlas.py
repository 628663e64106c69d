"""A sparse autoencoder on SmolLM2 and an atlas carried over to Gemma-3-270M, on the documentation of Python's packages.

Goals are those of millions of tokens; each figure says how many there were. Needs the packages of both models (extra
`lm`), and a folder in which hours of work are kept: what was captured or trained there is not done again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.language_store import Captured, capture, demo_windows, packaged_model
from benchmarks.report import Report
from services.explanation.atlas.scores import (
    chance_ranks,
    mean_percentile,
    mean_reciprocal_rank,
    self_retrieval,
    truth_of,
)
from services.explanation.atlas.text_alignment import _bag, made
from services.explanation.atlas.trust import figures_of, lexical_scores_sparse, split_documents
from services.model.language.capture import norm_medians
from services.model.language.layout import require_site
from services.model.language.pools import pooled
from services.model.sae.autoencoder import SparseAutoencoder
from services.model.sae.checkpoints import load_checkpoint, save_checkpoint
from services.model.sae.metrics import loss_recovered, measure
from services.model.sae.splicing import cross_entropies
from services.model.sae.stream import Stream, shards_of
from services.model.sae.training import Recipe, begin

ATLAS, SUBJECT = "smollm2", "gemma3-270m"
FAMILIES = ["cov", "corr", "ridge_z", "op", "lens"]
POOLS = ("max", "mean", "last", "top3")
SIZES = (300, 1000, 3000, 10_000, 30_000)
SPLICED = 32


def documents_of(store: Path, windows: int) -> np.ndarray:
    """Document number of each window: [windows] int64."""
    names: dict[str, int] = {}
    found = [names.setdefault(document, len(names)) for document, _ in demo_windows(store)[:windows]]
    return np.array(found, np.int64)


def complete(captures: list[Captured]) -> int:
    """Windows that all captures have."""
    return min(int(one.joined("window").max()) + 1 for one in captures)


def trained(store: Path, rows: np.ndarray, recipe: Recipe) -> SparseAutoencoder:
    """Train, leaving a checkpoint every 100 steps, and going on from the last one."""
    stream = Stream(shards_of(rows), batch=recipe.batch, seed=recipe.seed)
    path = store / f"sae-{recipe.latents}-{recipe.steps}-{len(rows)}.safetensors"
    trainer = load_checkpoint(path, recipe, stream) if path.is_file() else begin(stream, recipe)
    while trainer.step < recipe.steps:
        figures = trainer.train(stream.next())
        if trainer.step % 100 == 0 or trainer.step == recipe.steps:
            save_checkpoint(path, trainer, stream)
            print(f"step {trainer.step}: loss {figures.loss:.3f}, dead {figures.dead}", file=sys.stderr, flush=True)
    return trainer.finished()


def autoencoder(report: Report, store: Path, ours: Captured, test: np.ndarray, recipe: Recipe) -> SparseAutoencoder:
    """Train on the tokens of all but test windows; figures on those of test windows."""
    values, window = ours.joined("values"), ours.joined("window")
    held = np.isin(window, test)
    sae = trained(store, values[~held].astype(np.float32), recipe)
    found = measure(sae, torch.from_numpy(values[held].astype(np.float32)))
    n = int(held.sum())
    about = f"SmolLM2 layer 15, {recipe.latents} latents, k={recipe.k}, {int((~held).sum()):,} training tokens"
    about += f", {recipe.steps} steps of {recipe.batch}"
    report.line(
        metric=f"{about}: explained variance", value=round(found.explained, 4), unit="1", goal=">= 0.75",
        ok=found.explained >= 0.75, n=n,
    )  # fmt: skip
    report.line(
        metric=f"{about}: dead", value=round(found.dead_share, 4), unit="share", goal="<= 0.10",
        ok=found.dead_share <= 0.1, n=n,
    )  # fmt: skip
    report.line(metric=f"{about}: active latents a token", value=round(found.active, 2), unit="")
    language, windows = packaged_model(ATLAS, store), demo_windows(store)
    site = require_site(language.model, language.architecture, "model.layers.14")
    texts = [windows[at][1] for at in test[:SPLICED].tolist()]
    norm = norm_medians(language, texts, [site.name])[site.name]
    losses = cross_entropies(language, site, sae, texts, norm=norm)
    recovered = loss_recovered(*losses)
    report.line(
        metric=f"{about}: cross-entropy recovered", value=round(recovered, 4), unit="1", goal=">= 0.90",
        ok=recovered >= 0.9, n=len(texts),
    )  # fmt: skip
    return sae


def pooled_codes(sae: SparseAutoencoder, ours: Captured, n: int) -> np.ndarray:
    """Codes pooled by maximum over each window: [n, m] float32."""
    codes = np.zeros((n, sae.latents), np.float32)
    for shard in ours.shards:
        for start in range(0, len(shard["values"]), 2048):
            part = slice(start, start + 2048)
            np.maximum.at(
                codes, shard["window"][part], sae.encode(torch.from_numpy(shard["values"][part].astype(np.float32)))
            )
    return codes


def pooled_rows(found: Captured, pool: str, n: int) -> np.ndarray:
    """Pooled activations of each window: [n, d] float32; windows without a token are 0."""
    values, window = found.joined("values"), found.joined("window")
    order = np.lexsort((found.joined("position"), window))
    there, numbered = np.unique(window[order], return_inverse=True)
    rows = np.zeros((n, values.shape[1]), np.float32)
    rows[there] = pooled(
        torch.from_numpy(values[order].astype(np.float32)), torch.from_numpy(numbered), len(there), pool
    )
    return rows


def table(report: Report, codes: np.ndarray, theirs: Captured, documents: np.ndarray) -> None:
    """Windows x translators x pooling, chosen by validation, beside shuffled pairs and token identity."""
    n = len(codes)
    training, validation, test = split_documents(documents, seed=0)
    best: tuple[float, float, str] | None = None
    for size in (*[one for one in SIZES if one < len(training)], len(training)):
        rows = training[:size]
        truths = truth_of(codes[training], codes[validation]), truth_of(codes[training], codes[test])
        for pool in POOLS:
            x = pooled_rows(theirs, pool, n)
            chosen: dict[str, tuple[float, float, float]] = {}
            for one in made(x[rows], codes[rows], FAMILIES):
                scores = [
                    figures_of(one.read(x[at]), truth).summary(truth.evident)
                    for at, truth in zip((validation, test), truths, strict=True)
                ]
                family = one.name.partition("(")[0]
                if family not in chosen or scores[0]["auroc"] > chosen[family][0]:
                    chosen[family] = (scores[0]["auroc"], scores[1]["auroc"], scores[1]["ap"])
            for family, (by, reached, ap) in chosen.items():
                report.line(
                    metric=f"SmolLM2 atlas on Gemma, N={size}, {pool}-pooled: AUROC of {family}",
                    value=round(reached, 4), unit="1", n=int(truths[1].evident.sum()),
                )  # fmt: skip
                report.line(metric=f"the same: AP of {family}", value=round(ap, 4), unit="1")
                if best is None or by > best[0]:
                    best = (by, reached, f"{family}, {pool}, N={size}")
    if best is not None:
        report.line(
            metric=f"best by validation ({best[2]}): AUROC", value=round(best[1], 4), unit="1",
            goal=">= 0.85 at 30,000 windows", ok=best[1] >= 0.85, n=len(training),
        )  # fmt: skip
    controls(report, codes, theirs, training, test)


def controls(report: Report, codes: np.ndarray, theirs: Captured, training: np.ndarray, test: np.ndarray) -> None:
    """Shuffled pairs, token identity, and units found again by their own codes."""
    truth, x = truth_of(codes[training], codes[test]), pooled_rows(theirs, "mean", len(codes))
    shuffled = np.random.default_rng(0).permutation(training)
    control = figures_of(made(x[training], codes[shuffled], ["op"])[0].read(x[test]), truth).summary(truth.evident)
    report.line(
        metric="shuffled pairs (op, mean): AUROC", value=round(control["auroc"], 4), unit="1", goal="0.50 +- 0.02",
        ok=abs(control["auroc"] - 0.5) <= 0.02,
    )  # fmt: skip
    window, ids = theirs.joined("window"), theirs.joined("ids")
    order = np.argsort(window, kind="stable")
    bag = _bag(ids[order], np.bincount(window, minlength=len(codes)))
    lexical = figures_of(lexical_scores_sparse(bag[training], bag[test], codes[training]), truth).summary(truth.evident)
    report.line(metric="tokens alone (lexical): AUROC", value=round(lexical["auroc"], 4), unit="1")
    report.line(metric="tokens alone (lexical): AP", value=round(lexical["ap"], 4), unit="1")
    for one in made(x[training], codes[training], ["op", "lens"]):
        ranks, d = self_retrieval(one.matrix, x[test], codes[test]), x.shape[1]
        report.line(
            metric=f"self-retrieval of {one.name}: MRR", value=round(mean_reciprocal_rank(ranks), 4), unit="1",
            peer="chance", peer_value=round(chance_ranks(d)[0], 4), n=d,
        )  # fmt: skip
        report.line(metric=f"self-retrieval of {one.name}: MPP", value=round(mean_percentile(ranks, d), 4), unit="1")


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language_atlas", description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--windows", type=int, default=30_000)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--learning-rate", type=float, default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    report = Report()
    captures = [capture(name, asked.store, windows=asked.windows) for name in (ATLAS, SUBJECT)]
    n = complete(captures)
    documents = documents_of(asked.store, n)
    _, _, test = split_documents(documents, seed=0)
    recipe = Recipe(
        latents=asked.latents, k=32, steps=asked.steps, batch=1024, learning_rate=asked.learning_rate,
        revive_every=min(1000, max(100, asked.steps // 5)),
    )  # fmt: skip
    sae = autoencoder(report, asked.store, captures[0], test, recipe)
    table(report, pooled_codes(sae, captures[0], n), captures[1], documents)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
