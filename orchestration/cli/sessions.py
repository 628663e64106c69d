"""`xsys session`: analysis sessions from the command line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import track

from contracts.base import Page
from contracts.replay import Replay, ReplayVerdict
from contracts.session_events import EventDraft, PinComponent, Undo, WriteNote
from contracts.sessions import Access, AnalysisSession, BranchRequest, JoinRequest, LinkRequest, SessionRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.render import show_json, show_table
from orchestration.sessions.sentences import component_name

nouns = typer.Typer(no_args_is_help=True, help="Analysis sessions: shared records of an inquiry, replayable.")


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="session")


@nouns.command("list")
def listing(context: typer.Context, json: Json = False) -> None:
    """List the analysis sessions that you are a member of, last changed first."""
    at = desk(context)
    page = at.sessions.sessions(at.caller, limit=200)
    if json:
        show_json(page)
        return
    show_table(
        ("id", "name", "owner", "access", "events", "pins", "notes"),
        ((one.id, one.name, one.owner, one.access, one.events, one.pins, one.notes) for one in page.items),
    )


@nouns.command("show")
def show(context: typer.Context, session: str, events: int = 20, json: Json = False) -> None:
    """Show a session: pins, notes, and its last events."""
    at = desk(context)
    found = at.sessions.session(at.caller, session)
    if json:
        show_json(found)
        return
    show_session(found)
    history = at.sessions.history(at.caller, session, order="newest", limit=events).items
    off = set(found.state.undone)
    show_table(
        ("event", "at", "by", "what"),
        (
            (one.seq, f"{one.at:%Y-%m-%d %H:%M}", one.by, one.what + (" (undone)" if one.seq in off else ""))
            for one in reversed(history)
        ),
    )


@nouns.command("begin")
def begin(context: typer.Context, snapshot: str, name: str, json: Json = False) -> None:
    """Begin an analysis session on a snapshot."""
    at = desk(context)
    found = at.sessions.begin(at.caller, SessionRequest(name=name, snapshot=snapshot))
    show_json(found) if json else typer.echo(found.id)


@nouns.command("pin")
def pin(context: typer.Context, session: str, layer: str, index: int, sign: int = 1, json: Json = False) -> None:
    """Pin a component of the session's snapshot, with what it was computed from."""
    at = desk(context)
    action = PinComponent.model_validate({"layer": layer, "index": index, "sign": sign})
    event = at.sessions.act(at.caller, session, EventDraft(action=action))
    show_json(event) if json else typer.echo(f"event {event.seq}: {event.what}")


@nouns.command("note")
def note(context: typer.Context, session: str, text: str, json: Json = False) -> None:
    """Write a note."""
    at = desk(context)
    event = at.sessions.act(at.caller, session, EventDraft(action=WriteNote(text=text)))
    show_json(event) if json else typer.echo(f"event {event.seq}: {event.what}")


@nouns.command("undo")
def undo(
    context: typer.Context,
    session: str,
    event: Annotated[int | None, typer.Option(help="Which event; default: your last one.")] = None,
    json: Json = False,
) -> None:
    """Take an event back. Undoing an undo brings its event again."""
    at = desk(context)
    done = at.sessions.act(at.caller, session, EventDraft(action=Undo(event=event)))
    show_json(done) if json else typer.echo(f"event {done.seq}: {done.what}")


@nouns.command("branch")
def branch(
    context: typer.Context,
    session: str,
    name: str,
    at_event: Annotated[int | None, typer.Option("--at", help="Copy up to this event; default: all.")] = None,
    json: Json = False,
) -> None:
    """Copy the record up to an event into a session of your own."""
    at = desk(context)
    found = at.sessions.branch(at.caller, session, BranchRequest(name=name, at=at_event))
    show_json(found) if json else typer.echo(found.id)


@nouns.command("share")
def share(
    context: typer.Context,
    session: str,
    edit: Annotated[bool, typer.Option("--edit", help="Let them add events; default: look only.")] = False,
    days: int = 30,
    json: Json = False,
) -> None:
    """Make a share link for others of the workspace; its secret is shown once."""
    at = desk(context)
    made = at.sessions.share(at.caller, session, LinkRequest(access=Access.EDIT if edit else Access.VIEW, days=days))
    show_json(made) if json else typer.echo(made.path)


@nouns.command("join")
def join(context: typer.Context, link: str, json: Json = False) -> None:
    """Become a member by a share link, or by its secret alone."""
    at = desk(context)
    found = at.sessions.join(at.caller, JoinRequest(link=link.rpartition("#")[2]))
    show_json(found) if json else typer.echo(found.id)


@nouns.command("replay")
def replay(context: typer.Context, session: str, json: Json = False) -> None:
    """Compute all that was recorded once more and compare. Exit code 1: something differs or is refused."""
    at = desk(context)
    last = at.sessions.session(at.caller, session).state.seq
    numbers = track(range(1, last + 1), "replayed", console=Console(stderr=True))
    told = [at.sessions.replay(at.caller, session, seq) for seq in numbers]
    if json:
        show_json(Page[Replay](items=told))
    else:
        rows = (
            (one.seq, one.kind, one.verdict, "; ".join(one.differences) or one.detail or ", ".join(one.checked))
            for one in told
            if one.verdict != ReplayVerdict.NOTHING
        )
        show_table(("event", "kind", "verdict", "what"), rows, title=_summed(told))
    if any(one.verdict in (ReplayVerdict.DIFFERS, ReplayVerdict.REFUSED) for one in told):
        raise typer.Exit(1)


def _summed(told: list[Replay]) -> str:
    counts = Counter(one.verdict for one in told)
    words = {"same": "as recorded", "differs": "differ", "refused": "refused", "nothing": "hold no answer"}
    return ", ".join(f"{counts[ReplayVerdict(verdict)]} {word}" for verdict, word in words.items())


@nouns.command("export")
def export(
    context: typer.Context,
    session: str,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; default: standard output.")] = None,
    format: Annotated[str, typer.Option(help="html (report), python (script that repeats it) or json (events).")] = "",
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Export a session: a page of its own, a script that asks everything again, or its events."""
    at = desk(context)
    file = at.sessions.report(at.caller, session, _format(format, output, json))
    if output is None:
        typer.echo(file.body.decode())
    else:
        output.write_bytes(file.body)
        typer.echo(f"{output}: {len(file.body):,} bytes")


def _format(format: str, output: Path | None, json: bool) -> Literal["html", "python", "json"]:
    """Take the named format, or the one that the file's name ends in."""
    if json or format == "json":
        return "json"
    ending = format or ("" if output is None else output.suffix)
    if ending in {"python", ".py"}:
        return "python"
    if ending in {"html", ".html", ""}:
        return "html"
    if ending == ".json":
        return "json"
    raise typer.BadParameter(f"`{ending}` is none of html, python and json")


def show_session(found: AnalysisSession) -> None:
    """Print members, pins and notes."""
    people = ", ".join(f"{one.name} ({one.access})" for one in found.members)
    typer.echo(f"{found.id}  {found.name}\n  snapshot {found.state.snapshot}\n  members  {people}")
    names = {one.user: one.name for one in found.members}
    if found.state.pins:
        rows = (
            (pin.seq, component_name(pin.pinned.component), pin.pinned.clarity, names.get(pin.user, pin.user))
            for pin in found.state.pins
        )
        show_table(("event", "pinned", "clarity", "by"), rows)
    for note in found.state.notes:
        typer.echo(f"note {note.id} ({', '.join(names.get(user, user) for user in note.users)})\n{note.text}\n")
