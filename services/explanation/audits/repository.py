"""Every SQL statement about audits. There is none that changes an audit or a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select

from contracts.audit import Audit, SignOff, SignOffRequest, UnknownAudit
from contracts.corrections import Correction
from services.explanation.audits.rows import AuditRow, CorrectionRow, SignOffRow
from services.kit.db import ReadSession, WriteSession, insert_if_absent


def audit_row(db: ReadSession, workspace: str, audit: str) -> AuditRow:
    """Return an audit's row; one of another workspace is unknown."""
    row = db.get(AuditRow, (workspace, audit))
    if row is None:
        raise UnknownAudit(f"there is no audit {audit}", field="audit")
    return row


def sign_offs(db: ReadSession, workspace: str, audits: Sequence[str]) -> dict[str, list[SignOff]]:
    """Return the decisions about some audits, oldest first."""
    query = select(SignOffRow).where(SignOffRow.workspace == workspace, SignOffRow.audit.in_(audits))
    found: dict[str, list[SignOff]] = {audit: [] for audit in audits}
    for row in db.scalars(query.order_by(SignOffRow.audit, SignOffRow.number)):
        found[row.audit].append(_sign_off(row))
    return found


def _sign_off(row: SignOffRow) -> SignOff:
    return SignOff(number=row.number, user=row.user, verdict=row.verdict, note=row.note, signed_at=row.signed_at)


def add_sign_off(db: WriteSession, workspace: str, audit: str, user: str, body: SignOffRequest) -> SignOff:
    """Add a decision under the next number; of two at once the later one takes the number after."""
    query = select(func.max(SignOffRow.number)).where(SignOffRow.workspace == workspace, SignOffRow.audit == audit)
    number = (db.scalar(query) or 0) + 1
    told = {"user": user, "verdict": body.verdict, "note": body.note, "signed_at": datetime.now(UTC)}
    row = SignOffRow(workspace=workspace, audit=audit, number=number, **told)
    db.add(row)
    db.flush()
    return _sign_off(row)


def publish_audit(db: WriteSession, workspace: str, audit: Audit, artifacts: Mapping[str, str]) -> None:
    """Write an audit's row; the same audit again changes nothing."""
    insert_if_absent(
        db, AuditRow, workspace=workspace, id=audit.id, snapshot=audit.snapshot, passed=audit.passed,
        record=audit.model_dump(mode="json", exclude={"sign_offs"}), artifacts=dict(artifacts),
        created_at=audit.created_at,
    )  # fmt: skip


def corrections(db: ReadSession, workspace: str, audit: str) -> list[Correction]:
    """Return the corrections of an audit, newest first."""
    query = select(CorrectionRow).where(CorrectionRow.workspace == workspace, CorrectionRow.audit == audit)
    rows = db.scalars(query.order_by(CorrectionRow.created_at.desc(), CorrectionRow.id))
    return [Correction.model_validate(row.record) for row in rows]


def publish_correction(db: WriteSession, workspace: str, correction: Correction) -> None:
    """Write a correction's row; the same correction again changes nothing."""
    insert_if_absent(
        db, CorrectionRow, workspace=workspace, id=correction.id, audit=correction.audit,
        record=correction.model_dump(mode="json"), created_at=correction.created_at,
    )  # fmt: skip
