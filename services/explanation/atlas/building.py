"""The stages of atlases and alignments: labels of latents, translators of a layer, and what is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import numpy as np

from contracts.atlas import AlignmentRequest, Atlas, AtlasAlignment, AtlasRequest
from contracts.atlas_transfer import LayerTransfer, TransferFigures
from contracts.errors import InsufficientEvidence
from services.explanation.atlas.codes import Codes
from services.explanation.atlas.detection import Detection, concept_list_labels, judge_labels, trial_of
from services.explanation.atlas.repository import publish_alignment as write_alignment
from services.explanation.atlas.repository import publish_atlas as write_atlas
from services.explanation.atlas.retrieval import standardised_rows
from services.explanation.atlas.scores import truth_of
from services.explanation.atlas.statistics import Floats, collect
from services.explanation.atlas.translators import Translator, fitted, lens
from services.explanation.atlas.trust import TrustReport, Windows, figures_of, judge, split_documents
from services.explanation.collect import group_numbers
from services.explanation.measure import embeddings_of
from services.kit.arrays import load_arrays
from services.kit.groups import held_out_groups
from services.kit.stages import StageFunction, Work

TIERS = ("verified", "weak", "untrusted", "insufficient_evidence")
JUDGED_SHARE, SHUFFLED_MAPS = 0.4, 5


def building_stages() -> tuple[StageFunction, ...]:
    """The stages of atlases and alignments."""
    return (
        StageFunction("label-latents", 1, label_latents),
        StageFunction("publish-atlas", 1, publish_atlas),
        StageFunction("align-layer", 1, align_layer),
        StageFunction("publish-alignment", 1, publish_alignment),
    )


def label_latents(work: Work) -> None:
    """Name latents from 60 % of the groups; judge the names on the others, against near samples that do not fire."""
    seed = AtlasRequest.model_validate(work.spec["request"]).seed
    codes = Codes.load(work.path("codes")).dense()
    embeddings = np.concatenate([rows for _, rows in embeddings_of(work).blocks()])
    texts = work.arrays("texts")["texts"]
    texts = texts / np.maximum(np.linalg.norm(texts, axis=1, keepdims=True), 1e-12)
    groups = group_numbers(work, len(codes))
    evidence = ~held_out_groups(groups, share=JUDGED_SHARE, seed=seed)
    index, margin, _ = concept_list_labels(codes, embeddings, texts, evidence)
    rows = np.flatnonzero(evidence)
    trials = [trial_of(codes[:, j], embeddings, groups, rows, seed=seed) for j in range(codes.shape[1])]
    own, shuffled = judge_labels(
        trials, lambda j, windows: embeddings[windows] @ texts[index[j]], (index >= 0).tolist(), seed=seed
    )
    tier = np.array([TIERS.index(one.tier) if one else 3 for one in own], np.int8)
    figures = {name: _column(own, name) for name in ("auroc", "low", "high", "precision")}
    vectors = np.where((index >= 0)[:, None], texts[np.maximum(index, 0)], 0).astype(np.float32)
    work.emit_arrays("labels", {"index": index, "margin": margin, "tier": tier, "vectors": vectors, **figures})
    judged, control = figures["auroc"], _column(shuffled, "auroc")
    counts = Counter(TIERS[at] for at in tier)
    work.emit_record(
        "summary",
        {
            "tiers": {name: counts[name] for name in TIERS}, "latents": codes.shape[1],
            "auroc": _or_none(np.nanmedian, judged), "shuffled": _or_none(np.nanmean, control),
        },
    )  # fmt: skip
    work.advance(codes.shape[1])


def _column(found: list[Detection | None], name: str) -> np.ndarray:
    return np.array([getattr(one, name) if one else np.nan for one in found])


def _or_none(mean: object, values: np.ndarray) -> float | None:
    return float(mean(values)) if np.isfinite(values).any() else None  # type: ignore[operator]


def publish_atlas(work: Work) -> None:
    """Write the record of an atlas, and its row in the transaction that publishes this part."""
    request = AtlasRequest.model_validate(work.spec["request"])
    key = work.keys["record"]
    told = {name: work.spec[name] for name in ("snapshot", "model", "layer", "dataset", "encoder")}
    told["capture"] = work.spec.get("capture")
    found = Atlas.model_validate(
        {
            "id": f"atlas_{key[:16]}", "name": request.name or f"atlas_{key[:16]}", "sae": request.sae,
            "vocabulary_sha256": work.record("names")["sha256"], "request": request, "lineage": key,
            "created_at": datetime.now(UTC), **told, **work.record("summary"),
        }
    )  # fmt: skip
    roles = {role: work.keys[role] for role in work.inputs}
    work.emit_record("record", {"atlas": found.model_dump(mode="json", exclude={"created_at"}), "artifacts": roles})
    work.when_published(lambda db: write_atlas(db, work.workspace, found, roles))
    work.result = found.id
    work.advance(1)


def align_layer(work: Work) -> None:
    """Fit translators on training groups, choose by validation, publish test figures beside the shuffled control."""
    request = AlignmentRequest.model_validate(work.spec["request"])
    codes = Codes.load(work.path("codes")).dense()
    blocks = load_arrays(work.path("columns"))
    rows = np.concatenate([blocks[name] for name in sorted(blocks)], axis=1).astype(np.float32)
    groups = group_numbers(work, len(rows))
    windows = Windows(rows, codes, groups, np.ones(len(rows), np.int64))
    layer = str(work.spec["layer"])
    parts = tuple(windows.at(at) for at in split_documents(groups, seed=request.seed))
    samples = {name: len(part.x) for name, part in zip(("training", "validation", "test"), parts, strict=True)}
    told = {"layer": layer, "width": rows.shape[1], "samples": samples}
    try:
        transfer, arrays = _aligned(parts, request, told, lambda: work.advance(0))
    except InsufficientEvidence:
        transfer = LayerTransfer.model_validate(
            {
                **told, "state": "insufficient_evidence", "chosen": None, "translators": [], "shuffled": None,
                "base": None, "tiers": {"insufficient_evidence": codes.shape[1]},
            }
        )  # fmt: skip
        arrays = {"matrix": np.zeros((0, 0), np.float32)}
    work.emit_arrays("map", arrays, {"chosen": transfer.chosen})
    work.emit_record("transfer", transfer.model_dump(mode="json"))
    work.advance(rows.shape[1])


def _aligned(
    parts: tuple[Windows, ...], request: AlignmentRequest, told: dict[str, object], beat: Callable[[], None]
) -> tuple[LayerTransfer, dict[str, np.ndarray]]:
    """The report of a layer, and the chosen map with what retrieval needs."""
    training, validation, test = parts
    truths = [truth_of(training.c, part.c) for part in (validation, test)]
    if not truths[1].evident.any() or not truths[0].evident.any():
        raise InsufficientEvidence("no latent has 20 training and 10 test positives", field="snapshot")
    made = _made(training.x, training.c, list(request.translators))
    chosen_by = {one.name: figures_of(one.read(validation.x), truths[0]).summary(truths[0].evident) for one in made}
    best = max(made, key=lambda one: chosen_by[one.name]["auroc"])

    def refit(x: Floats, c: Floats) -> Translator:
        beat()
        return next(one for one in _made(x, c, [best.name.partition("(")[0]]) if one.name == best.name)

    report = judge(lambda x, c: refit(x, c).read, training, test, seed=request.seed, beat=beat)
    draw = np.random.default_rng([request.seed, 2])
    null = [refit(training.x, training.c[draw.permutation(len(training.c))]) for _ in range(SHUFFLED_MAPS)]
    figures = [
        {
            "translator": one.name, "validation": chosen_by[one.name]["auroc"],
            "test": _pair(figures_of(one.read(test.x), truths[1]).summary(truths[1].evident)),
        }
        for one in made
    ]  # fmt: skip
    summary, counts = report.summary(), Counter(report.tiers)
    transfer = LayerTransfer.model_validate(
        {
            **told, "state": "ok", "chosen": best.name, "translators": figures,
            "shuffled": _pair(summary["shuffled"]), "base": summary["base"]["ap"],
            "tiers": {name: counts[name] for name in TIERS},
        }
    )  # fmt: skip
    return transfer, _stored(best, null, report)


def _made(x: Floats, c: Floats, names: list[str]) -> list[Translator]:
    closed = [name for name in names if name != "lens"]
    found = fitted(collect(x, c, second_moment=False), closed) if closed else []
    return [*found, lens(x, c)] if "lens" in names else found


def _pair(summary: dict[str, float]) -> TransferFigures:
    return TransferFigures(auroc=summary["auroc"], ap=summary["ap"])


def _stored(best: Translator, null: list[Translator], report: TrustReport) -> dict[str, np.ndarray]:
    return {
        "matrix": best.matrix.astype(np.float32), "mean": best.mean, "scale": best.scale,
        "z": standardised_rows(best, null).astype(np.float32), "auroc": report.figures.auroc,
        "tier": np.array([TIERS.index(one) for one in report.tiers], np.int8),
    }  # fmt: skip


def publish_alignment(work: Work) -> None:
    """Write the record of an alignment, and its row in the transaction that publishes this part."""
    request = AlignmentRequest.model_validate(work.spec["request"])
    key = work.keys["record"]
    layers = [work.record(f"transfer/{name}") for name in cast(list[str], work.spec["layers"])]
    found = AtlasAlignment.model_validate(
        {
            "id": f"align_{key[:16]}", "name": request.name or f"align_{key[:16]}", "atlas": request.atlas,
            "snapshot": request.snapshot, "capture": request.capture, "model": work.spec["model"], "layers": layers,
            "request": request, "lineage": key, "created_at": datetime.now(UTC),
        }
    )  # fmt: skip
    roles = {role: work.keys[role] for role in work.inputs}
    work.emit_record("record", {"alignment": found.model_dump(mode="json", exclude={"created_at"}), "artifacts": roles})
    work.when_published(lambda db: write_alignment(db, work.workspace, found, roles))
    work.result = found.id
    work.advance(1)
