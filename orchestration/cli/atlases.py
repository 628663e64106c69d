"""`xsys atlas`: name the latents of an autoencoder, carry the names over to another model, and search through them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.atlas import AlignmentRequest, Atlas, AtlasAlignment, AtlasRequest, UnitHits, UnitLabels, UnitSearch
from contracts.atlas_reading import DirectionQuery, TextQuery, TokenReading
from contracts.errors import InvalidRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

KNOWN = ("imagenet-1k", "imagenet-22k", "classes", "captions", "words")
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
        str | None,
        typer.Option(help=f"{', '.join(KNOWN)}, or a file with a name a line. Default: imagenet-1k; of text, words."),
    ] = None,
    labeller: Annotated[
        bool, typer.Option("--labeller", help="Let the language model of XSYS_LABELLER_URL phrase labels too.")
    ] = False,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Name the latents of an autoencoder, and judge each name on samples that did not make it."""
    at = desk(context)
    asked: dict[str, object] = {"sae": sae, "name": name, "labeller": labeller, "seed": seed}
    if vocabulary is None or vocabulary in KNOWN:
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
    rows = ((one.latent, one.text, one.method or "name", one.auroc, one.low, one.tier) for one in labels.items[:30])
    show_table(("latent", "label", "by", "AUROC", "at least", "tier"), rows)


@nouns.command("align")
def align(
    context: typer.Context,
    atlas: str,
    subject: Annotated[str, typer.Argument(help="The subject's snapshot, or its capture for an atlas of text.")],
    layer: Annotated[list[str] | None, typer.Option(help="A layer; may be repeated. Default: all.")] = None,
    translator: Annotated[
        list[str] | None, typer.Option(help="cov, corr, ridge, ridge_z, op, op_ctr, op_z, lens.")
    ] = None,
    pool: Annotated[list[str] | None, typer.Option(help="Of text: pools to choose among. Default: all.")] = None,
    name: str | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Carry an atlas over to another model's layers, and print how far to trust the result."""
    at = desk(context)
    kind = "snapshot" if at.atlas.atlas(at.caller, atlas).capture is None else "capture"
    asked: dict[str, object] = {
        "atlas": atlas, kind: subject, "layers": layer, "pools": pool, "name": name, "seed": seed,
    }  # fmt: skip
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


@nouns.command("read")
def read(
    context: typer.Context,
    atlas: str,
    text: str,
    k: Annotated[int, typer.Option(help="Labels a token.")] = 2,
    trusted: Annotated[bool, typer.Option(help="Only labels that are verified or weak.")] = False,
    json: Json = False,
) -> None:
    """Read a text token by token in the atlas's own model."""
    at = desk(context)
    found = at.atlas.read_text(at.caller, atlas, TextQuery(text=text, k=k, trusted=trusted))
    show_json(found) if json else show_reading(found)


@nouns.command("localise")
def localise(
    context: typer.Context,
    alignment: str,
    text: str,
    layer: str | None = None,
    k: Annotated[int, typer.Option(help="Labels a token.")] = 2,
    trusted: Annotated[bool, typer.Option(help="Only labels that are trusted on both sides.")] = False,
    json: Json = False,
) -> None:
    """Read a text token by token in the subject, through labels that were carried over."""
    at = desk(context)
    query = TextQuery(text=text, k=k, layer=layer, trusted=trusted)
    found = at.atlas.localise(at.caller, alignment, query)
    show_json(found) if json else show_reading(found)


@nouns.command("direction")
def direction(
    context: typer.Context,
    of: Annotated[str, typer.Argument(help="An alignment, or with `--map native` an atlas.")],
    text: Annotated[str | None, typer.Option(help="Choose latents by a text.")] = None,
    latent: Annotated[list[int] | None, typer.Option(help="Or name them; may be repeated.")] = None,
    layer: str | None = None,
    map: Annotated[str, typer.Option(help="native, write, cov or read.")] = "write",
    json: Json = False,
) -> None:
    """Make a direction to steer with; `--json` prints the vector for `xsys generate --intervention`."""
    at = desk(context)
    query = DirectionQuery.model_validate({"text": text, "latents": latent, "layer": layer, "map": map})
    ask = at.atlas.atlas_direction if map == "native" else at.atlas.alignment_direction
    found = ask(at.caller, of, query)
    if json:
        show_json(found)
        return
    rows = ((one.latent, one.text, one.cosine, one.weight) for one in found.latents)
    title = f"{found.map} direction in {found.layer}: {len(found.vector)} columns"
    show_table(("latent", "label", "cosine", "weight"), rows, title=title)
    if found.others:
        show_table(("other map", "cosine"), found.others.items())


@nouns.command("agreement")
def agreement(context: typer.Context, alignment: str, other: str, layer: str | None = None, json: Json = False) -> None:
    """Compare what two atlases say about the units of one subject."""
    at = desk(context)
    found = at.atlas.agreement(at.caller, alignment, other, layer)
    if json:
        show_json(found)
        return
    typer.echo(f"{found.units} units with a trusted label from both; {found.agreed} agree, {found.chance} by chance")
    rows = ((one.unit, one.text, one.other, one.cosine) for one in found.examples)
    show_table(("unit", "label", "other label", "cosine"), rows)


def show_reading(found: TokenReading) -> None:
    """Print tokens with their labels."""
    rows = (
        (repr(token.text), ", ".join(f"{one.text} {one.share:.0%}" for one in token.labels) or "–")
        for token in found.tokens
    )
    through = f" through {found.translator}" if found.carried else ""
    show_table(("token", "labels"), rows, title=f"{found.layer}{through}")


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
    """Print the translators of each layer, the controls last."""
    for layer in found.layers:
        rows: list[tuple[object, ...]] = [
            (f"{row.translator} {row.pool or ''}".strip(), row.validation, row.test.auroc, row.test.ap)
            for row in layer.translators
        ]
        controls = {"shuffled pairs": layer.shuffled, "tokens alone": layer.lexical, "length alone": layer.length}
        rows += [(f"({name})", "–", each.auroc, each.ap) for name, each in controls.items() if each is not None]
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
