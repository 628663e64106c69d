"""`xsys plays`: random walks from a score down to the picture, the game whose mean a map of relevance is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw

from contracts.attribution import Play, Plays, PlaysRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.attribution import picture_of, sample_of
from orchestration.cli.render import show_json, show_table

SHOWN = 12
FOR, AGAINST, ABSORBED = (200, 40, 40), (40, 80, 200), (150, 150, 150)
SCALE = 3


def attach(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("plays")(plays)


def plays(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or id of a model.")],
    sample: Annotated[str | None, typer.Option(help="DATASET:INDEX")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture file instead of a sample.")] = None,
    target: Annotated[int | None, typer.Option(help="Index of the output; default: the largest.")] = None,
    rule: Annotated[str, typer.Option(help="A composite of rules (`xsys attribute --list`).")] = "magnitude",
    number: Annotated[int, typer.Option("--plays", help="How many, 2 to 64.")] = 64,
    biases: Annotated[bool, typer.Option("--biases", help="Biases may end a play, as they do in the rule.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed gives other plays.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Draw the plays over the picture (PNG).")] = None,
    json: Json = False,
) -> None:
    """Sample plays of the game behind a rule."""
    if (sample is None) == (image is None):
        raise typer.BadParameter("give either --sample or --image")
    at = desk(context)
    query = PlaysRequest(
        sample=None if sample is None else sample_of(sample),
        picture=None if image is None else picture_of(image),
        target=target,
        rule=rule,
        plays=number,
        biases=biases,
        seed=seed,
    )
    found = at.model.plays(at.caller, model, query)
    if out is not None:
        drawn(found).save(out, "PNG")
    show_json(found) if json else show(found)
    if out is not None and not json:
        typer.echo(f"written to {out}")


def show(found: Plays) -> None:
    """Print how the plays ended, and the heaviest of them."""
    arrived = [play for play in found.plays if play.ended == "picture"]
    against = sum(play.weight < 0 for play in arrived)
    name = found.target.name or f"output {found.target.index}"
    typer.echo(
        f"{name}  {len(found.plays)} plays by {found.rule}: {len(arrived)} reach the picture, "
        f"{len(arrived) - against} for and {against} against, {len(found.plays) - len(arrived)} are absorbed on the way"
    )
    heaviest = sorted(found.plays, key=lambda play: (play.ended != "picture", -abs(play.weight)))[:SHOWN]
    show_table(("weight", "ended", "place", "through"), ((p.weight, p.ended, _place(p), _way(p)) for p in heaviest))


def _place(play: Play) -> str:
    last = next((step for step in reversed(play.steps) if step.x is not None and step.y is not None), None)
    return "" if last is None else f"{last.x:.0%}, {last.y:.0%}"


def _way(play: Play) -> str:
    """The functions with a component, coarse ones first; what only passes relevance on is left out."""
    named = [f"{step.function} {step.component}" for step in play.steps if step.component is not None]
    return " → ".join(named if len(named) <= 6 else [*named[:3], "…", *named[-2:]])


def drawn(found: Plays) -> Image.Image:
    """Lines along the places of each play over what the model saw: red for the score, blue against, grey absorbed."""
    small = Image.open(io.BytesIO(found.picture), formats=("PNG",)).convert("RGB")
    page = small.resize((small.width * SCALE, small.height * SCALE))
    pen = ImageDraw.Draw(page)
    for play in found.plays:
        points = [(s.x * page.width, s.y * page.height) for s in play.steps if s.x is not None and s.y is not None]
        colour = ABSORBED if play.ended == "absorbed" else AGAINST if play.weight < 0 else FOR
        if len(points) > 1:
            pen.line(points, fill=colour, width=2)
        if points and play.ended == "picture":
            x, y = points[-1]
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), outline="white", fill=colour)
    return page
