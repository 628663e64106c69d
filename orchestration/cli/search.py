"""`xsys search`: find components by text, picture or component."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InvalidRequest, UnknownSnapshot
from contracts.explanation import ComponentTerm, PictureTerm, SearchQuery, Term, TextTerm
from orchestration.cli.app import Json, desk
from orchestration.cli.desk import Desk
from orchestration.cli.render import show_hits, show_json


def attach(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("search")(search)


def newest_snapshot(desk: Desk) -> str:
    """Return the id of the newest snapshot, for commands that name none."""
    page = desk.explanation.snapshots(desk.caller, 1)
    if not page.items:
        raise UnknownSnapshot("there is no snapshot yet")
    return page.items[0].id


def component_term(text: str) -> ComponentTerm:
    """Read `LAYER:INDEX` or `LAYER:INDEX:-1`."""
    layer, *rest = text.rsplit(":", 2) if text.endswith((":-1", ":1")) else text.rsplit(":", 1)
    if not rest or not rest[0].isdigit():
        raise InvalidRequest(f"{text}: write LAYER:INDEX, or LAYER:INDEX:-1 for the negative side", field="like")
    sign = -1 if rest[1:] == ["-1"] else 1
    return ComponentTerm(layer=layer, index=int(rest[0]), sign=sign)


def picture_term(path: Path) -> PictureTerm:
    """Read a picture from a file."""
    import base64

    if not path.is_file():
        raise InvalidRequest(f"there is no file {path}", field="image")
    return PictureTerm(picture=base64.b64encode(path.read_bytes()))


def search(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(help="What the component should react to, in words.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture; may be repeated.")] = None,
    like: Annotated[list[str] | None, typer.Option(help="A component, LAYER:INDEX; may be repeated.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Name or id; default: the newest.")] = None,
    k: Annotated[int, typer.Option(help="Number of hits.")] = 10,
    layer: Annotated[list[str] | None, typer.Option(help="Only this layer; may be repeated.")] = None,
    min_clarity: float | None = None,
    min_score: float | None = None,
    min_z: float | None = None,
    json: Json = False,
) -> None:
    """Find components by text, by picture, by component, or by all of them together."""
    terms: list[Term] = [TextTerm(text=text)] if text else []
    terms += [picture_term(path) for path in image or []]
    terms += [component_term(component) for component in like or []]
    if not terms:
        raise typer.BadParameter("give a text, --image or --like")
    query = SearchQuery(terms=terms, k=k, layers=layer, min_clarity=min_clarity, min_score=min_score, min_z=min_z)
    at = desk(context)
    hits = at.explanation.search(at.caller, snapshot or newest_snapshot(at), query)
    show_json(hits) if json else show_hits(hits)
