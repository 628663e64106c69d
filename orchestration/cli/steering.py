"""`xsys steer`: what a prediction becomes when components of the model are changed."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from contracts.attribution import SampleOf
from contracts.errors import InvalidRequest
from contracts.explanation import SearchQuery, TextTerm
from contracts.steering import (
    AllPlaces,
    ComponentsTarget,
    ComponentTarget,
    Condition,
    DifferenceTarget,
    DirectionTarget,
    Intervention,
    Places,
    Region,
    SampleSet,
    SteeringPreview,
    SteeringRequest,
    Target,
    WeightedComponent,
)
from orchestration.cli.app import Json, desk
from orchestration.cli.attribution import picture_of, sample_of
from orchestration.cli.desk import Desk
from orchestration.cli.render import show_json, show_table
from orchestration.cli.search import newest_snapshot
from orchestration.cli.steering_page import steering_page

WORST = "the model left the finite numbers"


def attach(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("steer")(steer)


def steer(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or id of a model.")],
    image: Annotated[Path | None, typer.Option(help="A picture file.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset, with --sample.")] = None,
    sample: Annotated[str | None, typer.Option(help="Index in --dataset, or DATASET:INDEX.")] = None,
    component: Annotated[
        list[str] | None, typer.Option(help="LAYER:INDEX, or LAYER:INDEX:-1 for the negative side; may be repeated.")
    ] = None,
    direction: Annotated[str | None, typer.Option(help="LAYER:FILE, a JSON list of numbers.")] = None,
    text: Annotated[
        str | None, typer.Option(help="LAYER:WORDS: the components that a search for the words finds.")
    ] = None,
    toward: Annotated[
        str | None, typer.Option(help="LAYER:LABEL: from the mean of --away to the mean of this label.")
    ] = None,
    away: Annotated[str | None, typer.Option(help="The other label of --toward.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Snapshot for --text; default: the newest.")] = None,
    operation: Annotated[str, typer.Option(help="ablate, scale, add, set or clamp.")] = "ablate",
    strength: Annotated[str, typer.Option(help="One number, or several with commas for a curve.")] = "1",
    unit: Annotated[str, typer.Option(help="norm (of the layer) or raw, for add, set and clamp.")] = "norm",
    region: Annotated[str | None, typer.Option(help="left,top,right,bottom in shares of the picture.")] = None,
    when: Annotated[str | None, typer.Option(help="LAYER:INDEX:THRESHOLD: only if that unit is above it.")] = None,
    target: Annotated[int | None, typer.Option(help="Output to watch; default: the largest.")] = None,
    maps: Annotated[bool, typer.Option("--maps", help="Heat maps before and after (in --html).")] = False,
    method: Annotated[list[str] | None, typer.Option(help="Method of the heat maps; may be repeated.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with tables, curve and heat maps.")] = None,
    json: Json = False,
) -> None:
    """Change components of a model and compare a prediction before and after."""
    at = desk(context)
    strengths = numbers(strength, "strength")
    places = _places(region)
    common = {
        "change": operation, "strength": strengths[0], "unit": unit, "places": places, "condition": _condition(when)
    }  # fmt: skip
    targets = _targets(at, component, direction, text, toward, away, snapshot, dataset)
    query = SteeringRequest(
        sample=_sample(dataset, sample, image),
        picture=None if image is None else picture_of(image),
        target=target,
        interventions=[Intervention.model_validate({"target": each} | common) for each in targets],
        strengths=strengths if len(strengths) > 1 else [],
        maps=maps or method is not None,
        **({"methods": method} if method else {}),
    )
    answer = at.model.steering_preview(at.caller, model, query)
    if html is not None:
        html.write_text(steering_page(answer, query), encoding="utf-8")
    show_json(answer) if json else show(answer, strengths[0])
    if html is not None and not json:
        typer.echo(f"written to {html}")


def numbers(text: str, field: str) -> list[float]:
    """Read numbers with commas between them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidRequest(f"{text}: write numbers with commas between them, such as 0.5,1,2", field=field) from error


def _sample(dataset: str | None, sample: str | None, image: Path | None) -> SampleOf | None:
    if (sample is None) == (image is None):
        raise InvalidRequest("give either --image, or --dataset and --sample", field="sample")
    if sample is None:
        return None
    return sample_of(sample if dataset is None else f"{dataset}:{sample}")


def _places(region: str | None) -> Places:
    if region is None:
        return AllPlaces()
    edges = numbers(region, "region")
    if len(edges) != len(("left", "top", "right", "bottom")):
        raise InvalidRequest(f"{region}: write left,top,right,bottom", field="region")
    return Region(left=edges[0], top=edges[1], right=edges[2], bottom=edges[3])


