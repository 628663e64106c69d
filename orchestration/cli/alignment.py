"""`xsys concepts` and `xsys alignment`: find concepts in layers, and compare layers and models concept by concept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from contracts.alignment import Comparison, ComparisonRequest, MethodName, PointsPlan, Side, Tokens
from contracts.model import LayerKind
from orchestration.cli.app import Json, desk
from orchestration.cli.desk import Desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table
from orchestration.pipelines.snapshot import layers_worth_explaining

concepts = typer.Typer(no_args_is_help=True, help="Regions of activation space that belong together, of any shape.")
alignments = typer.Typer(no_args_is_help=True, help="What two models or layers share, concept by concept.")

Dataset = Annotated[str, typer.Option(help="Name or id of a registered dataset.")]
Layers = Annotated[
    str | None, typer.Option(help="Layers, early to late, with commas. Default: four, evenly spaced over the model.")
]
TokensOption = Annotated[str, typer.Option("--tokens", help="spatial, cls or pooled.")]
PerSample = Annotated[int, typer.Option(help="Places looked at in each picture.")]
Grid = Annotated[int, typer.Option(help="Maps are averaged to GRID x GRID places first.")]
Method = Annotated[str, typer.Option(help="manifold, dense, kmeans, pca, nmf, mcd or sae.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of the method; may be repeated.")]
Seeds = Annotated[int, typer.Option(help="Runs of the method with different seeds.")]
Standardize = Annotated[bool, typer.Option("--standardize", help="Scale every column; language models need it.")]
Named = Annotated[str | None, typer.Option("--name", help="Name of the comparison.")]
Permutations = Annotated[int, typer.Option(help="Of the null that matches are held against.")]


def attach(app: typer.Typer) -> None:
    """Add these nouns to the command tree."""
    app.add_typer(concepts, name="concepts")
    app.add_typer(alignments, name="alignment")


def _chosen(value: str, among: object, flag: str) -> str:
    if value not in get_args(among):
        raise typer.BadParameter(f"{value}: take one of {', '.join(get_args(among))}", param_hint=flag)
    return value


def _parameters(pairs: list[str] | None) -> dict[str, int | float | str | bool]:
    told: dict[str, int | float | str | bool] = {}
    for pair in pairs or []:
        name, separator, text = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"{pair}: write NAME=VALUE", param_hint="--set")
        told[name] = _value(text)
    return told


def _value(text: str) -> int | float | str | bool:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _side(at: Desk, model: str, layers: str | None) -> Side:
    if layers is not None:
        return Side(model=model, layers=[name.strip() for name in layers.split(",")])
    catalogue = [layer for layer in at.model.model(at.caller, model).layers if layer.kind is not LayerKind.VECTOR]
    return Side(model=model, layers=layers_worth_explaining(catalogue, 4))


@concepts.command("find")
def find(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or id of a registered model.")],
    dataset: Dataset,
    layers: Layers = None,
    tokens: TokensOption = "spatial",
    per_sample: PerSample = 4,
    grid: Grid = 4,
    method: Method = "manifold",
    parameters: Set = None,
    seeds: Seeds = 2,
    permutations: Permutations = 50,
    standardize: Standardize = False,
    name: Named = None,
    json: Json = False,
) -> None:
    """Find the concepts of a model's layers, and how they flow from layer to layer."""
    at = desk(context)
    request = ComparisonRequest(
        dataset=dataset,
        sides=[_side(at, model, layers)],
        name=name,
        points=PointsPlan(tokens=_chosen(tokens, Tokens, "--tokens"), per_sample=per_sample, grid=grid),
        method=_chosen(method, MethodName, "--method"),
        parameters=_parameters(parameters),
        preprocess="standardize" if standardize else "none",
        seeds=seeds,
        permutations=permutations,
    )
    _run(at, request, json=json)


@alignments.command("compare")
def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="Name or id of the first model.")],
    b: Annotated[str, typer.Argument(help="Name or id of the second model; may be the same.")],
    dataset: Dataset,
    layers: Layers = None,
    layers_b: Annotated[str | None, typer.Option(help="Layers of the second model; default: as of the first.")] = None,
    tokens: TokensOption = "spatial",
    per_sample: PerSample = 4,
    grid: Grid = 4,
    method: Method = "manifold",
    parameters: Set = None,
    seeds: Seeds = 2,
    permutations: Permutations = 50,
    standardize: Standardize = False,
    name: Named = None,
    json: Json = False,
) -> None:
    """Compare two models over the same points: one figure corrected for chance, and the concepts below it."""
    at = desk(context)
    request = ComparisonRequest(
        dataset=dataset,
        sides=[_side(at, a, layers), _side(at, b, layers_b or layers)],
        name=name,
        points=PointsPlan(tokens=_chosen(tokens, Tokens, "--tokens"), per_sample=per_sample, grid=grid),
        method=_chosen(method, MethodName, "--method"),
        parameters=_parameters(parameters),
        preprocess="standardize" if standardize else "none",
        seeds=seeds,
        permutations=permutations,
    )
    _run(at, request, json=json)


