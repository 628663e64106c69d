"""`xsys token`, `xsys login-link`, `xsys db`, `xsys doctor`: keeping an installation."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.governance import TokenRequest
from orchestration.cli.app import REFUSED, Json, desk
from orchestration.cli.render import show_json, show_table
from services.kit.settings import load_settings

tokens = typer.Typer(no_args_is_help=True, help="Personal access tokens for scripts.")
database = typer.Typer(no_args_is_help=True, help="The database's schema.")


def attach(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.add_typer(tokens, name="token")
    app.add_typer(database, name="db")
    app.command("login-link")(login_link)
    app.command("doctor")(doctor)


@tokens.command("create")
def create(
    context: typer.Context,
    name: str,
    days: Annotated[int, typer.Option(help="Days until it ends.")] = 90,
    json: Json = False,
) -> None:
    """Make an access token; it is shown once."""
    at = desk(context)
    made = at.governance.create_token(at.caller, TokenRequest(name=name, days=days))
    if json:
        show_json(made)
        return
    typer.echo(made.secret)
    typer.echo(f"ends {made.token.expires_at:%Y-%m-%d}; it is not shown again", err=True)


@tokens.command("list")
def listing(context: typer.Context, json: Json = False) -> None:
    """List your access tokens."""
    at = desk(context)
    page = at.governance.tokens(at.caller)
    if json:
        show_json(page)
        return
    show_table(("id", "name", "ends"), ((t.id, t.name, f"{t.expires_at:%Y-%m-%d}") for t in page.items))


@tokens.command("revoke")
def revoke(context: typer.Context, token: str, json: Json = False) -> None:
    """End an access token at once."""
    at = desk(context)
    removed = at.governance.revoke_token(at.caller, token)
    show_json(removed) if json else typer.echo(f"revoked {removed.id}")


def login_link(json: Json = False) -> None:
    """Make a one-time login link for the browser."""
    from orchestration.bootstrap import build

    settings = load_settings()
    url = f"http://{settings.host}:{settings.port}{build(settings).governance.login_link()}"
    show_json({"url": url}) if json else typer.echo(url)


@database.command("upgrade")
def upgrade(json: Json = False) -> None:
    """Bring the schema to this version."""
    from orchestration.migrate import current_revision
    from orchestration.migrate import upgrade as migrate

    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    migrate(settings.resolved_database_url)
    revision = current_revision(settings.resolved_database_url)
    show_json({"revision": revision}) if json else typer.echo(f"schema is at {revision}")


def doctor(json: Json = False) -> None:
    """Check database, storage, worker, models and versions, and say what to do; exit code 1 if something is wrong."""
    from orchestration.bootstrap import examine

    findings = examine(load_settings())
    if json:
        show_json({"findings": [finding.model_dump() for finding in findings]})
    else:
        for finding in findings:
            typer.echo(f"{'ok ' if finding.ok else 'BAD'}  {finding.subject:<12} {finding.detail}")
            if finding.remedy:
                typer.echo(f"     -> {finding.remedy}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(REFUSED)
