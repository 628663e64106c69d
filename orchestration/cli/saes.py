"""`xsys sae`: train sparse autoencoders on layers of snapshots, look at them, take them elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.sae import Sae, SaeLatent, SaeRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

nouns = typer.Typer(no_args_is_help=True, help="Sparse autoencoders: many latents, few of them active at once.")


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="sae")


@nouns.command("train")
def train(
    context: typer.Context,
    layer: Annotated[str, typer.Option(help="One of its layers.")],
    snapshot: Annotated[str | None, typer.Option(help="Id or name of a snapshot: a row a picture.")] = None,
    capture: Annotated[str | None, typer.Option(help="Or of a capture of a language model: a row a token.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the autoencoder.")] = None,
    latents: int = 512,
    k: Annotated[int, typer.Option(help="Latents active in a row.")] = 16,
    kind: Annotated[str, typer.Option(help="topk or batchtopk.")] = "topk",
    steps: int = 2000,
    batch: int = 64,
    learning_rate: float | None = None,
    dead_rows: Annotated[int | None, typer.Option(help="Rows without firing until a latent is dead.")] = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Train one on a layer of a snapshot or capture, and measure it on samples that it did not see."""
    at = desk(context)
    request = SaeRequest.model_validate(
        {
            "snapshot": snapshot, "capture": capture, "layer": layer, "name": name, "latents": latents, "k": k,
            "kind": kind, "steps": steps, "batch": batch,
            "learning_rate": learning_rate, "dead_rows": dead_rows, "seed": seed,
        }
    )  # fmt: skip
    job = follow(at, at.jobs.train_sae(at.caller, request), quiet=json)
    found = at.atlas.sae(at.caller, str(job.result))
    show_json(found) if json else show_sae(found)


@nouns.command("import")
def import_(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(help="A folder of SAELens, where the server can read it.")],
    layer: Annotated[str, typer.Option(help="The layer whose activations it reads.")],
    snapshot: Annotated[str | None, typer.Option(help="Id or name of a snapshot: a row a picture.")] = None,
    capture: Annotated[str | None, typer.Option(help="Or of a capture of a language model: a row a token.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the autoencoder.")] = None,
    json: Json = False,
) -> None:
    """Take in one that was trained elsewhere, and measure it on what the layer does here."""
    at = desk(context)
    told = {"folder": folder, "layer": layer, "snapshot": snapshot, "capture": capture, "name": name}
    job = follow(at, at.jobs.train_sae(at.caller, SaeRequest.model_validate(told)), quiet=json)
    found = at.atlas.sae(at.caller, str(job.result))
    show_json(found) if json else show_sae(found)


@nouns.command("list")
def listing(context: typer.Context, json: Json = False) -> None:
    """List sparse autoencoders, newest first."""
    at = desk(context)
    page = at.atlas.saes(at.caller)
    if json:
        show_json(page)
        return
    rows = (
        (one.name, one.layer, one.latents, one.quality.explained, one.quality.active, one.quality.dead_share)
        for one in page.items
    )
    show_table(("name", "layer", "latents", "explained", "active", "dead"), rows)


@nouns.command("show")
def show(context: typer.Context, sae: str, latent: int | None = None, json: Json = False) -> None:
    """Show an autoencoder's figures, or one of its latents."""
    at = desk(context)
    if latent is None:
        found = at.atlas.sae(at.caller, sae)
        show_json(found) if json else show_sae(found)
        return
    one = at.atlas.sae_latent(at.caller, sae, latent)
    show_json(one) if json else show_latent(one)


@nouns.command("export")
def export(context: typer.Context, sae: str, out: Annotated[Path, typer.Argument(help="A .zip to write.")]) -> None:
    """Write the folder that SAELens reads, as a zip."""
    at = desk(context)
    out.write_bytes(at.atlas.export_sae(at.caller, sae).body)
    typer.echo(f"{out}: cfg.json and sae_weights.safetensors")


def show_sae(found: Sae) -> None:
    """Print the figures of an autoencoder."""
    quality = found.quality
    rows = [
        ("explained variance, held-out", quality.explained),
        ("explained variance, training", quality.explained_training),
        ("active latents a row", quality.active),
        ("dead share", quality.dead_share),
        ("cosine", quality.cosine),
        *([] if quality.recovered is None else [("cross-entropy recovered", quality.recovered)]),
        ("rows: trained on, held-out", f"{quality.trained_on}, {quality.held_out}"),
    ]
    title = f"{found.name} ({found.id}): {found.latents} latents of {found.layer}"
    show_table(("figure", "value"), rows, title=title)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)


def show_latent(one: SaeLatent) -> None:
    """Print one latent with its examples."""
    share = "" if one.label_share is None else f", {one.label_share:.0%} {one.label}"
    title = f"latent {one.index}: {one.state}, fires on {one.density:.1%}{share}"
    if one.tokens:
        typer.echo(f"tokens: {', '.join(f'{mass.token!r} {mass.share:.0%}' for mass in one.tokens)}")
        typer.echo(f"raises: {', '.join(map(repr, one.raises))}")
    rows = (
        (e.sample, e.label or "–", e.value, ("held out" if e.held_out else "trained on") if e.text is None else e.text)
        for e in one.examples
    )
    show_table(("sample", "label", "value", ""), rows, title=title)
