"""The command tree, its global options, and how refusals leave the program (exit code 1, remedy on stderr)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from contracts.errors import XsysError
from orchestration.cli.desk import Desk, local_desk, remote_desk

REFUSED = 1
USAGE = 2

app = typer.Typer(
    name="xsys",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Find out what is inside a neural network: search its components by meaning, with evidence.",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, the same object as the REST answer.")]


@dataclass
class Where:
    """Which desk the commands of this invocation work at; opened when the first command asks for it."""

    server: str | None = None
    token: str | None = None
    _desk: Desk | None = None

    def desk(self) -> Desk:
        """Open the desk once."""
        if self._desk is None:
            self._desk = remote_desk(self.server, self.token or "") if self.server else local_desk()
        return self._desk


def desk(context: typer.Context) -> Desk:
    """Return the desk of this invocation."""
    where: Where = context.ensure_object(Where)
    return where.desk()


@app.callback()
def options(
    context: typer.Context,
    server: Annotated[
        str | None,
        typer.Option(envvar="XSYS_SERVER", help="URL of an xsys server; default: this machine's data folder."),
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="XSYS_TOKEN", help="Access token for --server.")] = None,
) -> None:
    """Find out what is inside a neural network: search its components by meaning, with evidence."""
    context.obj = Where(server, token)


def refusal_text(error: XsysError) -> str:
    """Say what was refused, the facts that decide, and what to do."""
    where = f" ({error.field})" if error.field else ""
    lines = [f"{type(error).__name__}{where}: {error.detail}"]
    lines += [f"  {name}: {value}" for name, value in error.facts.items()]
    lines.append(f"  -> {error.remedy}")
    return "\n".join(lines)


def register_commands() -> None:
    """Attach the nouns; each module adds its own commands to the tree."""
    from orchestration.cli import (
        admin,
        alignment,
        atlases,
        attribution,
        attribution_evaluation,
        audits,
        captures,
        compare,
        datasets,
        demo,
        generate,
        jobs,
        labels,
        lineage,
        models,
        plays,
        prune,
        saes,
        search,
        serve,
        sessions,
        snapshots,
        steering,
        steering_evaluation,
        train,
        users,
    )

    nouns = (
        datasets,
        models,
        snapshots,
        labels,
        captures,
        saes,
        atlases,
        train,
        prune,
        search,
        alignment,
        compare,
        attribution,
        attribution_evaluation,
        plays,
        steering,
        steering_evaluation,
        generate,
        audits,
        sessions,
        lineage,
        jobs,
        serve,
        admin,
        users,
        demo,
    )
    for module in nouns:
        module.attach(app)


def guarded(run: Callable[[], None]) -> int:
    """Run the program; refusals and settings errors become exit codes and readable text."""
    from pydantic import ValidationError

    try:
        run()
    except XsysError as error:
        typer.echo(refusal_text(error), err=True)
        return REFUSED
    except ValidationError as error:
        for problem in error.errors():
            field = ".".join(str(step) for step in problem["loc"])
            typer.echo(f"{error.title} ({field}): {problem['msg']}", err=True)
        return USAGE
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> None:
    """Entry point of the `xsys` command."""
    register_commands()
    sys.exit(guarded(app))
