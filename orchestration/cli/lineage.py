"""`xsys lineage`: where a result comes from."""

from __future__ import annotations

import re
from collections.abc import Callable

import typer

from contracts.errors import NotFound
from contracts.lineage import Lineage
from orchestration.cli.app import Json, desk
from orchestration.cli.desk import Desk
from orchestration.cli.render import show_json, show_table

KEY = re.compile(r"[0-9a-f]{64}")


def attach(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("lineage")(lineage)


def lineage(context: typer.Context, of: str, json: Json = False) -> None:
    """Show what a snapshot, model, dataset or audit (id or name), or a lineage key, was computed from."""
    at = desk(context)
    found = at.governance.lineage(at.caller, of if KEY.fullmatch(of) else _key_of(at, of))
    show_json(found) if json else show_lineage(found)


def _key_of(at: Desk, name: str) -> str:
    """The lineage key of what has this id or name; a snapshot before a model before a dataset."""
    ways: tuple[Callable[[], str], ...] = (
        lambda: at.explanation.snapshot(at.caller, name).lineage,
        lambda: at.model.model(at.caller, name).lineage,
        lambda: at.data.dataset(at.caller, name).lineage,
        lambda: at.audit.audit(at.caller, name).lineage,
    )
    for way in ways:
        try:
            return way()
        except NotFound:
            continue
    raise typer.BadParameter(f"no snapshot, model, dataset or audit is called {name}", param_hint="OF")


def show_lineage(found: Lineage) -> None:
    """Print the steps from the result to its origins."""
    show_table(
        ("step", "kind", "artifacts", "not kept", "bytes", "from steps"),
        (
            (
                number,
                step.kind,
                step.artifacts,
                step.gone,
                f"{step.bytes:,}",
                " ".join(str(edge.step) for edge in step.computed_from) or "origin",
            )
            for number, step in enumerate(found.steps)
        ),
        title=f"lineage of {found.of[:12]}: {found.artifacts} artifacts",
    )
    show_table(
        ("behind it", "name", "id", "sha256", "step"),
        ((one.kind, one.name, one.id, one.sha256[:12], one.step) for one in found.origins),
    )
