"""`xsys user`, `xsys audit-log`: who belongs to the workspace, and what was done in it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import typer

from contracts.audit_log import HEAD
from contracts.errors import InvalidRequest
from contracts.governance import Role
from contracts.members import (
    InvitationRequest,
    NewLink,
    PasswordResetRequest,
    RoleChange,
    UnknownMember,
    WorkspaceMember,
)
from orchestration.cli.app import REFUSED, Json, desk
from orchestration.cli.desk import Desk
from orchestration.cli.render import show_json, show_table
from services.kit.settings import load_settings

users = typer.Typer(no_args_is_help=True, help="Members of the workspace.")
audit_log = typer.Typer(no_args_is_help=True, help="The log of who did what, chained by hashes.")
User = Annotated[str, typer.Argument(help="Name or id, as `xsys user list` shows them.")]


def attach(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.add_typer(users, name="user")
    app.add_typer(audit_log, name="audit-log")


@users.command("list")
def listing(context: typer.Context, limit: int = 50, cursor: str | None = None, json: Json = False) -> None:
    """List the members by name."""
    at = desk(context)
    page = at.governance.members(at.caller, limit=limit, cursor=cursor)
    if json:
        show_json(page)
        return
    show_table(("id", "name", "role", "state"), ((m.user, m.name, m.role, _state(m)) for m in page.items))
    if page.next:
        typer.echo(f"more: --cursor {page.next}", err=True)


@users.command("invite")
def invite(
    context: typer.Context,
    role: Role,
    days: Annotated[int, typer.Option(min=1, max=30, help="Days until the link ends.")] = 7,
    json: Json = False,
) -> None:
    """Make a one-time link with which somebody becomes a member; it is shown once."""
    at = desk(context)
    _show_link(at.governance.invite(at.caller, InvitationRequest(role=role, days=days)), json)


@users.command("invitations")
def invitations(context: typer.Context, json: Json = False) -> None:
    """List the invitations that can still be accepted."""
    at = desk(context)
    page = at.governance.invitations(at.caller)
    if json:
        show_json(page)
        return
    show_table(("id", "role", "ends"), ((i.id, i.role, f"{i.expires_at:%Y-%m-%d}") for i in page.items))


@users.command("uninvite")
def uninvite(context: typer.Context, invitation: str, json: Json = False) -> None:
    """Take an invitation back."""
    at = desk(context)
    removed = at.governance.revoke_invitation(at.caller, invitation)
    show_json(removed) if json else typer.echo(f"revoked {removed.id}")


@users.command("role")
def role(context: typer.Context, user: User, role: Role, json: Json = False) -> None:
    """Give a member another role; it counts from their next request on."""
    at = desk(context)
    _show(at.governance.change_role(at.caller, _id(at, user), RoleChange(role=role)), json)


@users.command("disable")
def disable(context: typer.Context, user: User, json: Json = False) -> None:
    """Lock a member out: logins, live streams and access tokens end."""
    at = desk(context)
    _show(at.governance.disable_member(at.caller, _id(at, user)), json)


@users.command("enable")
def enable(context: typer.Context, user: User, json: Json = False) -> None:
    """Let a member in again."""
    at = desk(context)
    _show(at.governance.enable_member(at.caller, _id(at, user)), json)


@users.command("reset")
def reset(context: typer.Context, user: User, json: Json = False) -> None:
    """Make a one-time link with which a member chooses a new password; it is shown once."""
    at = desk(context)
    _show_link(at.governance.reset_password(at.caller, PasswordResetRequest(user=_id(at, user))), json)


@audit_log.command("list")
def entries(
    context: typer.Context,
    actor: Annotated[str | None, typer.Option(help="Name or id of who did it.")] = None,
    action: Annotated[str | None, typer.Option(help="Such as `member.disabled`.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Day or time, UTC.")] = None,
    limit: int = 50,
    cursor: str | None = None,
    json: Json = False,
) -> None:
    """List what was done, newest first."""
    at = desk(context)
    page = at.governance.audit_log(at.caller, actor=actor, action=action, since=since, limit=limit, cursor=cursor)
    if json:
        show_json(page)
        return
    rows = ((str(e.seq), f"{e.at:%Y-%m-%d %H:%M:%S}", e.actor_name or e.actor, e.action, e.subject) for e in page.items)
    show_table(("no.", "at (UTC)", "who", "what", "subject"), rows)
    if page.next:
        typer.echo(f"more: --cursor {page.next}", err=True)


@audit_log.command("verify")
def verify(
    context: typer.Context,
    head: Annotated[str | None, typer.Option(help="What an earlier check printed as head, kept elsewhere.")] = None,
    json: Json = False,
) -> None:
    """Check the chain of hashes; exit code 1 if an entry was changed, removed or reordered."""
    at = desk(context)
    if head is not None and not re.fullmatch(HEAD, head):
        raise InvalidRequest("a head has the form NUMBER:HASH, as an earlier check printed it", field="head")
    report = at.governance.verify_audit_log(at.caller, head=head)
    if json:
        show_json(report)
    elif report.broken is None:
        typer.echo(f"{report.entries} entries as they were written\nhead {report.head}")
    else:
        typer.echo(f"entry {report.broken.seq} {report.broken.reason}: {report.broken.detail}")
    if not report.intact:
        raise typer.Exit(REFUSED)


def _id(at: Desk, user: str) -> str:
    cursor = None
    while True:
        page = at.governance.members(at.caller, limit=200, cursor=cursor)
        for member in page.items:
            if user in (member.user, member.name):
                return member.user
        if page.next is None:
            raise UnknownMember(f"no member `{user}` in this workspace", field="user")
        cursor = page.next


def _state(member: WorkspaceMember) -> str:
    return "in" if member.disabled_at is None else f"disabled {member.disabled_at:%Y-%m-%d}"


def _show(member: WorkspaceMember, json: bool) -> None:
    show_json(member) if json else typer.echo(f"{member.name} ({member.user}): {member.role}, {_state(member)}")


def _show_link(link: NewLink, json: bool) -> None:
    if json:
        show_json(link)
        return
    settings = load_settings()
    typer.echo(f"http://{settings.host}:{settings.port}{link.path}")
    typer.echo(
        f"works once, until {link.expires_at:%Y-%m-%d %H:%M} UTC; shown once; see docs/governance.md",
        err=True,
    )
