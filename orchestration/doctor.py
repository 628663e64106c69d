"""What `xsys doctor` looks at: storage, database, broker, workers, services, index; and what to do about each."""

from __future__ import annotations

import shutil
import uuid

import httpx
import redis
from sqlalchemy import text
from sqlalchemy.engine import make_url

from contracts.base import Contract
from contracts.errors import StorageFull, XsysError
from orchestration.jobs.repository import RESOURCES, depths, longest_wait
from orchestration.migrate import current_revision, newest_revision
from orchestration.processes import Process, url_of
from services.kit.blobs import Blobs
from services.kit.db import TRANSIENT, Database
from services.kit.settings import Settings

SMALLEST_FREE_BYTES = 2 << 30
SECONDS = 3.0


class Finding(Contract):
    """One thing that `xsys doctor` looked at."""

    subject: str
    ok: bool
    detail: str
    remedy: str | None = None


def wrong(subject: str, detail: str, remedy: str) -> Finding:
    """Make a finding that something has to be done about."""
    return Finding(subject=subject, ok=False, detail=detail, remedy=remedy)


def right(subject: str, detail: str) -> Finding:
    """Make a finding that all is well."""
    return Finding(subject=subject, ok=True, detail=detail)


def examine_settings(settings: Settings) -> Finding:
    """Several processes need what one alone does not."""
    if not settings.distributed:
        return right("settings", "one machine: SQLite, a folder as broker")
    try:
        settings.require_distributed()
    except XsysError as refusal:
        return wrong("settings", refusal.detail, refusal.remedy)
    return right("settings", "several processes: PostgreSQL and Redis")


def examine_storage(settings: Settings, blobs: Blobs) -> Finding:
    """Write, read back and remove something; look at what is free."""
    mark = uuid.uuid4().hex.encode()
    path = blobs.temporary("doctor")
    try:
        path.write_bytes(mark)
        intact = path.read_bytes() == mark
    except (OSError, StorageFull) as error:
        return wrong("storage", f"{blobs.root} cannot be written: {error}", "Give the account of xsys write access.")
    finally:
        path.unlink(missing_ok=True)
    free = shutil.disk_usage(settings.home).free
    detail = f"{blobs.describe()}, {free / 1e9:,.1f} GB free in {settings.home.absolute()}"
    if not intact:
        return wrong("storage", f"{detail}; what was read back differs", "Replace the disk before anything else.")
    if free < SMALLEST_FREE_BYTES:
        return wrong("storage", detail, "Free space, or set XSYS_HOME to a larger disk.")
    return right("storage", detail)


def examine_database(settings: Settings) -> Finding:
    """Schema, and for PostgreSQL an order of text that agrees with SQLite's."""
    url = settings.resolved_database_url
    shown = make_url(url).render_as_string(hide_password=True)
    try:
        revision, expected = current_revision(url), newest_revision()
    except TRANSIENT as error:
        return wrong("database", f"{shown}: {str(error.args[0])[:120]}", "Start PostgreSQL, or set XSYS_DATABASE_URL.")
    if revision is None:
        return wrong("database", f"{shown} has no schema", "Run `xsys db upgrade`.")
    if revision != expected:
        detail = f"{shown} has schema {revision}, this release expects {expected}"
        return wrong("database", detail, "Run `xsys db upgrade` with the newest release, then restart all processes.")
    order = _collation(url)
    if order not in {None, "C", "POSIX", "C.UTF-8", "C.utf8"}:
        detail = f"{shown}: text is sorted by {order}, so that listings differ from SQLite's"
        return wrong("database", detail, "Make the database anew with LC_COLLATE C (docs/deploy.md).")
    return right("database", f"{shown}, schema {revision}")


def _collation(url: str) -> str | None:
    database = Database(url)
    try:
        if database.sqlite:
            return None
        with database.reading() as db:
            query = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
            return str(db.scalar(text(query)))
    finally:
        database.close()


def examine_broker(settings: Settings) -> Finding:
    """Whether Redis answers, keeps what it is given and never evicts."""
    if settings.broker_url is None:
        return right("broker", f"the folder {settings.queue_folder}")
    client = redis.Redis.from_url(settings.broker_url.get_secret_value(), socket_timeout=SECONDS)
    try:
        client.ping()
        policy = dict(client.config_get("maxmemory-policy", "appendonly"))
    except redis.RedisError as error:
        return wrong("broker", f"does not answer ({type(error).__name__})", "Start Redis, or set XSYS_BROKER_URL.")
    finally:
        client.close()
    if policy.get("maxmemory-policy") != "noeviction":
        detail = f"Redis evicts ({policy.get('maxmemory-policy')}): messages would vanish"
        return wrong("broker", detail, "Start Redis with `--maxmemory-policy noeviction`.")
    kept = "append-only" if policy.get("appendonly") == "yes" else "in memory only (a restart costs a ring, no job)"
    return right("broker", f"Redis, {kept}")


def examine_worker(settings: Settings) -> Finding:
    """Age of the freshest heartbeat, and what waits for it."""
    from orchestration.jobs.supervisor import heartbeat_age

    age = heartbeat_age(settings)
    waiting = _waiting(settings)
    if age is None:
        if not settings.distributed:
            return right("worker", "none is running; `xsys serve` and jobs start their own")
        return wrong("worker", f"none is running; {waiting}", "Start `xsys worker`.")
    detail = f"last heartbeat {age:.0f} s ago; {waiting}"
    if age >= 6 * settings.heartbeat.total_seconds():
        return wrong("worker", detail, "Stop it by its process id and start it again.")
    return right("worker", detail)


def _waiting(settings: Settings) -> str:
    database = Database(settings.resolved_database_url)
    try:
        with database.reading() as db:
            counts, seconds = depths(db), longest_wait(db, RESOURCES)
    except Exception:  # no schema yet: the finding about the database says so
        return "nothing is known of its queue"
    finally:
        database.close()
    total = sum(counts.values())
    return f"{total} parts wait, the first for {seconds:.0f} s" if total else "nothing waits"


def examine_services(settings: Settings, release: str) -> Finding:
    """Whether all processes answer and are of one release."""
    if not settings.distributed:
        return right("services", "all in one process")
    problems = []
    for process in Process:
        if process is Process.GATEWAY:
            continue
        try:
            answer = httpx.get(f"{url_of(settings, process)}/readyz", timeout=SECONDS, trust_env=False)
            theirs = str(answer.json().get("release"))
            if theirs != release:
                problems.append(f"{process} is release {theirs}, this is {release}")
            elif answer.status_code != 200:
                problems.append(f"{process} is not ready")
        except (httpx.HTTPError, ValueError):
            problems.append(f"{process} does not answer at {url_of(settings, process)}")
    if problems:
        return wrong("services", "; ".join(problems), "Start it with `xsys serve NAME`, all from one release.")
    return right("services", f"data, model, explanation and xui answer, release {release}")
