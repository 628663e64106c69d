"""`xsys capture`: keep a language model's activations over a text corpus, for autoencoders and atlases."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.captures import Capture, CaptureRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

nouns = typer.Typer(no_args_is_help=True, help="Activations of a language model over a text corpus.")


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="capture")


@nouns.command("build")
def build(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Id or name of a language model.")],
    corpus: Annotated[str, typer.Option(help="Id or name of a dataset of text.")] = "corpus",
    layer: Annotated[list[str] | None, typer.Option(help="May be repeated. Default: residual at half depth.")] = None,
    pool: Annotated[list[str] | None, typer.Option(help="max, mean, last, top3 or absmax; may be repeated.")] = None,
    windows: Annotated[int, typer.Option(help="Windows of text, drawn evenly from all documents.")] = 10_000,
    shard: Annotated[int, typer.Option(help="Windows a part.")] = 500,
    name: str | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Run a language model over a corpus; a kill costs one part, and what is there is not done again."""
    at = desk(context)
    asked: dict[str, object] = {
        "model": model, "corpus": corpus, "layers": layer, "windows": windows, "shard": shard, "name": name,
        "seed": seed,
    }  # fmt: skip
    if pool:
        asked["pools"] = pool
    job = follow(at, at.jobs.capture_text(at.caller, CaptureRequest.model_validate(asked)), quiet=json)
    found = at.atlas.capture(at.caller, str(job.result))
    show_json(found) if json else show_capture(found)


@nouns.command("list")
def listing(context: typer.Context, json: Json = False) -> None:
    """List captures, newest first."""
    at = desk(context)
    page = at.atlas.captures(at.caller)
    if json:
        show_json(page)
        return
    rows = ((one.name, one.model, one.corpus, one.windows, len(one.layers)) for one in page.items)
    show_table(("name", "model", "corpus", "windows", "layers"), rows)


@nouns.command("show")
def show(context: typer.Context, capture: str, json: Json = False) -> None:
    """Show a capture with its layers."""
    at = desk(context)
    found = at.atlas.capture(at.caller, capture)
    show_json(found) if json else show_capture(found)


def show_capture(found: Capture) -> None:
    """Print the layers of a capture."""
    splits = ", ".join(f"{count:,} {name}" for name, count in found.splits.items())
    rows = ((one.layer, one.width, one.tokens, round(one.norm, 2)) for one in found.layers)
    title = f"{found.name}: {found.windows:,} windows of {found.corpus} ({splits})"
    show_table(("layer", "width", "tokens", "median norm"), rows, title=title)
