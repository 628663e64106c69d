"""`xsys dataset`: register pictures and look at what was registered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from contracts.corpora import DemoTextSource, Split, TextSource
from contracts.data import (
    DatasetRegistration,
    DemoSource,
    FolderSource,
    ParquetSource,
    ScenesSource,
    UploadSource,
    WebDatasetSource,
)
from contracts.data import Source as DataSource
from contracts.errors import InvalidRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.desk import Desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

BUILT_IN: dict[str, type[DemoSource] | type[ScenesSource] | type[DemoTextSource]] = {
    "demo": DemoSource,
    "scenes": ScenesSource,
    "corpus": DemoTextSource,
}
TEXT = frozenset({".jsonl", ".ndjson", ".txt"})
nouns = typer.Typer(
    no_args_is_help=True, help="Pictures and text: folders, Parquet files, WebDataset tars, zips, JSONL."
)


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="dataset")


def source_of(desk: Desk, path: str, *, on_server: bool, text: bool = False) -> DataSource:
    """Guess the kind of source from the path; a zip is uploaded first. `text`: it holds text, no pictures."""
    if path in BUILT_IN:
        return BUILT_IN[path]()
    place = Path(path)
    if place.suffix == ".zip" and not on_server:
        received = desk.data.upload(desk.caller, place.read_bytes())
        return UploadSource(upload=received.upload)
    absolute = str(place if on_server else place.absolute())
    if text or place.suffix in TEXT:
        return TextSource(path=absolute)
    if place.suffix in {".parquet", ".pq"}:
        return ParquetSource(path=absolute)
    return WebDatasetSource(path=absolute) if place.suffix == ".tar" else FolderSource(path=absolute)


def with_options(source: DataSource, options: list[str]) -> DataSource:
    """Change fields of a source by `FIELD=VALUE`; the contract checks names and values."""
    pairs = [option.partition("=") for option in options]
    unreadable = next((field for field, equals, _ in pairs if not equals), None)
    if unreadable is not None:
        raise InvalidRequest(f"`{unreadable}` is not FIELD=VALUE", field="option")
    return type(source).model_validate({**source.model_dump(), **{field: value for field, _, value in pairs}})


@nouns.command("add")
def add(
    context: typer.Context,
    path: Annotated[
        str, typer.Argument(help="Folder, .parquet, .tar, .zip or .jsonl; `demo`, `scenes` or `corpus` is built in.")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the dataset; default: the file's or folder's.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="FIELD=VALUE of the source, such as n=500 or strength=0.8; repeatable.")
    ] = None,
    kind: Annotated[str, typer.Option(help="pictures or text: what a folder or Parquet file holds.")] = "pictures",
    json: Json = False,
) -> None:
    """Register pictures or text as a dataset."""
    if kind not in {"pictures", "text"}:
        raise typer.BadParameter("kind is pictures or text")
    at = desk(context)
    source = with_options(source_of(at, path, on_server=False, text=kind == "text"), option or [])
    registration = DatasetRegistration(name=name or Path(path).stem, source=source)
    job = follow(at, at.jobs.register_dataset(at.caller, registration), quiet=json)
    dataset = at.data.dataset(at.caller, job.result or registration.name)
    if json:
        show_json(dataset)
        return
    if dataset.kind == "text":
        held = f"{dataset.ref.n} windows of {dataset.n_groups} documents"
    else:
        held = f"{dataset.ref.n} pictures, {len(dataset.labels)} labels"
    typer.echo(f"{dataset.ref.id}  {dataset.ref.name}: {held}")
    if dataset.n_rejected:
        typer.echo(f"{dataset.n_rejected} file(s) skipped: `xsys dataset rejected {dataset.ref.name}` says why")
    if dataset.n_duplicates:
        typer.echo(f"{dataset.n_duplicates} sample(s) are duplicates of earlier ones")


@nouns.command("list")
def listing(context: typer.Context, limit: int = 50, cursor: str | None = None, json: Json = False) -> None:
    """List the datasets."""
    at = desk(context)
    page = at.data.datasets(at.caller, limit, cursor)
    if json:
        show_json(page)
        return
    show_table(
        ("id", "name", "samples", "labels", "captions", "skipped", "source"),
        ((d.ref.id, d.ref.name, d.ref.n, len(d.labels), d.n_captions, d.n_rejected, d.source) for d in page.items),
    )


@nouns.command("show")
def show(context: typer.Context, dataset: str, json: Json = False) -> None:
    """Show one dataset."""
    at = desk(context)
    found = at.data.dataset(at.caller, dataset)
    if json:
        show_json(found)
        return
    what = "windows of text" if found.kind == "text" else "pictures"
    typer.echo(f"{found.ref.id}  {found.ref.name}: {found.ref.n} {what} from {found.source}")
    typer.echo(f"  labels      {', '.join(found.labels) or '–'}")
    typer.echo(f"  captions    {found.n_captions}   groups {found.n_groups}")
    typer.echo(f"  duplicates  {found.n_duplicates}   skipped {found.n_rejected}")


@nouns.command("samples")
def samples(
    context: typer.Context, dataset: str, limit: int = 50, cursor: str | None = None, json: Json = False
) -> None:
    """List the samples of a dataset."""
    at = desk(context)
    page = at.data.samples(at.caller, dataset, limit, cursor)
    if json:
        show_json(page)
        return
    show_table(
        ("index", "name", "label", "caption", "size", "group"),
        ((s.index, s.name, s.label, s.caption, f"{s.width}×{s.height}", s.group) for s in page.items),
    )
    if page.next:
        typer.echo(f"more: --cursor {page.next}")


@nouns.command("passages")
def passages(
    context: typer.Context,
    dataset: str,
    split: Annotated[str | None, typer.Option(help="train, validation or test; default: all.")] = None,
    limit: int = 20,
    cursor: str | None = None,
    json: Json = False,
) -> None:
    """List the windows of a text corpus."""
    at = desk(context)
    wanted = None if split is None else TypeAdapter(Split).validate_python(split)
    page = at.data.passages(at.caller, dataset, wanted, limit, cursor)
    if json:
        show_json(page)
        return
    rows = ((p.index, p.document, p.start, p.split, p.licence, " ".join(p.text.split())[:60]) for p in page.items)
    show_table(("index", "document", "from", "split", "licence", "text"), rows)
    if page.next:
        typer.echo(f"more: --cursor {page.next}")


@nouns.command("rejected")
def rejected(
    context: typer.Context, dataset: str, limit: int = 50, cursor: str | None = None, json: Json = False
) -> None:
    """List the files that were skipped, with reasons."""
    at = desk(context)
    page = at.data.rejected(at.caller, dataset, limit, cursor)
    if json:
        show_json(page)
        return
    show_table(("file", "reason", "detail"), ((r.name, r.reason, r.detail) for r in page.items))
