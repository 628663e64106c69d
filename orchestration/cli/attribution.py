"""`xsys attribute`: which parts of a picture a prediction rests on, by several methods side by side."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Annotated, Literal

import typer
from PIL import Image, ImageDraw

from contracts.attribution import AttributionAnswer, AttributionRequest, GraphRequest, HeatMap, SampleOf
from contracts.errors import InvalidRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.render import show_json, show_table

CAPTION = 34
GAP = 8
COLUMNS = 4


def attach(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("attribute")(attribute)
    app.command("graph")(graph)


def sample_of(text: str) -> SampleOf:
    """Read `DATASET:INDEX`."""
    dataset, _, index = text.rpartition(":")
    if not dataset or not index.isdigit():
        raise InvalidRequest(f"{text}: write DATASET:INDEX, for example demo:12", field="sample")
    return SampleOf(dataset=dataset, index=int(index))


def picture_of(path: Path) -> bytes:
    """Read a picture for a request: base64."""
    if not path.is_file():
        raise InvalidRequest(f"there is no file {path}", field="image")
    return base64.b64encode(path.read_bytes())


def attribute(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="Name or id of a model.")] = None,
    sample: Annotated[str | None, typer.Option(help="DATASET:INDEX")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture file instead of a sample.")] = None,
    target: Annotated[int | None, typer.Option(help="Index of the output; default: the largest.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="A method; may be repeated.")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Show this layer's top components; may be repeated.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of deletion and insertion; 0 leaves them out.")] = 16,
    fallback: Annotated[str, typer.Option(help="error or gradient: at an operation without a rule.")] = "error",
    out: Annotated[Path | None, typer.Option(help="Write a picture of all heat maps (PNG).")] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the methods.")] = False,
    json: Json = False,
) -> None:
    """Attribute a prediction to the picture's pixels, by several methods with their quality."""
    at = desk(context)
    if listing:
        methods = at.model.attribution_methods(at.caller)
        rows = ((each.name, each.family, each.passes, each.aim) for each in methods.items)
        show_json(methods) if json else show_table(("method", "family", "passes", "aims at"), rows)
        return
    if model is None or (sample is None) == (image is None):
        raise typer.BadParameter("give a model and either --sample or --image")
    query = AttributionRequest(
        sample=None if sample is None else sample_of(sample),
        picture=None if image is None else picture_of(image),
        target=target,
        steps=steps,
        layers=layer or [],
        fallback=_fallback(fallback),
        **({"methods": method} if method else {}),
    )
    answer = at.model.attribute(at.caller, model, query)
    if out is not None:
        overview(answer).save(out, "PNG")
    show_json(answer) if json else show(answer)
    if out is not None and not json:
        typer.echo(f"written to {out}")


def graph(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or id of a model.")],
    layer: Annotated[list[str], typer.Option(help="A layer; give two or more.")],
    sample: Annotated[str | None, typer.Option(help="DATASET:INDEX")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture file instead of a sample.")] = None,
    target: Annotated[int | None, typer.Option(help="Index of the output; default: the largest.")] = None,
    rule: Annotated[str, typer.Option(help="A composite of rules (`xsys attribute --list`).")] = "epsilon",
    components: Annotated[int, typer.Option(help="Components a layer.")] = 4,
    fallback: Annotated[str, typer.Option(help="error or gradient: at an operation without a rule.")] = "error",
    check: Annotated[bool, typer.Option("--check", help="Ablate each component, and say what falls with it.")] = False,
    json: Json = False,
) -> None:
    """Show which components of some layers a prediction rests on, and what flows between them."""
    if (sample is None) == (image is None):
        raise typer.BadParameter("give either --sample or --image")
    at = desk(context)
    query = GraphRequest(
        sample=None if sample is None else sample_of(sample),
        picture=None if image is None else picture_of(image),
        target=target,
        layers=layer,
        rule=rule,
        components=components,
        fallback=_fallback(fallback),
        check=check,
    )
    answer = at.model.component_graph(at.caller, model, query)
    if json:
        show_json(answer)
        return
    typer.echo(f"{answer.target.name or f'output {answer.target.index}'} by {answer.rule}")
    names = [f"{node.layer}·{node.index}" for node in answer.nodes]
    rows = ((name, node.relevance, node.share, node.effect) for name, node in zip(names, answer.nodes, strict=True))
    beside = ("ablated",) if check else ()
    show_table(("component", "relevance", "share", *beside), (row[: 3 + check] for row in rows))
    flows = sorted(answer.edges, key=lambda edge: -abs(edge.relevance))
    lines = ((names[e.source], names[e.target], e.relevance, e.effect) for e in flows)
    show_table(("from", "to", "relevance", *beside), (line[: 3 + check] for line in lines))
    if answer.check is not None:
        told = (f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in answer.check)
        typer.echo(f"rank correlation with ablation: {', '.join(told)}")


def _fallback(word: str) -> Literal["error", "gradient"]:
    if word == "gradient":
        return "gradient"
    if word != "error":
        raise typer.BadParameter("fallback is error or gradient")
    return "error"


def show(answer: AttributionAnswer) -> None:
    """Print scores, the methods' quality and the layers' components."""
    target = answer.target
    typer.echo(f"{target.name or f'output {target.index}'}  score {target.score:.3f}, {target.probability:.1%}")
    show_table(("output", "score", "share"), ((c.name or c.index, c.score, c.probability) for c in answer.top))
    columns = ("method", "grid", "deletion", "insertion", "gini", "gap", "seconds")
    show_table(columns, (_row(each) for each in answer.maps))
    for layer in answer.layers:
        rows = ((each.index, each.relevance, each.share) for each in layer.components)
        show_table(("component", "relevance", "share"), rows, title=f"{layer.layer} by {layer.rule}")


def _row(each: HeatMap) -> tuple[object, ...]:
    quality = each.quality
    gap = quality.completeness_gap if quality.conservation_gap is None else quality.conservation_gap
    grid = f"{each.rows}×{each.columns}"
    return each.method, grid, quality.deletion, quality.insertion, quality.gini, gap, each.seconds


def overview(answer: AttributionAnswer) -> Image.Image:
    """Draw the picture and all heat maps in a grid, each with its name and figures below."""
    tiles = [(_open(answer.picture), answer.target.name or f"output {answer.target.index}", _score_line(answer))]
    tiles += [(_open(each.heatmap), each.method, _figures_line(each)) for each in answer.maps]
    width, height = tiles[0][0].size
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    size = (columns * (width + GAP) + GAP, rows * (height + CAPTION + GAP) + GAP)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    for number, (tile, name, figures) in enumerate(tiles):
        left = GAP + number % columns * (width + GAP)
        top = GAP + number // columns * (height + CAPTION + GAP)
        page.paste(tile, (left, top))
        pen.text((left, top + height + 3), name[: width // 6], fill="black")
        pen.text((left, top + height + 17), figures, fill=(90, 90, 90))
    return page


def _open(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body), formats=("PNG",)).convert("RGB")


def _score_line(answer: AttributionAnswer) -> str:
    return f"score {answer.target.score:.2f}, {answer.target.probability:.0%}"


def _figures_line(each: HeatMap) -> str:
    figures = (("del", each.quality.deletion), ("ins", each.quality.insertion), ("gini", each.quality.gini))
    return "  ".join(f"{name} {value:.2f}" for name, value in figures if value is not None)
