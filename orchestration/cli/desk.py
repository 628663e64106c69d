"""Where a command does its work: on the data folder of this machine, or on a server over REST."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import httpx

from contracts.alignment import AlignmentService
from contracts.atlas import AtlasService
from contracts.audit import AuditService
from contracts.base import Caller, Right
from contracts.comparison import ComparisonService
from contracts.data import DataService
from contracts.errors import Unavailable
from contracts.explanation import ExplanationService
from contracts.governance import GovernanceService
from contracts.jobs import Job, JobService
from contracts.model import ModelService
from contracts.sessions import SessionService

POLL_SECONDS = 0.5


@dataclass
class Desk:
    """The services and on whose behalf they are asked. `worker` lends a worker for as long as it is held."""

    caller: Caller
    data: DataService
    model: ModelService
    explanation: ExplanationService
    jobs: JobService
    governance: GovernanceService
    alignment: AlignmentService
    comparison: ComparisonService
    audit: AuditService
    atlas: AtlasService
    sessions: SessionService
    watch: Callable[[str], Iterator[Job]]
    worker: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)


class Shared:
    """A context that may be entered again while it is open; only the outermost entry opens and closes it."""

    def __init__(self, opener: Callable[[], AbstractContextManager[object]]) -> None:
        self._opener = opener
        self._depth = 0
        self._open: AbstractContextManager[object] | None = None

    @property
    def gave_up(self) -> bool:
        """Whether the supervisor behind it has stopped restarting its worker."""
        return bool(getattr(self._open, "gave_up", False))

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._open = self._opener()
            self._open.__enter__()

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._open is not None:
            self._open.__exit__(None, None, None)


def local_desk() -> Desk:
    """Work on this machine's data folder, with all rights: whoever has the command line has the files anyway."""
    from orchestration.bootstrap import build
    from orchestration.jobs.supervisor import ensure_worker
    from services.kit.settings import load_settings

    wiring = build(load_settings())
    caller = wiring.governance.operator()

    lent = Shared(functools.partial(ensure_worker, wiring.settings))

    def watch(job: str) -> Iterator[Job]:
        while True:
            state = wiring.jobs.job(caller, job)
            yield state
            if state.ended_at is not None:
                return
            if lent.gave_up:
                where = wiring.settings.home / "logs" / "worker.log"
                raise Unavailable(f"the worker ended again and again; {where} says why", job=job)
            time.sleep(POLL_SECONDS / 2)

    return Desk(
        caller=caller,
        data=wiring.data,
        model=wiring.model,
        explanation=wiring.explanation,
        jobs=wiring.jobs,
        governance=wiring.governance,
        alignment=wiring.alignment,
        comparison=wiring.comparison,
        audit=wiring.audit,
        atlas=wiring.atlas,
        sessions=wiring.sessions,
        watch=watch,
        worker=lambda: lent,
    )


def remote_desk(server: str, token: str) -> Desk:
    """Work on a server: the clients are made from the same contracts as its routes."""
    from services.kit.remote import remote

    client = httpx.Client(base_url=f"{server.rstrip('/')}/v1", timeout=60.0)

    def credentials(_: Caller) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    caller = Caller(user="remote", workspace="remote", rights=frozenset(Right))  # the server decides by the token
    jobs = remote(JobService, client, credentials=credentials)

    def watch(job: str) -> Iterator[Job]:
        while True:
            state = jobs.job(caller, job)
            yield state
            if state.ended_at is not None:
                return
            time.sleep(POLL_SECONDS)

    return Desk(
        caller=caller,
        data=remote(DataService, client, credentials=credentials),
        model=remote(ModelService, client, credentials=credentials),
        explanation=remote(ExplanationService, client, credentials=credentials),
        jobs=jobs,
        governance=remote(GovernanceService, client, credentials=credentials),
        alignment=remote(AlignmentService, client, credentials=credentials),
        comparison=remote(ComparisonService, client, credentials=credentials),
        audit=remote(AuditService, client, credentials=credentials),
        atlas=remote(AtlasService, client, credentials=credentials),
        sessions=remote(SessionService, client, credentials=credentials),
        watch=watch,
    )
