"""`xsys train`: train a registered model on a dataset's labels, by feedback or by gradients."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.training import Curve, RewardName, TrainingRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

nouns = typer.Typer(no_args_is_help=True, help="Training: new versions of registered models, by feedback or gradients.")


def attach(app: typer.Typer) -> None:
    """Add these commands to the command tree."""
    app.add_typer(nouns, name="train")


@nouns.command("run")
def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    model: Annotated[str, typer.Option(help="Id or name of the model to begin with.")],
    dataset: Annotated[str, typer.Option(help="Id or name of a dataset with labels.")],
    method: Annotated[str, typer.Option(help="lfp (Layer-wise Feedback Propagation) or gradient.")] = "lfp",
    rule: Annotated[str, typer.Option(help="epsilon, gamma or zplus, for lfp.")] = "epsilon",
    reward: Annotated[RewardName, typer.Option(help="What lfp strengthens.")] = "softmax",
    optimizer: Annotated[str, typer.Option(help="sgd or adam.")] = "sgd",
    learning_rate: Annotated[float, typer.Option("--lr", help="Largest learning rate.")] = 0.1,
    momentum: Annotated[float, typer.Option(help="Of SGD, or Adam's first beta.")] = 0.9,
    clip: Annotated[float, typer.Option(help="Largest norm of all feedback together; 0 for none.")] = 3.0,
    schedule: Annotated[str, typer.Option(help="constant, cosine or onecycle.")] = "cosine",
    epochs: Annotated[int, typer.Option(help="Epochs; each is a checkpoint.")] = 5,
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = 32,
    validation: Annotated[float, typer.Option(help="Share of source photographs kept out of training.")] = 0.2,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a better accuracy.")] = None,
    freeze: Annotated[list[str] | None, typer.Option(help="Module that stays as it is; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of split, order and new head.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda where the worker has a GPU.")] = "cpu",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 for what layers compute.")] = "float32",
    json: Json = False,
) -> None:
    """Train, and register the result as a model of its own. A killed training goes on from its last epoch."""
    at = desk(context)
    told = {
        "name": name, "model": model, "dataset": dataset, "method": method, "rule": rule, "reward": reward,
        "optimizer": optimizer, "learning_rate": learning_rate, "momentum": momentum, "clip": clip or None,
        "validation": validation, "schedule": schedule, "epochs": epochs, "batch": batch, "patience": patience,
        "freeze": freeze or [], "seed": seed, "device": device, "precision": precision,
    }  # fmt: skip
    job = follow(at, at.jobs.train_model(at.caller, TrainingRequest.model_validate(told)), quiet=json)
    curve, trained = at.jobs.curve(at.caller, job.id), at.model.model(at.caller, job.result or name)
    if json:
        show_json({"model": trained.ref.model_dump(mode="json"), "curve": curve.model_dump(mode="json")})
        return
    show_curve(curve)
    typer.echo(f"{trained.ref.id}  {trained.ref.name}: {len(trained.classes or [])} classes")


@nouns.command("curve")
def curve(context: typer.Context, job: str, json: Json = False) -> None:
    """Show the epochs of a training so far."""
    at = desk(context)
    found = at.jobs.curve(at.caller, job)
    show_json(found) if json else show_curve(found)


def show_curve(curve: Curve) -> None:
    """Print a training's epochs as a table."""
    show_table(
        ("epoch", "rate", "loss", "accuracy", "validation", "gini", "near zero", "sign flips"),
        (
            (
                x.epoch + 1, f"{x.learning_rate:.3g}", f"{x.loss:.3f}", f"{x.accuracy:.3f}",
                f"{x.validation_accuracy:.3f}", f"{x.gini:.3f}",
                "–" if x.near_zero is None else f"{x.near_zero:.2%}", f"{x.sign_flips:.2%}",
            )
            for x in curve.epochs
        ),
    )  # fmt: skip
    if curve.stopped:
        typer.echo("stopped early: the best epoch was kept")
