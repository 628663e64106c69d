"""`xsys job`: watch, cancel and retry what runs."""

from __future__ import annotations

import typer

from contracts.jobs import Job
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

nouns = typer.Typer(no_args_is_help=True, help="Long work: datasets, models and snapshots being made.")


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="job")
    app.command("usage")(usage)


@nouns.command("list")
def listing(context: typer.Context, limit: int = 20, cursor: str | None = None, json: Json = False) -> None:
    """List the jobs, newest first."""
    at = desk(context)
    page = at.jobs.jobs(at.caller, limit, cursor)
    if json:
        show_json(page)
        return
    show_table(
        ("id", "kind", "title", "state", "result", "submitted"),
        ((j.id, j.kind, j.title, j.state, j.result, f"{j.created_at:%Y-%m-%d %H:%M:%S}") for j in page.items),
    )


def show_job(job: Job) -> None:
    """Print a job, its stages and its failures."""
    typer.echo(f"{job.id}  {job.title}  {job.state}" + (f"  → {job.result}" if job.result else ""))
    show_table(
        ("stage", "state", "parts", "reused", "done", "total", "unit"),
        ((s.name, s.state, f"{s.parts_done}/{s.parts}", s.parts_reused, s.done, s.total, s.unit) for s in job.stages),
    )
    for failure in job.failures:
        typer.echo(f"{failure.reason}: {failure.detail}" + (f"\n  -> {failure.remedy}" if failure.remedy else ""))


@nouns.command("show")
def show(context: typer.Context, job: str, json: Json = False) -> None:
    """Show one job."""
    at = desk(context)
    found = at.jobs.job(at.caller, job)
    show_json(found) if json else show_job(found)


@nouns.command("watch")
def watch(context: typer.Context, job: str, json: Json = False) -> None:
    """Follow a job until it has ended, lending it a worker if none is there."""
    at = desk(context)
    done = follow(at, at.jobs.job(at.caller, job), quiet=json)
    show_json(done) if json else show_job(done)


@nouns.command("cancel")
def cancel(context: typer.Context, job: str, json: Json = False) -> None:
    """Ask a job to stop at its next batch."""
    at = desk(context)
    stopped = at.jobs.cancel(at.caller, job)
    show_json(stopped) if json else show_job(stopped)


@nouns.command("retry")
def retry(context: typer.Context, job: str, json: Json = False) -> None:
    """Run a failed or cancelled job again from where it stopped."""
    at = desk(context)
    done = follow(at, at.jobs.retry(at.caller, job), quiet=json)
    show_json(done) if json else show_job(done)


def usage(context: typer.Context, json: Json = False) -> None:
    """Show what the workspace uses of its quotas, and which results take most."""
    at = desk(context)
    found = at.jobs.usage(at.caller)
    if json:
        show_json(found)
        return
    for what, used, limit in (
        ("unfinished jobs", found.unfinished_jobs, found.job_limit),
        ("bytes of results", found.bytes, found.byte_limit),
    ):
        typer.echo(f"{used:,} {what}" + ("" if limit is None else f" of {limit:,}"))
    show_table(
        ("kind of result", "number", "bytes"), ((one.kind, one.artifacts, f"{one.bytes:,}") for one in found.largest)
    )
