"""The stage that carries a text atlas over to one layer of another language model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from contracts.atlas import AlignmentRequest
from contracts.atlas_transfer import LayerTransfer, TransferFigures
from contracts.errors import InsufficientEvidence
from services.explanation.atlas.building import SHUFFLED_MAPS, TIERS
from services.explanation.atlas.codes import Codes
from services.explanation.atlas.retrieval import standardised_rows
from services.explanation.atlas.scores import (
    Truth,
    chance_ranks,
    mean_percentile,
    mean_reciprocal_rank,
    self_retrieval,
    truth_of,
)
from services.explanation.atlas.statistics import Floats, collect
from services.explanation.atlas.translators import Translator, fitted, lens
from services.explanation.atlas.trust import TrustReport, Windows, figures_of, judge, lexical_scores_sparse
from services.explanation.atlas.writing import covariance_directions, write_directions, write_rows_dual
from services.kit.arrays import load_arrays
from services.kit.stages import StageFunction, Work
from services.kit.windows import SPLITS

CURVE = (300, 1000, 3000, 10_000, 30_000)
BUCKETS = 2**15
MOST_LEXICAL = 6000  # training windows of the lexical control: its kernel is quadratic in them
TOP_WINDOWS = 20
LARGEST_PRIMAL = 8192


def text_alignment_stages() -> tuple[StageFunction, ...]:
    """The stages of alignments with captures."""
    return (StageFunction("align-text-layer", 1, align_text_layer),)


@dataclass(frozen=True)
class Subject:
    """What a subject's capture holds of one layer. pools : name -> [N, d_s]; kept : [N] windows with a kept token."""

    pools: dict[str, Floats]
    kept: NDArray[np.bool_]
    split: NDArray[np.int64]
    document: NDArray[np.int64]
    count: NDArray[np.int64]
    bag: csr_matrix

    @classmethod
    def read(cls, work: Work, pools: Sequence[str]) -> Subject:
        """Read and join the shards among a part's inputs."""
        shards = sorted(role.partition("/")[2] for role in work.inputs if role.startswith("pooled/"))
        texts = [load_arrays(work.path(f"text/{shard}")) for shard in shards]
        pooled = [load_arrays(work.path(f"pooled/{shard}"), [*pools, "kept"]) for shard in shards]
        joined = {name: np.concatenate([one[name] for one in texts]) for name in ("split", "document", "count", "ids")}
        return cls(
            {pool: np.concatenate([one[pool] for one in pooled]) for pool in pools},
            np.concatenate([one["kept"] for one in pooled]), joined["split"], joined["document"], joined["count"],
            _bag(joined["ids"], joined["count"]),
        )  # fmt: skip

    def windows(self, pool: str, codes: Floats, split: str) -> Windows:
        """Windows of one split, in order, those without a kept token left out."""
        rows = self.rows(split)
        return Windows(self.pools[pool][rows], codes[rows], self.document[rows], self.count[rows])

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of the windows of a split."""
        return np.flatnonzero(self.kept & (self.split == SPLITS.index(split)))


def _bag(ids: NDArray[np.int32], count: NDArray[np.int64]) -> csr_matrix:
    """log(1 + count) of each window's hashed tokens: [N, 2**15]."""
    rows = np.repeat(np.arange(len(count)), count)
    mixed = (ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(49)
    bag = csr_matrix((np.ones(len(ids), np.float32), (rows, mixed.astype(np.int64))), shape=(len(count), BUCKETS))
    bag.data = np.log1p(bag.data)
    return bag


def align_text_layer(work: Work) -> None:
    """Fit every translator on every pool, choose by validation, publish test figures beside the controls."""
    request = AlignmentRequest.model_validate(work.spec["request"])
    layer, pools = str(work.spec["layer"]), [str(pool) for pool in request.pools or ["max"]]
    codes, subject = Codes.load(work.path("codes")).dense(), Subject.read(work, pools)
    samples = dict(zip(("training", "validation", "test"), (len(subject.rows(one)) for one in SPLITS), strict=True))
    told = {"layer": layer, "width": subject.pools[pools[0]].shape[1], "samples": samples}
    try:
        transfer, arrays = _aligned(subject, codes, request, told, pools, lambda: work.advance(0))
    except InsufficientEvidence:
        transfer = LayerTransfer.model_validate(
            {
                **told, "state": "insufficient_evidence", "chosen": None, "translators": [], "shuffled": None,
                "base": None, "tiers": {"insufficient_evidence": codes.shape[1]},
            }
        )  # fmt: skip
        arrays = {"matrix": np.zeros((0, 0), np.float32)}
    work.emit_arrays("map", arrays, {"chosen": transfer.chosen, "pool": transfer.pool})
    work.emit_record("transfer", transfer.model_dump(mode="json"))
    work.advance(1)


def _aligned(
    subject: Subject,
    codes: Floats,
    request: AlignmentRequest,
    told: dict[str, object],
    pools: list[str],
    beat: Callable[[], None],
) -> tuple[LayerTransfer, dict[str, np.ndarray]]:
    rows = {split: subject.rows(split) for split in SPLITS}
    truths = {split: truth_of(codes[rows["train"]], codes[rows[split]]) for split in ("validation", "test")}
    if not all(truth.evident.any() for truth in truths.values()):
        raise InsufficientEvidence("no latent has 20 training and 10 test positives", field="capture")
    table, best = _table(subject, codes, request, pools, truths, beat)
    pool, translator = best
    training, test = subject.windows(pool, codes, "train"), subject.windows(pool, codes, "test")

    def refit(x: Floats, c: Floats) -> Translator:
        beat()
        return next(one for one in made(x, c, [translator.name.partition("(")[0]]) if one.name == translator.name)

    report = judge(lambda x, c: refit(x, c).read, training, test, seed=request.seed, beat=beat)
    lexical = figures_of(
        lexical_scores_sparse(subject.bag[rows["train"][:MOST_LEXICAL]], subject.bag[rows["test"]],
                              training.c[:MOST_LEXICAL]), truths["test"],
    )  # fmt: skip
    draw = np.random.default_rng([request.seed, 2])
    null = [refit(training.x, training.c[draw.permutation(len(training.c))]) for _ in range(SHUFFLED_MAPS)]
    summary, counts = report.summary(), Counter(report.tiers)
    transfer = LayerTransfer.model_validate(
        {
            **told, "state": "ok", "chosen": translator.name, "pool": pool, "translators": table,
            "shuffled": _pair(summary["shuffled"]), "base": summary["base"]["ap"], "length": _pair(summary["length"]),
            "lexical": _pair(lexical.summary(truths["test"].evident)),
            "tiers": {name: counts[name] for name in TIERS},
            "curve": _curve(refit, training, test),
            "retrieval": _retrieval(translator, subject.windows(pool, codes, "validation")),
        }
    )  # fmt: skip
    return transfer, _stored(translator, null, report, training, lexical.auroc)


def _table(
    subject: Subject,
    codes: Floats,
    request: AlignmentRequest,
    pools: list[str],
    truths: dict[str, Truth],
    beat: Callable[[], None],
) -> tuple[list[dict[str, object]], tuple[str, Translator]]:
    """Figures of each pool and translator, and the best one on validation windows."""
    table: list[dict[str, object]] = []
    best: tuple[float, str, Translator] | None = None
    for pool in pools:
        training, validation, test = (subject.windows(pool, codes, split) for split in SPLITS)
        beat()
        for one in made(training.x, training.c, list(request.translators)):
            beat()
            chosen_by = figures_of(one.read(validation.x), truths["validation"]).summary(truths["validation"].evident)
            figures = figures_of(one.read(test.x), truths["test"]).summary(truths["test"].evident)
            table.append(
                {"translator": one.name, "pool": pool, "validation": chosen_by["auroc"], "test": _pair(figures)}
            )
            if best is None or chosen_by["auroc"] > best[0]:
                best = (chosen_by["auroc"], pool, one)
    if best is None:
        raise InsufficientEvidence("no translator was asked for", field="translators")
    return table, best[1:]


def made(x: Floats, c: Floats, names: list[str]) -> list[Translator]:
    """Translators by family name from windows [N, d_s] and codes [N, d_c]; a ridge family gives one for each ρ."""
    closed = [name for name in names if name != "lens"]
    found = fitted(collect(x, c, second_moment=False), closed) if closed else []
    return [*found, lens(x, c)] if "lens" in names else found


def _curve(refit: object, training: Windows, test: Windows) -> list[dict[str, object]]:
    """The chosen translator on ever more training windows."""
    points = []
    for n in (*[one for one in CURVE if one < len(training.x)], len(training.x)):
        truth = truth_of(training.c, test.c)
        figures = figures_of(refit(training.x[:n], training.c[:n]).read(test.x), truth)  # type: ignore[operator]
        found = figures.summary(truth.evident)
        points.append({"windows": n, "auroc": found["auroc"], "ap": found["ap"]})
    return points


def _retrieval(translator: Translator, fresh: Windows) -> dict[str, object] | None:
    """Self-retrieval: rows of the map found by the mean codes of each unit's top windows among validation windows."""
    if len(fresh.x) <= TOP_WINDOWS:
        return None
    ranks, d = self_retrieval(translator.matrix, fresh.x, fresh.c, k=TOP_WINDOWS), fresh.x.shape[1]
    return {
        "mrr": mean_reciprocal_rank(ranks), "mpp": mean_percentile(ranks, d), "chance_mrr": chance_ranks(d)[0],
        "units": d,
    }  # fmt: skip


def _pair(summary: dict[str, float]) -> TransferFigures:
    return TransferFigures(auroc=summary["auroc"], ap=summary["ap"])


def _stored(
    best: Translator, null: list[Translator], report: TrustReport, training: Windows, lexical: np.ndarray
) -> dict[str, np.ndarray]:
    """The chosen map, and for steering the write and covariance directions of every latent, [m, d_s]."""
    m = training.c.shape[1]
    stats = collect(training.x, training.c, second_moment=m <= LARGEST_PRIMAL)
    latents = range(m)
    if m <= LARGEST_PRIMAL:
        write = write_directions(stats, latents)
    else:
        write = write_rows_dual(training.x[:LARGEST_PRIMAL], training.c[:LARGEST_PRIMAL], latents)
        write = write * stats.sd_c[:, None]
    return {
        "matrix": best.matrix.astype(np.float32), "mean": best.mean, "scale": best.scale,
        "unit_rows": np.array([best.unit_rows]), "z": standardised_rows(best, null).astype(np.float32),
        "auroc": report.figures.auroc, "lexical": lexical, "low": report.intervals[:, 0],
        "tier": np.array([TIERS.index(one) for one in report.tiers], np.int8),
        "write": write.astype(np.float32), "cov": covariance_directions(stats, latents).astype(np.float32),
    }  # fmt: skip
