"""`xsys compare`, `xsys drift`, `xsys snapshot map` and `distributions`: snapshots as wholes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from contracts.comparison import (
    ComparedComponent,
    ComparedSide,
    ComparisonQuery,
    Distributions,
    Fate,
    LayerSimilarity,
    LoneComponent,
    SnapshotComparison,
    SnapshotDrift,
)
from contracts.snapshots import ComponentRef
from orchestration.cli.app import Json, desk
from orchestration.cli.render import examples_text, show_json, show_table
from orchestration.cli.snapshots import nouns as snapshots
from services.kit.arrays import unpack_arrays

Layers = Annotated[str | None, typer.Option("--layers", help="Layers of the first, with commas. Default: all.")]
Other = Annotated[str | None, typer.Option("--other-layers", help="Layers of the second. Default: all.")]
Threshold = Annotated[float, typer.Option(help="Relative similarity that counts: 0 chance, 1 wholly alike.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Also write a line for every component to this file.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Also write one page with pictures to this file.")]
FATES = get_args(Fate)
Most = Annotated[int, typer.Option(help="Rows of each list.")]


def attach(app: typer.Typer) -> None:
    """Add these commands to the command tree."""
    app.command("compare")(compare)
    app.command("drift")(drift)
    snapshots.command("map")(semantic_map)
    snapshots.command("distributions")(distributions)


def compare(
    context: typer.Context,
    snapshot: str,
    other: str,
    layers: Layers = None,
    other_layers: Other = None,
    threshold: Threshold = 0.5,
    pairing: Annotated[
        Literal["mutual", "one-to-one"], typer.Option(help="Each other's nearest, or the best assignment of all.")
    ] = "mutual",
    space: Annotated[
        Literal["centred", "raw"], typer.Option(help="Without the mean picture, or cosines as published.")
    ] = "centred",
    k: Most = 10,
    csv: CsvFile = None,
    html: HtmlFile = None,
    json: Json = False,
) -> None:
    """Compare two snapshots of one encoder: how alike, what both know, what only one knows."""
    at = desk(context)
    query = ComparisonQuery(
        other=other,
        layers=_names(layers),
        other_layers=_names(other_layers),
        threshold=threshold,
        pairing=pairing,
        space=space,
        k=k,
    )
    found = at.comparison.compare(at.caller, snapshot, query)
    show_json(found) if json else show_comparison(found)
    if csv is not None:
        _write(csv, at.comparison.comparison_report(at.caller, snapshot, query, "csv").body)
    if html is not None:
        _write(html, at.comparison.comparison_report(at.caller, snapshot, query, "html").body)


def drift(
    context: typer.Context,
    old: str,
    new: str,
    layer: Annotated[str | None, typer.Option(help="Only this layer. Default: all that both have.")] = None,
    threshold: Threshold = 0.5,
    k: Most = 10,
    csv: CsvFile = None,
    html: HtmlFile = None,
    json: Json = False,
) -> None:
    """Show what became of each component between two snapshots of one network."""
    at = desk(context)
    found = at.comparison.drift(at.caller, old, new, layer, threshold, k)
    show_json(found) if json else show_drift(found)
    if csv is not None:
        _write(csv, at.comparison.drift_report(at.caller, old, new, layer, threshold, "csv").body)
    if html is not None:
        _write(html, at.comparison.drift_report(at.caller, old, new, layer, threshold, "html").body)


def semantic_map(
    context: typer.Context,
    snapshot: str,
    out: Annotated[Path, typer.Option(help="File to write; .csv for a table, anything else for safetensors.")],
    layout: Annotated[Literal["umap", "pca"], typer.Option(help="UMAP takes seconds the first time.")] = "umap",
) -> None:
    """Write the plane on which components of like meaning lie near each other."""
    at = desk(context)
    body = at.comparison.semantic_map(at.caller, snapshot, layout).body
    if out.suffix == ".csv":
        names = [layer.name for layer in at.explanation.snapshot(at.caller, snapshot).layers]
        arrays = unpack_arrays(body)
        columns = ("index", "sign", "clarity", "clarity_z", "polysemanticity", "redundancy")
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("x", "y", "layer", *columns))
            for row, (x, y) in enumerate(arrays["xy"].tolist()):
                writer.writerow(
                    (x, y, names[arrays["layer"][row]], *(arrays[column][row].item() for column in columns))
                )
        typer.echo(f"wrote {out}")
    else:
        _write(out, body)


def distributions(
    context: typer.Context,
    snapshot: str,
    layer: Annotated[str | None, typer.Option(help="Only this layer.")] = None,
    json: Json = False,
) -> None:
    """Show how clarity, polysemanticity and redundancy are spread in each layer, beside what chance gives."""
    at = desk(context)
    found = at.comparison.distributions(at.caller, snapshot, layer)
    show_json(found) if json else show_distributions(found)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _write(path: Path, body: bytes) -> None:
    path.write_bytes(body)
    typer.echo(f"wrote {path}", err=True)


def _named(reference: ComponentRef) -> str:
    return f"{reference.layer} {reference.index}{'' if reference.sign > 0 else '−'}"


def show_comparison(found: SnapshotComparison) -> None:
    """Print a comparison."""
    columns = ("", "components", "similarity", "chance", "z", "ceiling", "known", "alone", "undecided")
    show_table(columns, (_side(side) for side in (found.ours, found.theirs)))
    if not found.same_dataset:
        typer.echo("The two were built on different pictures.")
    if found.null_limited:
        typer.echo("More components than random sets: chance is a little too low.")
    _show_layers(found.layers)
    _show_pairs(found)
    for who, lone in (("first", found.only_ours), ("second", found.only_theirs)):
        _show_lone(lone, f"Only the {who} knows")


def _show_layers(layers: list[LayerSimilarity]) -> None:
    columns = ("ours", "theirs", "similarity", "chance", "z", "back", "chance", "z")
    rows = (
        (one.ours, one.theirs, one.similarity, one.chance, one.z, one.back, one.back_chance, one.back_z)
        for one in layers
    )
    show_table(columns, rows, title="Layers")


def _show_pairs(found: SnapshotComparison) -> None:
    rows = ((*_shown(one.ours), *_shown(one.theirs), one.cosine, one.relative) for one in found.pairs)
    columns = ("ours", "examples", "theirs", "examples", "cosine", "relative")
    show_table(columns, rows, title=f"What both know: {found.paired} pairs ({found.pairing})")


def _show_lone(lone: list[LoneComponent], title: str) -> None:
    rows = ((*_shown(one.component), _named(one.nearest), one.cosine, one.chance, one.relative) for one in lone)
    show_table(("component", "examples", "nearest", "cosine", "chance", "relative"), rows, title=title)


def _shown(component: ComparedComponent) -> tuple[str, str]:
    return _named(component.component), examples_text(component.examples)


def _side(side: ComparedSide) -> tuple[object, ...]:
    figures = (side.similarity, side.chance, side.z, side.ceiling, side.known, side.alone, side.undecided)
    return (side.name, side.components, *figures)


def show_drift(found: SnapshotDrift) -> None:
    """Print drift: layers, then the most changed components."""
    rows = (
        (one.layer, one.cosine, one.relative, one.overlap, one.scale, *(one.fates[fate] for fate in FATES))
        for one in found.layers
    )
    show_table(("layer", "cosine", "relative", "overlap", "scale", *FATES), rows)
    if found.unaligned:
        typer.echo(f"not compared: {', '.join(found.unaligned)}")
    changed = (
        (
            _named(one.component),
            one.fate,
            one.cosine,
            one.overlap,
            one.scale,
            examples_text(one.before),
            examples_text(one.after),
            None if one.moved_to is None else _named(one.moved_to),
        )
        for one in found.rows
    )
    columns = ("component", "fate", "cosine", "overlap", "scale", "before", "after", "moved to")
    show_table(columns, changed, title="Most changed")


def show_distributions(found: Distributions) -> None:
    """Print medians and quartiles beside their nulls."""
    rows = (
        (
            layer.layer,
            one.metric,
            one.n,
            *(one.quantiles.get(share) for share in ("0.25", "0.5", "0.75")),
            one.null_quantiles["0.5"],
            one.null_quantiles["0.95"],
            one.above_null,
        )
        for layer in found.layers
        for one in layer.metrics
    )
    columns = ("layer", "metric", "n", "25 %", "50 %", "75 %", "null 50 %", "null 95 %", "above")
    show_table(columns, rows)
