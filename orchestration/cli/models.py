"""`xsys model` and `xsys encoder`: register models and look at their layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.model import ModelRegistration
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

nouns = typer.Typer(no_args_is_help=True, help="Models: architecture, weights, preprocessing, layers.")
encoders = typer.Typer(no_args_is_help=True, help="Foundation models that give components their meaning.")


def attach(app: typer.Typer) -> None:
    """Add these nouns to the command tree."""
    app.add_typer(nouns, name="model")
    app.add_typer(encoders, name="encoder")


@nouns.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    architecture: Annotated[
        str,
        typer.Option(
            help="timm:NAME, torchvision:, open_clip:, entry_point:; llm:NAME, gguf: or causal_lm:ARCHITECTURE"
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option(help="safetensors, .pth, .gguf or a folder; default: a packaged checkpoint.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, kept with the model.")] = None,
    json: Json = False,
) -> None:
    """Register a model: its weights are hashed, its layers found by running it once."""
    at = desk(context)
    path = None if weights is None else str(weights.absolute())
    registration = ModelRegistration(name=name, architecture=architecture, weights=path, licence=licence)
    job = follow(at, at.jobs.register_model(at.caller, registration), quiet=json)
    model = at.model.model(at.caller, job.result or name)
    if json:
        show_json(model)
        return
    typer.echo(f"{model.ref.id}  {model.ref.name}: {model.parameters:,} parameters, {len(model.layers)} layers")


@nouns.command("list")
def listing(context: typer.Context, limit: int = 50, cursor: str | None = None, json: Json = False) -> None:
    """List the models."""
    at = desk(context)
    page = at.model.models(at.caller, limit, cursor)
    if json:
        show_json(page)
        return
    show_table(
        ("id", "name", "architecture", "parameters", "layers"),
        ((m.ref.id, m.ref.name, m.ref.architecture, f"{m.parameters:,}", len(m.layers)) for m in page.items),
    )


@nouns.command("show")
def show(context: typer.Context, model: str, json: Json = False) -> None:
    """Show one model."""
    at = desk(context)
    found = at.model.model(at.caller, model)
    if json:
        show_json(found)
        return
    typer.echo(f"{found.ref.id}  {found.ref.name} ({found.ref.architecture})")
    typer.echo(f"  parameters  {found.parameters:,}")
    typer.echo(f"  weights     sha256 {found.ref.weights_sha256}")
    how = found.ref.preprocessing
    typer.echo(f"  input       {'text' if how is None else f'{how.crop} px'}, licence {found.licence or 'not stated'}")
    for name, value in found.facts.items():
        typer.echo(f"  {name.replace('_', ' '):<20} {value}")


@nouns.command("layers")
def layers(context: typer.Context, model: str, json: Json = False) -> None:
    """List a model's layers, early to late."""
    at = desk(context)
    found = at.model.model(at.caller, model)
    if json:
        show_json({"model": found.ref.id, "layers": [layer.model_dump(mode="json") for layer in found.layers]})
        return
    show_table(
        ("layer", "module", "kind", "width", "signed", "pooling"),
        ((x.name, x.module, x.kind, x.width, "yes" if x.signed else "no", x.pooling) for x in found.layers),
    )


@encoders.command("list")
def list_encoders(context: typer.Context, json: Json = False) -> None:
    """List the encoders that load here."""
    at = desk(context)
    page = at.explanation.encoders(at.caller)
    if json:
        show_json(page)
        return
    show_table(
        ("name", "width", "text", "note"), ((e.name, e.width, "yes" if e.text else "no", e.note) for e in page.items)
    )
