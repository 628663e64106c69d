"""`xsys dataset`: register pictures and look at what was registered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

BUILT_IN: dict[str, type[DemoSource] | type[ScenesSource]] = {"demo": DemoSource, "scenes": ScenesSource}
nouns = typer.Typer(no_args_is_help=True, help="Pictures: folders, Parquet files, WebDataset tars, zips.")


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="dataset")


def source_of(desk: Desk, path: str, *, on_server: bool) -> DataSource:
    """Guess the kind of source from the path; a zip is uploaded first."""
    if path in BUILT_IN:
        return BUILT_IN[path]()
    place = Path(path)
    if place.suffix == ".zip" and not on_server:
        received = desk.data.upload(desk.caller, place.read_bytes())
        return UploadSource(upload=received.upload)
    absolute = str(place if on_server else place.absolute())
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
        str, typer.Argument(help="Folder, .parquet, .tar (WebDataset) or .zip; `demo` or `scenes` for a built-in one.")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the dataset; default: the file's or folder's.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="FIELD=VALUE of the source, such as n=500 or strength=0.8; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Register pictures as a dataset."""
    at = desk(context)
    source = with_options(source_of(at, path, on_server=False), option or [])
    registration = DatasetRegistration(name=name or Path(path).stem, source=source)
    job = follow(at, at.jobs.register_dataset(at.caller, registration), quiet=json)
    dataset = at.data.dataset(at.caller, job.result or registration.name)
    if json:
        show_json(dataset)
        return
    typer.echo(f"{dataset.ref.id}  {dataset.ref.name}: {dataset.ref.n} pictures, {len(dataset.labels)} labels")
    if dataset.n_rejected:
        typer.echo(f"{dataset.n_rejected} file(s) skipped: `xsys dataset rejected {dataset.ref.name}` says why")
    if dataset.n_duplicates:
        typer.echo(f"{dataset.n_duplicates} picture(s) are duplicates of earlier ones")


@nouns.command("list")
def listing(context: typer.Context, limit: int = 50, cursor: str | None = None, json: Json = False) -> None:
    """List the datasets."""
    at = desk(context)
    page = at.data.datasets(at.caller, limit, cursor)
    if json:
        show_json(page)
        return
    show_table(
        ("id", "name", "pictures", "labels", "captions", "skipped", "source"),
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
    typer.echo(f"{found.ref.id}  {found.ref.name}: {found.ref.n} pictures from {found.source}")
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
