"""What one workspace may take of the machines that all share."""

from __future__ import annotations

from contracts.governance import QuotaExceeded
from contracts.progress import Share, Usage
from orchestration.jobs.repository import bytes_of, shares_of, unfinished_jobs
from services.kit.db import ReadSession
from services.kit.settings import Settings

LARGEST = 10


def require_room(db: ReadSession, workspace: str, settings: Settings) -> None:
    """Refuse one more job to a workspace that has all it may have; what is not limited is not counted.

    Raises
    ------
    QuotaExceeded : names what is used and what may be.
    """
    limits = (
        ("unfinished jobs", settings.quota_jobs, unfinished_jobs),
        ("bytes of results", settings.quota_bytes, bytes_of),
    )
    for what, limit, count in limits:
        if limit is not None and (used := count(db, workspace)) >= limit:
            raise QuotaExceeded(f"{used:,} {what} of {limit:,} that this workspace may have", used=used, limit=limit)


def usage_of(db: ReadSession, workspace: str, settings: Settings) -> Usage:
    """Count what a workspace uses, limited or not."""
    return Usage(
        unfinished_jobs=unfinished_jobs(db, workspace),
        job_limit=settings.quota_jobs,
        bytes=bytes_of(db, workspace),
        byte_limit=settings.quota_bytes,
        largest=[Share(kind=kind, artifacts=n, bytes=size) for kind, n, size in shares_of(db, workspace, LARGEST)],
    )
