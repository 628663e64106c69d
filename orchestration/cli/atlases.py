"""`xsys atlas`: name the latents of an autoencoder, carry the names over to another model, and search through them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.atlas import AlignmentRequest, Atlas, AtlasAlignment, AtlasRequest, UnitHits, UnitLabels, UnitSearch
from contracts.errors import InvalidRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

KNOWN = ("imagenet-1k", "imagenet-22k", "classes", "captions")
nouns = typer.Typer(no_args_is_help=True, help="Labelled latents of one model, carried over to another by linear maps.")


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="atlas")


@nouns.command("build")
def build(
    context: typer.Context,
    sae: str,
    name: str | None = None,
    vocabulary: Annotated[
        str, typer.Option(help=f"{', '.join(KNOWN)}, or a text file with one name a line.")
    ] = "imagenet-1k",
    seed: int = 0,
    json: Json = False,
) -> None:
    """Name the latents of an autoencoder, and judge each name on samples that did not make it."""
    at = desk(context)
    asked: dict[str, object] = {"sae": sae, "name": name, "seed": seed}
    if vocabulary in KNOWN:
        asked["vocabulary"] = vocabulary
    elif Path(vocabulary).is_file():
        asked |= {"vocabulary": "list", "names": Path(vocabulary).read_text(encoding="utf-8").splitlines()}
    else:
        raise InvalidRequest(f"{vocabulary} is no known vocabulary and no file", field="vocabulary", known=list(KNOWN))
    job = follow(at, at.jobs.build_atlas(at.caller, AtlasRequest.model_validate(asked)), quiet=json)
    found = at.atlas.atlas(at.caller, str(job.result))
    show_json(found) if json else show_atlas(found)


@nouns.command("list")
def listing(context: typer.Context, json: Json = False) -> None:
    """List atlases, newest first."""
    at = desk(context)
    page = at.atlas.atlases(at.caller)
    if json:
        show_json(page)
        return
    show_table(
        ("name", "layer", "latents", "verified"),
        ((a.name, a.layer, a.latents, a.tiers["verified"]) for a in page.items),
    )


@nouns.command("show")
def show(context: typer.Context, atlas: str, json: Json = False) -> None:
    """Show an atlas with its labels, best first."""
    at = desk(context)
    found, labels = at.atlas.atlas(at.caller, atlas), at.atlas.atlas_labels(at.caller, atlas)
    if json:
        show_json(labels)
        return
    show_atlas(found)
    rows = ((one.latent, one.text, one.auroc, one.low, one.tier) for one in labels.items[:30])
    show_table(("latent", "label", "AUROC", "at least", "tier"), rows)


@nouns.command("align")
def align(
    context: typer.Context,
    atlas: str,
    snapshot: Annotated[str, typer.Argument(help="Snapshot of the subject, over the same dataset.")],
    layer: Annotated[list[str] | None, typer.Option(help="A layer; may be repeated. Default: all.")] = None,
    translator: Annotated[
        list[str] | None, typer.Option(help="cov, corr, ridge, ridge_z, op, op_ctr, op_z, lens.")
    ] = None,
    name: str | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Carry an atlas over to another model's layers, and print how far to trust the result."""
    at = desk(context)
    asked: dict[str, object] = {"atlas": atlas, "snapshot": snapshot, "layers": layer, "name": name, "seed": seed}
    if translator:
        asked["translators"] = translator
    job = follow(at, at.jobs.align_atlas(at.caller, AlignmentRequest.model_validate(asked)), quiet=json)
    found = at.atlas.alignment(at.caller, str(job.result))
    show_json(found) if json else show_alignment(found)


@nouns.command("alignment")
def alignment(context: typer.Context, alignment: str, json: Json = False) -> None:
    """Show an alignment's trust figures."""
    at = desk(context)
    found = at.atlas.alignment(at.caller, alignment)
    show_json(found) if json else show_alignment(found)


@nouns.command("unit")
def unit(context: typer.Context, alignment: str, layer: str, unit: int, json: Json = False) -> None:
    """Show the trusted atlas labels of one unit of the subject."""
    at = desk(context)
    found = at.atlas.unit_labels(at.caller, alignment, layer, unit)
    show_json(found) if json else show_unit(found)


@nouns.command("search")
def search(context: typer.Context, alignment: str, layer: str, text: str, k: int = 10, json: Json = False) -> None:
    """Find units of the subject by a text."""
    at = desk(context)
    found = at.atlas.search_units(at.caller, alignment, UnitSearch(text=text, layer=layer, k=k))
    show_json(found) if json else show_hits(found)


def show_atlas(found: Atlas) -> None:
    """Print an atlas's figures."""
    rows = [
        ("latents", found.latents),
        *found.tiers.items(),
        ("median AUROC", found.auroc),
        ("shuffled", found.shuffled),
    ]
    show_table(("figure", "value"), rows, title=f"{found.name} ({found.id}): {found.layer}")


def show_alignment(found: AtlasAlignment) -> None:
    """Print the translators of each layer, the control last."""
    for layer in found.layers:
        rows = [(row.translator, row.validation, row.test.auroc, row.test.ap) for row in layer.translators]
        if layer.shuffled is not None:
            rows.append(("(shuffled pairs)", None, layer.shuffled.auroc, layer.shuffled.ap))  # type: ignore[arg-type]
        tiers = ", ".join(f"{count} {tier.replace('_', ' ')}" for tier, count in layer.tiers.items())
        show_table(("translator", "validation", "AUROC", "AP"), rows, title=f"{layer.layer}: {layer.chosen}; {tiers}")


def show_unit(found: UnitLabels) -> None:
    """Print a unit's labels."""
    rows = (
        (one.text, one.z, one.percentile, one.label_tier, one.transfer_auroc, one.transfer_tier) for one in found.labels
    )
    title = f"{found.layer} {found.unit}: {'no reliable label' if not found.labels else found.translator}"
    show_table(("label", "z", "percentile", "label", "transfer AUROC", "transfer"), rows, title=title)


def show_hits(found: UnitHits) -> None:
    """Print units, and the latents they were found through."""
    show_table(("unit", "score"), ((one.unit, one.score) for one in found.units))
    show_table(("through", "cosine", "weight"), ((one.text, one.cosine, one.weight) for one in found.latents))
