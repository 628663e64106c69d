"""The last stage of an audit: verdicts of every class in every layer, one record, one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np

from contracts.audit import (
    Audit,
    AuditCalibration,
    AuditCheck,
    AuditFinding,
    AuditPolicy,
    ConceptKind,
    ConceptTest,
    ReadoutLayer,
    VerdictShare,
)
from contracts.snapshots import Example
from services.explanation.audits.repository import publish_audit
from services.explanation.audits.verdicts import (
    FLAGGED,
    INSUFFICIENT,
    UNEXPECTED,
    VERDICTS,
    Evidence,
    Rules,
    decide,
    distinct_examples,
    relevance_shares,
    totals,
)
from services.explanation.measure import OK
from services.kit.pictures import Manifest
from services.kit.stages import Work

KINDS: tuple[ConceptKind, ...] = ("valid", "spurious", "forbidden")
MOST_FINDINGS = 200  # of a class in a layer; the totals count all
MOST_OTHERS = 20
MOST_TESTS = 8
MOST_EXAMPLES = 8
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class LayerInputs:
    """All that is known of a layer; arrays have a row a component, and a signed layer two for a unit."""

    name: str
    width: int
    tests: Arrays
    relevance: Arrays
    examples: Arrays
    vectors: Arrays
    distinct: np.ndarray


@dataclass(frozen=True)
class Judged:
    """One class in one layer."""

    readout: dict[str, Any]
    place: int
    layer: LayerInputs
    share: np.ndarray
    verdicts: np.ndarray


def publish_audit_part(work: Work) -> None:
    """Judge, write the record, and its row in the transaction that publishes this part."""
    spec = cast(dict[str, Any], work.spec)
    policy = AuditPolicy.model_validate(spec["policy"])
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    layers = [_layer(work, told, source_groups(manifest)) for told in spec["layers"]]
    judged = [
        judge(spec["readouts"], place, layer, policy) for place in range(len(spec["readouts"])) for layer in layers
    ]
    checks = [check for one in judged for check in checks_of(one, policy)]
    labels = manifest.labels()
    findings = [found for one in judged for found in findings_of(one, policy, spec["concepts"], labels)]
    key = work.keys["audit"]
    audit = Audit(
        id=f"a_{key[:16]}", snapshot=spec["snapshot"], snapshot_name=spec["snapshot_name"], model=spec["model"],
        dataset=spec["dataset"], encoder=spec["encoder"], policy=policy, policy_sha256=spec["policy_sha256"],
        layers=[layer.name for layer in layers], templates=spec["templates"],
        passed=all(check.passed for check in checks), checks=checks, readouts=[figures_of(one) for one in judged],
        findings=findings, calibration=AuditCalibration.model_validate(work.record("calibration")), lineage=key,
        created_at=datetime.now(UTC),
    )  # fmt: skip
    work.emit_arrays("points", _points(judged))
    roles = {role: work.keys[role] for role in work.inputs} | {"points": work.keys["points"]}
    facts = audit.model_dump(mode="json", exclude={"created_at", "sign_offs", "snapshot_name"})
    work.emit_record("audit", {"audit": facts, "artifacts": roles})
    work.when_published(lambda db: publish_audit(db, work.workspace, audit, roles))
    work.result = audit.id
    work.advance(1)


def source_groups(manifest: Manifest) -> np.ndarray:
    """[N] a number for the source of each sample: its group, or else its bytes, so that copies count once."""
    known: dict[tuple[str, str], int] = {}
    told = zip(manifest.groups(), manifest.hashes(), strict=True)
    names = [("bytes", sha) if group is None else ("group", group) for group, sha in told]
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def _layer(work: Work, told: dict[str, Any], groups: np.ndarray) -> LayerInputs:
    name = str(told["name"])
    examples = work.arrays(f"examples/{name}")
    return LayerInputs(
        name, int(told["width"]), work.arrays(f"tests/{name}"), work.arrays(f"relevance/{name}"), examples,
        work.arrays(f"vectors/{name}"), distinct_examples(examples["ids"], examples["n_valid"], groups),
    )  # fmt: skip


def judge(readouts: Sequence[dict[str, Any]], place: int, layer: LayerInputs, policy: AuditPolicy) -> Judged:
    """Verdicts of all components of a layer for one class."""
    readout = readouts[place]
    share = relevance_shares(layer.relevance["relevance"][place])
    evidence = Evidence(
        layer.vectors["state"] == OK, layer.distinct, layer.vectors["clarity_z"].astype(np.float64), share
    )
    rules = Rules(policy.fdr, policy.min_examples, policy.min_clarity_z, policy.unexpected_share)
    q = [layer.tests["q"][:, readout[kind]] for kind in KINDS]
    return Judged(readout, place, layer, share, decide(evidence, *q, rules))


def figures_of(one: Judged) -> ReadoutLayer:
    """Counts and shares by verdict."""
    counts, shares = totals(one.verdicts, one.share)
    return ReadoutLayer(
        readout=one.readout["name"], output=one.readout["output"], layer=one.layer.name,
        samples=int(one.layer.relevance["samples"][one.place]),
        verdicts=[
            VerdictShare(verdict=name, components=int(counts[place]), share=float(shares[place]))
            for place, name in enumerate(VERDICTS)
        ],
    )  # fmt: skip


def checks_of(one: Judged, policy: AuditPolicy) -> list[AuditCheck]:
    """Hold the shares against the policy's limits."""
    counts, shares = totals(one.verdicts, one.share)
    limits = policy.limits.model_dump()
    return [
        AuditCheck(
            readout=one.readout["name"], layer=one.layer.name, rule=name, components=int(counts[place]),
            share=float(shares[place]), limit=limits[name], passed=bool(shares[place] <= limits[name]),
        )
        for place, name in enumerate(VERDICTS)
        if limits.get(name) is not None
    ]  # fmt: skip


