"""What a user can ask about audits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from pydantic import JsonValue

from contracts.audit import (
    Audit,
    AuditPoint,
    AuditPoints,
    AuditSummary,
    PolicyDraft,
    SignOff,
    SignOffRequest,
    UnknownReadout,
)
from contracts.base import Binary, Caller, Page
from contracts.corrections import Correction
from contracts.errors import CorruptArtifact
from contracts.model import ModelService
from services.explanation.audits.draft import draft
from services.explanation.audits.report import html_report, junit_report
from services.explanation.audits.repository import add_sign_off, audit_row, corrections, sign_offs
from services.explanation.audits.rows import AuditRow
from services.explanation.audits.verdicts import FLAGGED, VERDICTS
from services.kit.arrays import load_arrays
from services.kit.artifacts import find_artifacts
from services.kit.db import WriteSession
from services.kit.named import newest_first
from services.kit.pictures import Manifest

if TYPE_CHECKING:
    from pathlib import Path

    from services.explanation.service import Explanation

MOST_POINTS = 5000
FEWEST_CAPTIONS = 200


class Record(Protocol):
    """Writes an act into the audit log, in the act's own transaction."""

    def __call__(self, db: WriteSession, caller: Caller, action: str, subject: str, **facts: JsonValue) -> None:
        """Write it down."""
        ...


class Audits:
    """Implements `contracts.audit.AuditService`."""

    def __init__(self, explanation: Explanation, models: ModelService, record: Record) -> None:
        self.explanation, self.models, self.record = explanation, models, record
        self.database, self.blobs = explanation.database, explanation.blobs

    def audits(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[AuditSummary]:
        """List the audits of the workspace, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, AuditRow, caller.workspace, limit, cursor)
            signed = sign_offs(db, caller.workspace, [row.id for row in rows])
        return Page[AuditSummary](items=[_summary(row, signed[row.id]) for row in rows], next=more)

    def audit(self, caller: Caller, audit: str) -> Audit:
        """Show one audit with the decisions about it."""
        with self.database.reading() as db:
            row = audit_row(db, caller.workspace, audit)
            return _with(row, sign_offs(db, caller.workspace, [audit])[audit])

    def audit_points(self, caller: Caller, audit: str, readout: str) -> AuditPoints:
        """Show where all components lie between valid and spurious concepts of a class."""
        found = self.audit(caller, audit)
        names = list(found.policy.classes)
        if readout not in names:
            raise UnknownReadout(f"{audit} has no class {readout}", field="readout", classes=[*names])
        arrays = load_arrays(self._path(caller, audit, "points"))
        signed = {layer.name: layer for layer in self.explanation.snapshot(caller, found.snapshot).layers}
        points = [
            point
            for name in found.layers
            for point in _points(name, signed[name].width, arrays, f"{names.index(readout)}/{name}")
        ]
        points.sort(key=lambda point: (-point.share, found.layers.index(point.layer), point.index, -point.sign))
        return AuditPoints(audit=audit, readout=readout, components=len(points), points=points[:MOST_POINTS])

    def sign_off(self, caller: Caller, audit: str, body: SignOffRequest) -> SignOff:
        """Accept or reject an audit by name; earlier decisions stay."""
        with self.database.writing() as db:
            audit_row(db, caller.workspace, audit)
            signed = add_sign_off(db, caller.workspace, audit, caller.user, body)
            self.record(db, caller, "audit.signed", audit, verdict=signed.verdict, number=signed.number)
            return signed

    def corrections(self, caller: Caller, audit: str) -> Page[Correction]:
        """List the models that were made by suppressing what an audit flagged, newest first."""
        with self.database.reading() as db:
            audit_row(db, caller.workspace, audit)
            return Page[Correction](items=corrections(db, caller.workspace, audit))

    def audit_report(self, caller: Caller, audit: str, format: Literal["html", "junit"] = "html") -> Binary:
        """Export an audit."""
        found = self.audit(caller, audit)
        if format == "junit":
            return Binary(junit_report(found).encode(), "application/xml; charset=utf-8")
        manifest = Manifest.load(self._path(caller, audit, "manifest"), self.blobs)
        return Binary(html_report(found, manifest.thumbnail_bytes).encode(), "text/html; charset=utf-8")

    def audit_policy(self, caller: Caller, snapshot: str) -> PolicyDraft:
        """Write a commented policy for the classes of a snapshot's model."""
        opened = self.explanation.opened(caller, snapshot)
        model = self.models.model(caller, opened.snapshot.model.id)
        captions = len({caption for caption in opened.manifest.captions() if caption}) >= FEWEST_CAPTIONS
        text = draft(opened.snapshot, model, opened.labels, captions=captions)
        return PolicyDraft(snapshot=opened.snapshot.id, yaml=text)

    def _path(self, caller: Caller, audit: str, role: str) -> Path:
        with self.database.reading() as db:
            key = str(audit_row(db, caller.workspace, audit).artifacts[role])
            found = find_artifacts(db, caller.workspace, [key])
        if key not in found:
            raise CorruptArtifact(f"{role} of {audit} must be recomputed", audit=audit)
        return self.blobs.open(found[key].blob)


def _with(row: AuditRow, signed: list[SignOff]) -> Audit:
    return Audit.model_validate({**row.record, "sign_offs": [one.model_dump() for one in signed]})


def _summary(row: AuditRow, signed: list[SignOff]) -> AuditSummary:
    told = _with(row, signed)
    flagged = {VERDICTS[place] for place in FLAGGED}
    counts = [v.components for one in told.readouts for v in one.verdicts if v.verdict in flagged]
    return AuditSummary(
        id=told.id, snapshot=told.snapshot, snapshot_name=told.snapshot_name, model=told.model, passed=told.passed,
        classes=len(told.policy.classes), violations=sum(not check.passed for check in told.checks),
        flagged=sum(counts), policy_sha256=told.policy_sha256, created_at=told.created_at, sign_offs=told.sign_offs,
    )  # fmt: skip


def _points(layer: str, width: int, arrays: dict[str, np.ndarray], prefix: str) -> list[AuditPoint]:
    columns = (arrays[f"{prefix}/{name}"].tolist() for name in ("valid", "spurious", "share", "verdict"))
    return [
        AuditPoint.model_construct(
            layer=layer, index=row % width, sign=1 if row < width else -1, valid=valid if valid == valid else None,
            spurious=spurious if spurious == spurious else None, share=share, verdict=VERDICTS[verdict],
        )
        for row, (valid, spurious, share, verdict) in enumerate(zip(*columns, strict=True))
    ]  # fmt: skip
