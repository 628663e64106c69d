"""Answers about members, quotas, lineage and the audit log, one of each; see `planted`."""

from __future__ import annotations

from contracts import audit_log, lineage, members, progress
from tests.contracts.instances import NOW, SHA

MEMBER = members.WorkspaceMember(
    user="u_1", name="n", role="analyst", has_password=True, created_at=NOW, disabled_at=NOW
)
INVITATION = members.Invitation(id="l_1", role="viewer", created_by="u_1", created_at=NOW, expires_at=NOW)
NEW_LINK = members.NewLink(id="l_1", path="/invite#secret", expires_at=NOW)
ACT = audit_log.AuditLogEntry(
    seq=7, at=NOW, actor="u_1", actor_name="n", action="member.disabled", subject="u_2", facts={"role": "viewer"},
    correlation="c", previous=SHA, hash=SHA,
)  # fmt: skip
USAGE = progress.Usage(
    unfinished_jobs=1, job_limit=None, bytes=2**53 - 1, byte_limit=10,
    largest=[progress.Share(kind="a/b", artifacts=1, bytes=3)],
)  # fmt: skip
LINEAGE_KEY = "5" * 64
LINEAGE = lineage.Lineage(
    of=LINEAGE_KEY, artifacts=1, bytes=9,
    steps=[
        lineage.LineageStep(
            kind="publish/snapshot", level=0, artifacts=2, gone=1, bytes=9, keys=[SHA], first_at=NOW, last_at=None,
            computed_from=[lineage.LineageEdge(step=0, inputs=3)],
        )
    ],
    origins=[lineage.LineageOrigin(kind="model", id="m_1", name="n", sha256=SHA, step=0)],
)  # fmt: skip
LOG_REPORT = audit_log.AuditLogReport(
    workspace="w", intact=False, entries=7, head=f"7:{SHA}",
    broken=audit_log.BrokenEntry(seq=3, reason="changed", detail="d"),
)  # fmt: skip
