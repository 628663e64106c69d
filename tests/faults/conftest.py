"""After every fault the books are balanced: what the jobs that ended well were to make, against what is there."""

import sys

import pytest
from sqlalchemy import select

from contracts.jobs import State
from orchestration.jobs.rows import JobRow, PartRow, StageRow
from services.kit.artifacts import ArtifactRow
from services.kit.settings import Settings
from tests.faults.everything import run_all, settings_in
from tests.jobs.tiny import Wiring


def balance(wiring: Wiring) -> dict[str, int]:
    """Count jobs, parts and claims; results of jobs that ended well that are not there; results that no part made."""
    with wiring.database.reading() as db:
        jobs = dict(db.execute(select(JobRow.id, JobRow.state)).tuples().all())
        parts = list(
            db.execute(
                select(StageRow.job, PartRow.outputs, PartRow.fence).join(StageRow, StageRow.id == PartRow.stage)
            ).tuples()
        )
        found = dict(db.execute(select(ArtifactRow.key, ArtifactRow.blob)).tuples().all())
    planned = {key for _, outputs, _ in parts for key in outputs.values()}
    due = {key for job, outputs, _ in parts if jobs[job] == State.DONE for key in outputs.values()}
    lost = sum(key not in found or not wiring.blobs.has(found[key]) for key in due)
    return {
        "jobs": len(jobs), "parts": len(parts), "claims": sum(fence for *_, fence in parts),
        "lost": lost, "surplus": len(found.keys() - planned),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def balanced(request, capsys):
    """Print the balance of each test with a wiring of jobs; nothing may be lost or in excess."""
    wiring = request.getfixturevalue("wiring") if "wiring" in request.fixturenames else None
    yield
    if wiring is None or request.node.session.shouldstop:
        return
    counts = balance(wiring)
    with capsys.disabled():
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        sys.stderr.write(f"\n{request.node.name}: {told}\n")
    assert (counts["lost"], counts["surplus"]) == (0, 0)


@pytest.fixture(scope="session")
def quiet(tmp_path_factory) -> Settings:
    """An installation in whose workspace one job of every kind has run."""
    folder = tmp_path_factory.mktemp("everything")
    settings = settings_in(folder / "quiet")
    run_all(settings, folder, kills=False)
    return settings
