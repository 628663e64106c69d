"""`xsys model` and `xsys encoder`: register models and look at their layers."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from contracts.errors import InvalidRequest
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
        typer.Option(help="timm:NAME, torchvision:, open_clip:, entry_point:, spiking:, llm:, gguf: or causal_lm:NAME"),
    ],
    weights: Annotated[
        Path | None, typer.Option(help="safetensors, .pth, .gguf or a folder; default: a packaged checkpoint.")
    ] = None,
    initial_seed: Annotated[
        int | None, typer.Option(help="Draw the weights from this seed, for a training from scratch.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="Constructor arguments as JSON: '{\"num_classes\": 6}'.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, kept with the model.")] = None,
    json: Json = False,
) -> None:
    """Register a model: its weights are read and hashed, or drawn; its layers are found by running it once."""
    at = desk(context)
    path = None if weights is None else str(weights.absolute())
    registration = ModelRegistration(
        name=name, architecture=architecture, weights=path, initial_seed=initial_seed, config=config_of(config),
        licence=licence,
    )  # fmt: skip
    job = follow(at, at.jobs.register_model(at.caller, registration), quiet=json)
    model = at.model.model(at.caller, job.result or name)
    if json:
        show_json(model)
        return
    typer.echo(f"{model.ref.id}  {model.ref.name}: {model.parameters:,} parameters, {len(model.layers)} layers")


def config_of(text: str | None) -> dict[str, JsonValue]:
    """Constructor arguments from what was typed."""
    try:
        config = json_format.loads(text or "{}")
    except json_format.JSONDecodeError as error:
        raise InvalidRequest(f"--config is no JSON: {error}", field="config") from error
    if not isinstance(config, dict):
        raise InvalidRequest("--config is no JSON object", field="config")
    return config


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


@nouns.command("cost")
def cost(
    context: typer.Context,
    model: str,
    against: Annotated[
        str | None, typer.Option(help="Another model, such as the one that this one was cut from.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure size, sparsity, operations and time of one picture, beside another model's."""
    at = desk(context)
    found = at.model.model_cost(at.caller, model, against)
    if json:
        show_json(found)
        return
    both = [found.model] if found.against is None else [found.model, found.against]
    show_table(
        ("model", "parameters", "MB", "million MACs", "sparsity", "gini", "px", "ms a picture", "middle half"),
        (
            (
                x.name, f"{x.parameters:,}", f"{x.weights_bytes / 1e6:.1f}", f"{x.macs / 1e6:,.0f}",
                f"{x.sparsity:.1%}", f"{x.gini:.3f}", x.side, f"{x.latency_ms:.2f}",
                f"{x.latency_low_ms:.2f} to {x.latency_high_ms:.2f}",
            )
            for x in both
        ),
    )  # fmt: skip
    if found.speed_up is not None:
        typer.echo(f"{found.speed_up:.2f} x as fast, {found.model.threads} threads")


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