def _condition(when: str | None) -> Condition | None:
    if when is None:
        return None
    layer, index, above = (["", "", *when.rsplit(":", 2)])[-3:]
    if not layer or not index.isdigit():
        raise InvalidRequest(f"{when}: write LAYER:INDEX:THRESHOLD", field="when")
    return Condition(layer=layer, index=int(index), above=numbers(above, "when")[0])


def _targets(
    at: Desk, components: Sequence[str] | None, direction: str | None, text: str | None, toward: str | None,
    away: str | None, snapshot: str | None, dataset: str | None,
) -> list[Target]:  # fmt: skip
    found: list[Target] = [component_target(each) for each in components or []]
    if direction is not None:
        layer, path = _split(direction, "direction")
        found.append(DirectionTarget(layer=layer, vector=_vector(Path(path))))
    if text is not None:
        found.append(text_target(at, *_split(text, "text"), snapshot))
    if toward is not None:
        layer, label = _split(toward, "toward")
        if away is None or dataset is None:
            raise InvalidRequest("--toward needs --away and --dataset", field="toward")
        sets = [SampleSet(dataset=dataset, label=each) for each in (label, away)]
        found.append(DifferenceTarget(layer=layer, toward=sets[0], away=sets[1]))
    if not found:
        raise InvalidRequest("give --component, --direction, --text or --toward", field="component")
    return found


def component_target(text: str) -> ComponentTarget:
    """Read `LAYER:INDEX`, `LAYER:INDEX:1` or `LAYER:INDEX:-1`."""
    head, _, last = text.rpartition(":")
    layer, _, index = head.rpartition(":")
    if last in ("1", "-1") and index.isdigit():
        return ComponentTarget(layer=layer, index=int(index), sign=1 if last == "1" else -1)
    if not head or not last.isdigit():
        raise InvalidRequest(f"{text}: write LAYER:INDEX, for example blocks.4:17", field="component")
    return ComponentTarget(layer=head, index=int(last))


def text_target(at: Desk, layer: str, words: str, snapshot: str | None, most: int = 5) -> ComponentsTarget:
    """Search a snapshot for words; the components of the layer that it finds, weighted by their scores."""
    query = SearchQuery(terms=[TextTerm(text=words)], layers=[layer], k=most)
    hits = at.explanation.search(at.caller, snapshot or newest_snapshot(at), query).hits
    if not hits or max(hit.score for hit in hits) <= 0:
        raise InvalidRequest(f"no component of {layer} answers to {words!r}", field="text")
    parts = [
        WeightedComponent(index=hit.component.index, sign=1 if hit.component.sign > 0 else -1, weight=hit.score)
        for hit in hits
        if hit.score > 0
    ]
    return ComponentsTarget(layer=layer, components=parts)


def _split(text: str, field: str) -> tuple[str, str]:
    layer, _, rest = text.partition(":")
    if not layer or not rest:
        raise InvalidRequest(f"{text}: write LAYER:{field.upper()}", field=field)
    return layer, rest


def _vector(path: Path) -> list[float]:
    if not path.is_file():
        raise InvalidRequest(f"there is no file {path}", field="direction")
    try:
        found = json_format.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidRequest(f"{path} is no JSON", field="direction") from error
    if not isinstance(found, list) or not all(isinstance(each, int | float) for each in found):
        raise InvalidRequest(f"{path} holds no list of numbers", field="direction")
    return [float(each) for each in found]


def show(answer: SteeringPreview, strength: float) -> None:
    """Print the prediction before and after, the largest changes, and the curve."""
    before, after = answer.before[0], answer.after[0]
    typer.echo(
        f"{_name(before.name, before.index)} {before.probability:.1%} -> {_name(after.name, after.index)} "
        f"{after.probability:.1%} at strength {strength:g}; total variation {answer.variation:.3f}"
    )
    rows = ((_name(each.name, each.index), each.before, each.after, each.change) for each in answer.changes)
    show_table(("output", "before", "after", "change"), rows)
    layers = ((each.layer, each.norm, each.moved) for each in answer.layers)
    show_table(("layer", "median norm", "moved by"), layers)
    if answer.curve:
        points = (
            (
                point.strength, None if point.top is None else _name(point.top.name, point.top.index), point.target,
                point.variation, point.closeness, "" if point.finite else WORST,
            )
            for point in answer.curve
        )  # fmt: skip
        show_table(("strength", "first output", "watched", "variation", "closeness", ""), points)
        typer.echo(window_line(answer))


def window_line(answer: SteeringPreview) -> str:
    """Say which strengths work, or why none does."""
    if answer.window is None:
        return f"no recommended strength: {answer.window_note}"
    window = answer.window
    return f"recommended strength {window.recommended:g} (works from {window.low:g} to {window.high:g})"


def _name(name: str | None, index: int) -> str:
    return name or f"output {index}"
