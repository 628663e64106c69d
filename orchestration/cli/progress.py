"""Progress of a job in the terminal: one bar a stage, with rate and time left, on stderr."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from contracts.errors import XsysError
from contracts.jobs import Job, Stage, State
from orchestration.cli.desk import Desk


class Pace(ProgressColumn):
    """Rate and remaining time as the job service computed them, not as this terminal saw them."""

    def render(self, task: Task) -> Text:
        rate, left = task.fields["rate"], task.fields["left"]
        if task.finished:
            return Text(task.fields["note"], style="dim")
        pace = f"{rate:,.0f} {task.fields['unit']}/s" if rate else ""
        return Text(f"{pace}  {_clock(left)} left" if left is not None else pace, style="cyan")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


class JobFailed(XsysError):
    remedy = "Read the reasons, mend what they name, then `xsys job retry JOB`."


def follow(desk: Desk, job: Job, *, quiet: bool = False) -> Job:
    """Show a job's progress until it has ended, and return it; a failed or cancelled one is refused as `JobFailed`."""
    with desk.worker():
        last = _watch_quietly(desk, job) if quiet else _watch(desk, job)
    if last.state is not State.DONE:
        reasons = [f"{failure.reason}: {failure.detail}" for failure in last.failures] or [last.state.value]
        first = next((failure for failure in last.failures if failure.remedy), None)
        error = JobFailed(f"{last.title}: {last.state}", job=last.id, reasons=list(reasons))
        if first is not None:
            typer.echo(f"  -> {first.remedy}", err=True)
        raise error
    return last


def _watch_quietly(desk: Desk, job: Job) -> Job:
    *_, last = job, *desk.watch(job.id)
    return last


def _watch(desk: Desk, job: Job) -> Job:
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        Pace(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=8) as bars:
        tasks: dict[str, TaskID] = {}
        last = job
        for last in desk.watch(job.id):
            for stage in last.stages:
                if stage.name not in tasks and stage.state is not State.WAITING:
                    tasks[stage.name] = bars.add_task(stage.name, total=stage.total, **_fields(stage))
                if stage.name in tasks:
                    bars.update(tasks[stage.name], completed=stage.done, total=stage.total, **_fields(stage))
    return last


def _fields(stage: Stage) -> dict[str, Any]:
    reused = f"{stage.parts_reused} of {stage.parts} parts were there already" if stage.parts_reused else ""
    return {"unit": stage.unit, "rate": stage.rate, "left": stage.seconds_left, "note": reused}