def _run(at: Desk, request: ComparisonRequest, *, json: bool) -> None:
    job = follow(at, at.jobs.compare(at.caller, request), quiet=json)
    found = at.alignment.comparison(at.caller, str(job.result))
    show_json(found) if json else show_comparison(found)


def show_comparison(found: Comparison) -> None:
    """Print a comparison: ceilings and noise first, then the corrected index, then the published one."""
    typer.echo(f"{found.id}  {found.name}: {found.points} points of {found.dataset.name}")
    show_table(
        ("place", "model", "layer", "ceiling", "noise", "concepts", "validity", "dimension", "ACI labels"),
        (
            (r.place, r.model, r.layer, r.ceiling, r.noise_share, r.concepts, r.validity, r.dimension,
             r.label_alignment)
            for r in found.representations
        ),
    )  # fmt: skip
    for told in found.representations:
        if told.advice:
            typer.echo(f"{told.layer}: no concepts found. {told.advice}")
    show_table(
        ("ours", "theirs", "ACI", "low", "high", "of ceiling", "GRI", "chance", "unbiased CKA", "mutual kNN"),
        (
            (a.ours, a.theirs, a.aci, a.low, a.high, a.relative, a.gri, a.chance, a.cka_unbiased, a.mutual_knn)
            for a in found.alignments
        ),
    )
    for order in found.layer_order:
        told_scores = ", ".join(f"{name} {score:.2f}" for name, score in order.scores.items())
        typer.echo(f"layer order of {order.model}: {told_scores} (chance {order.chance:.2f})")


@concepts.command("show")
@alignments.command("show")
def show(context: typer.Context, comparison: str, json: Json = False) -> None:
    """Show a comparison: its representations, and the alignment of each two of them."""
    at = desk(context)
    found = at.alignment.comparison(at.caller, comparison)
    show_json(found) if json else show_comparison(found)


@concepts.command("list")
@alignments.command("list")
def listing(context: typer.Context, limit: int = 50, cursor: str | None = None, json: Json = False) -> None:
    """List the comparisons."""
    at = desk(context)
    page = at.alignment.comparisons(at.caller, limit, cursor)
    if json:
        show_json(page)
        return
    show_table(
        ("id", "name", "models", "layers", "points", "made"),
        (
            (c.id, c.name, ", ".join(model.name for model in c.models), len(c.representations), c.points,
             f"{c.created_at:%Y-%m-%d %H:%M}")
            for c in page.items
        ),
    )  # fmt: skip


@alignments.command("pair")
def pair(context: typer.Context, comparison: str, ours: int, theirs: int, limit: int = 30, json: Json = False) -> None:
    """Show two representations concept by concept; `alignment show` numbers them."""
    at = desk(context)
    report = at.alignment.pair(at.caller, comparison, ours, theirs)
    if json:
        show_json(report)
        return
    typer.echo(f"{report.ours.model} {report.ours.layer} – {report.theirs.model} {report.theirs.layer}")
    typer.echo(", ".join(f"{count} {relation}" for relation, count in sorted(report.counts.items())))
    show_table(
        ("relation", "ours", "theirs", "kappa", "size-free distance", "q"),
        ((m.relation, m.ours, m.theirs, m.kappa, m.size_free_distance, m.q) for m in report.matches[:limit]),
    )


@concepts.command("concept")
def concept(context: typer.Context, comparison: str, place: int, concept: int, json: Json = False) -> None:
    """Show one concept of a representation: its examples and its partners."""
    at = desk(context)
    detail = at.alignment.concept(at.caller, comparison, place, concept)
    if json:
        show_json(detail)
        return
    found = detail.concept
    typer.echo(f"concept {found.index} of {detail.representation.layer}: {found.members} points, label {found.label}")
    show_table(
        ("examples", "label", "membership", "row", "column"),
        ((e.sample, e.label, e.membership, e.row, e.column) for e in found.examples),
    )


@alignments.command("export")
def export(
    context: typer.Context,
    comparison: str,
    out: Annotated[Path, typer.Option(help="File to write.")],
    format: Annotated[Literal["html", "csv", "json"], typer.Option(help="One page, the matches, or all figures.")] = (
        "html"
    ),
) -> None:
    """Write a comparison to a file: a page with linked maps and pictures, the matches as CSV, or all figures."""
    at = desk(context)
    if format == "json":
        out.write_text(at.alignment.comparison(at.caller, comparison).model_dump_json(indent=2), encoding="utf-8")
    else:
        out.write_bytes(at.alignment.report(at.caller, comparison, format).body)
    typer.echo(f"wrote {out}")
