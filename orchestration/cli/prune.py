"""`xsys prune`: cut channels out of a registered model, as many as a loss of accuracy allows."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.training import Pruning, PruningRequest, PruningStep
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

nouns = typer.Typer(no_args_is_help=True, help="Pruning: smaller and faster versions of registered models.")


def attach(app: typer.Typer) -> None:
    """Add these commands to the command tree."""
    app.add_typer(nouns, name="prune")


@nouns.command("run")
def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    model: Annotated[str, typer.Option(help="Id or name of the model to cut.")],
    dataset: Annotated[str, typer.Option(help="Id or name of a dataset with the model's classes as labels.")],
    criterion: Annotated[str, typer.Option(help="relevance, abs_relevance, magnitude or random.")] = "relevance",
    scope: Annotated[str, typer.Option(help="global: a share of all channels; layer: of each layer's.")] = "global",
    amount: Annotated[
        float | None, typer.Option(help="Share of channels to cut; default: the largest within --loss.")
    ] = None,
    amounts: Annotated[str, typer.Option(help="Shares to try, with commas.")] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7",
    loss: Annotated[float, typer.Option(help="Share of accuracy that may be lost.")] = 0.02,
    keep: Annotated[list[str] | None, typer.Option(help="Layer that keeps all outputs; may be repeated.")] = None,
    epochs: Annotated[int, typer.Option(help="Epochs of training after the cut.")] = 0,
    method: Annotated[str, typer.Option(help="Of that training: gradient or lfp.")] = "gradient",
    learning_rate: Annotated[float, typer.Option("--lr", help="Of that training.")] = 0.01,
    batch: Annotated[int, typer.Option(help="Pictures a step of that training.")] = 32,
    validation: Annotated[float, typer.Option(help="Share of source photographs kept out, to judge the cuts.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of split, order and chance.")] = 0,
    json: Json = False,
) -> None:
    """Cut whole channels, and register the smaller model as one of its own."""
    at = desk(context)
    try:
        shares = [float(part) for part in amounts.split(",")]
    except ValueError as error:
        raise typer.BadParameter("shares are numbers with commas between them", param_hint="--amounts") from error
    told = {
        "name": name, "model": model, "dataset": dataset, "criterion": criterion, "scope": scope, "amount": amount,
        "amounts": shares, "loss": loss, "keep": keep or [], "epochs": epochs, "method": method,
        "learning_rate": learning_rate, "batch": batch, "validation": validation, "seed": seed,
    }  # fmt: skip
    job = follow(at, at.jobs.prune_model(at.caller, PruningRequest.model_validate(told)), quiet=json)
    found, smaller = at.jobs.pruning(at.caller, job.id), at.model.model(at.caller, job.result or name)
    curve = at.jobs.curve(at.caller, job.id)
    if json:
        show_json(
            {
                "model": smaller.ref.model_dump(mode="json"), "pruning": found.model_dump(mode="json"),
                "curve": curve.model_dump(mode="json"),
            }
        )  # fmt: skip
        return
    show_pruning(found)
    if curve.epochs:
        typer.echo(f"after {len(curve.epochs)} epochs: accuracy {curve.epochs[-1].validation_accuracy:.3f}")
    typer.echo(f"{smaller.ref.id}  {smaller.ref.name}: {smaller.parameters:,} parameters")


@nouns.command("show")
def show(context: typer.Context, job: str, json: Json = False) -> None:
    """Show what a pruning job found."""
    at = desk(context)
    found = at.jobs.pruning(at.caller, job)
    show_json(found) if json else show_pruning(found)


def show_pruning(found: Pruning) -> None:
    """Print the curves of a pruning as a table, the cut that was taken marked."""
    if found.before is None:
        typer.echo("nothing was cut yet")
        return
    rows = [("as it was", *_row(found.before), "")]
    for curve in found.curves:
        for step in curve.steps:
            taken = "taken" if curve is found.curves[0] and step == found.chosen else ""
            rows.append((curve.criterion, *_row(step), taken))
    show_table(("criterion", "cut", "channels", "parameters", "MACs", "accuracy", ""), rows)


def _row(step: PruningStep) -> tuple[str, str, str, str, str]:
    return f"{step.amount:.0%}", f"{step.channels:,}", f"{step.parameters:,}", f"{step.macs:,}", f"{step.accuracy:.3f}"
