"""`xsys snapshot` and `xsys component`: build snapshots and look into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from contracts.crops import CropMethod
from contracts.explanation import RangeBy
from contracts.jobs import Repair
from contracts.model import Precision
from contracts.snapshots import RankBy, SnapshotRequest
from orchestration.cli.app import REFUSED, Json, desk
from orchestration.cli.crops import write_crops
from orchestration.cli.progress import follow
from orchestration.cli.render import show_component, show_components, show_json, show_range, show_snapshot, show_table
from orchestration.pipelines.snapshot import layers_worth_explaining

nouns = typer.Typer(no_args_is_help=True, help="Everything computed for (model, dataset, layers, encoder).")


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="snapshot")
    app.command("component")(component)


@nouns.command("build")
def build(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Name or id of a registered model.")],
    dataset: Annotated[str, typer.Option(help="Name or id of a registered dataset.")],
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer; may be repeated. Default: five, early to late.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="`xsys encoder list` shows what loads here.")] = "imagenet-minilm",
    name: Annotated[str | None, typer.Option(help="Name of the snapshot.")] = None,
    k: Annotated[int, typer.Option(help="Examples kept per component.")] = 30,
    shard: Annotated[int, typer.Option(help="Pictures per part: smaller parts lose less to a kill.")] = 512,
    pooling: Annotated[list[str] | None, typer.Option(help="LAYER=POOLING; may be repeated.")] = None,
    precision: Annotated[Precision, typer.Option(help="Of the forward pass.")] = Precision.BF16,
    crop: Annotated[CropMethod, typer.Option(help="What is embedded of each example.")] = "none",
    relevance: Annotated[
        str | None, typer.Option(help="Also find the samples whose predictions rest on a component, by this rule.")
    ] = None,
    rank_by: Annotated[RankBy, typer.Option(help="What decides which samples are examples.")] = "activation",
    json: Json = False,
) -> None:
    """Compute a snapshot. What is there already is reused."""
    at = desk(context)
    layers = layer or layers_worth_explaining(at.model.model(at.caller, model).layers)
    overrides = {}
    for pair in pooling or []:
        where, separator, how = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"{pair}: write LAYER=POOLING", param_hint="--pooling")
        overrides[where] = how
    request = SnapshotRequest(
        model=model,
        dataset=dataset,
        layers=layers,
        encoder=encoder,
        name=name,
        k=k,
        shard=shard,
        pooling=overrides,
        precision=precision,
        crop=crop,
        relevance=relevance,
        rank_by=rank_by,
    )
    job = follow(at, at.jobs.build_snapshot(at.caller, request), quiet=json)
    snapshot = at.explanation.snapshot(at.caller, str(job.result))
    show_json(snapshot) if json else show_snapshot(snapshot)


@nouns.command("list")
def listing(context: typer.Context, limit: int = 50, cursor: str | None = None, json: Json = False) -> None:
    """List the snapshots."""
    at = desk(context)
    page = at.explanation.snapshots(at.caller, limit, cursor)
    if json:
        show_json(page)
        return
    show_table(
        ("id", "name", "layers", "components", "encoder", "built"),
        (
            (
                s.id,
                s.name,
                len(s.layers),
                sum(x.components for x in s.layers),
                s.encoder.name,
                f"{s.created_at:%Y-%m-%d %H:%M}",
            )
            for s in page.items
        ),
    )


@nouns.command("show")
def show(context: typer.Context, snapshot: str, json: Json = False) -> None:
    """Show one snapshot with the figures of its layers."""
    at = desk(context)
    found = at.explanation.snapshot(at.caller, snapshot)
    show_json(found) if json else show_snapshot(found)


@nouns.command("components")
def components(
    context: typer.Context,
    snapshot: str,
    layer: str | None = None,
    sort: Annotated[
        Literal["component", "clarity", "polysemanticity", "redundancy"], typer.Option(help="Metrics sort high to low.")
    ] = "clarity",
    limit: int = 20,
    cursor: str | None = None,
    json: Json = False,
) -> None:
    """List components with their metrics."""
    at = desk(context)
    page = at.explanation.components(at.caller, snapshot, layer, sort, limit, cursor)
    if json:
        show_json(page)
        return
    show_components(page.items)
    if page.next:
        typer.echo(f"more: --cursor {page.next}")


@nouns.command("check")
def check(context: typer.Context, snapshot: str, json: Json = False) -> None:
    """Hash every file of a snapshot; exit code 1 if one is damaged."""
    at = desk(context)
    result = at.explanation.check(at.caller, snapshot)
    if json:
        show_json(result)
    else:
        typer.echo(f"{result.snapshot}: {result.artifacts} artifacts, {len(result.damaged)} damaged")
    if result.damaged:
        raise typer.Exit(REFUSED)


@nouns.command("repair")
def repair(context: typer.Context, snapshot: str, json: Json = False) -> None:
    """Recompute the damaged files of a snapshot."""
    at = desk(context)
    job = follow(at, at.jobs.repair_snapshot(at.caller, Repair(snapshot=snapshot)), quiet=json)
    result = at.explanation.check(at.caller, str(job.result))
    if json:
        show_json(result)
    else:
        typer.echo(f"{result.snapshot}: {result.artifacts} artifacts, {len(result.damaged)} damaged")


def component(
    context: typer.Context,
    snapshot: str,
    layer: str,
    index: int,
    sign: Annotated[int, typer.Option(help="1 or -1")] = 1,
    crops: Annotated[
        Path | None, typer.Option(help="Folder for the examples as PNG, cut to what the component saw.")
    ] = None,
    crop: Annotated[
        Literal["activation-map", "relevance"], typer.Option(help="By what the examples of `--crops` are cut.")
    ] = "activation-map",
    along: Annotated[
        RangeBy | None, typer.Option(help="Examples along the whole range, cut by activation or by quantile, instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Show one component: examples, prototypes, nearest components."""
    if sign not in (1, -1):
        raise typer.BadParameter("1 or -1", param_hint="--sign")
    at = desk(context)
    if along is not None:
        found = at.explanation.example_range(at.caller, snapshot, layer, index, 1 if sign > 0 else -1, along)
        show_json(found) if json else show_range(found)
        return
    detail = at.explanation.component(at.caller, snapshot, layer, index, 1 if sign > 0 else -1)
    show_json(detail) if json else show_component(detail)
    if crops is not None:
        write_crops(at, detail, crops, crop)