def findings_of(
    one: Judged, policy: AuditPolicy, concepts: Sequence[str], labels: Sequence[str | None]
) -> list[AuditFinding]:
    """What is flagged, and what else carries much relevance; each from the largest share down."""
    order = np.argsort(-one.share, kind="stable")
    flagged = order[np.isin(one.verdicts[order], FLAGGED)][:MOST_FINDINGS]
    others = order[
        np.isin(one.verdicts[order], (UNEXPECTED, INSUFFICIENT)) & (one.share[order] >= policy.unexpected_share)
    ][:MOST_OTHERS]
    return [_finding(one, int(row), policy, concepts, labels) for row in (*flagged, *others)]


def _finding(
    one: Judged, row: int, policy: AuditPolicy, concepts: Sequence[str], labels: Sequence[str | None]
) -> AuditFinding:
    layer, relevance = one.layer, one.layer.relevance
    ids = [int(sample) for sample in layer.examples["ids"][row, :MOST_EXAMPLES] if sample >= 0]
    values = layer.examples["values"][row]
    return AuditFinding(
        readout=one.readout["name"], layer=layer.name, index=row % layer.width, sign=1 if row < layer.width else -1,
        verdict=VERDICTS[one.verdicts[row]], share=float(one.share[row]),
        relevance=float(relevance["relevance"][one.place, row]),
        effect=finite(relevance["effects"][one.place, row]), clarity=finite(layer.vectors["clarity"][row]),
        clarity_z=finite(layer.vectors["clarity_z"][row]), n_valid=int(layer.examples["n_valid"][row]),
        distinct=int(layer.distinct[row]), tests=_tests(one, row, policy.fdr, concepts),
        examples=[
            Example(sample=sample, label=labels[sample], activation=float(values[place]))
            for place, sample in enumerate(ids)
        ],
    )  # fmt: skip


def _tests(one: Judged, row: int, fdr: float, concepts: Sequence[str]) -> list[ConceptTest]:
    """The finds of a component, and of each list the concept with the largest z; smallest q first."""
    tests = one.layer.tests
    chosen: list[tuple[float, float, int, ConceptKind]] = []
    for kind in KINDS:
        known = [place for place in one.readout[kind] if np.isfinite(tests["z"][row, place])]
        nearest = max(known, key=lambda place: float(tests["z"][row, place]), default=None)
        chosen += [
            (float(tests["q"][row, place]), -float(tests["z"][row, place]), place, kind)
            for place in known
            if place == nearest or tests["q"][row, place] <= fdr
        ]
    return [
        ConceptTest(
            concept=concepts[place], kind=kind, alignment=float(tests["alignment"][row, place]), z=-below,
            p=float(tests["p"][row, place]), q=q,
        )
        for q, below, place, kind in sorted(chosen)[:MOST_TESTS]
    ]  # fmt: skip


def finite(value: np.floating) -> float | None:
    """A number, or None for what is not defined."""
    return float(value) if np.isfinite(value) else None


def _points(judged: Sequence[Judged]) -> Arrays:
    """Best alignment with valid and with other concepts, share and verdict; by class and layer number."""
    arrays: Arrays = {}
    for one in judged:
        tests, prefix = one.layer.tests["alignment"], f"{one.place}/{one.layer.name}"
        spurious = [*one.readout["spurious"], *one.readout["forbidden"]]
        arrays[f"{prefix}/valid"] = _largest(tests[:, one.readout["valid"]])
        arrays[f"{prefix}/spurious"] = _largest(tests[:, spurious])
        arrays[f"{prefix}/share"] = one.share.astype(np.float32)
        arrays[f"{prefix}/verdict"] = one.verdicts
    return arrays


def _largest(alignment: np.ndarray) -> np.ndarray:
    known = np.where(np.isfinite(alignment), alignment, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(known), known, np.nan).astype(np.float32)
