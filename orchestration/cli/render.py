"""How answers look in a terminal: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table

from contracts.base import Contract
from contracts.explanation import Component, ComponentDetail, ExampleRange, SearchHits
from contracts.snapshots import Example, Snapshot


def show_json(answer: Contract | dict[str, object]) -> None:
    """Print an answer as JSON on stdout."""
    typer.echo(answer.model_dump_json(indent=2) if isinstance(answer, Contract) else json.dumps(answer, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table; on a pipe it is as wide as its content."""
    console = Console(soft_wrap=True) if not Console().is_terminal else Console()
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in NUMERIC else "left")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    console.print(table)


NUMERIC = {"score", "z", "clarity", "n", "pictures", "components", "dead", "parameters", "width", "done", "share"}


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def examples_text(examples: Sequence[Example], most: int = 6) -> str:
    """Examples in one line: label if there is one, else the sample's number; repeated names are counted."""
    names = [example.label or f"#{example.sample}" for example in examples[:most]]
    counts = {name: names.count(name) for name in names}
    return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in counts.items())


def show_hits(hits: SearchHits, *, title: str | None = None) -> None:
    """Print search hits, best first."""
    rows = (
        (
            hit.component.layer,
            f"{hit.component.index}{'' if hit.component.sign > 0 else '−'}",
            hit.score,
            hit.z,
            hit.clarity,
            examples_text(hit.examples),
        )
        for hit in hits.hits
    )
    show_table(("layer", "component", "score", "z", "clarity", "examples"), rows, title=title)


def show_snapshot(snapshot: Snapshot) -> None:
    """Print a snapshot's facts and the figures of its layers."""
    typer.echo(f"{snapshot.id}  {snapshot.name}")
    typer.echo(f"  model    {snapshot.model.name} ({snapshot.model.architecture}, {snapshot.model.id})")
    typer.echo(f"  dataset  {snapshot.dataset.name}, {snapshot.dataset.n} pictures ({snapshot.dataset.id})")
    typer.echo(f"  encoder  {snapshot.encoder.name}: {snapshot.encoder.note}")
    if snapshot.request.crop != "none":
        shares = ", ".join(
            f"{layer.name} {layer.crop_share:.0%}" for layer in snapshot.layers if layer.crop_share is not None
        )
        typer.echo(f"  crops    by {snapshot.request.crop}; median share of the picture: {shares}")
    if snapshot.request.relevance is not None:
        typer.echo(f"  examples by {snapshot.request.rank_by}; relevance by the rule {snapshot.request.relevance}")
    recall = ", ".join(f"{kind} {value:.3f}" for kind, value in snapshot.index.recall_at_20.items())
    typer.echo(f"  index    {snapshot.index.kind}, {snapshot.index.n} rows, recall@20 {recall}")
    show_table(
        ("layer", "width", "components", "dead", "clarity", "null", "pooling"),
        (
            (
                layer.name,
                layer.width,
                layer.components,
                layer.dead + layer.insufficient_evidence,
                layer.clarity_mean,
                layer.clarity_null,
                layer.pooling,
            )
            for layer in snapshot.layers
        ),
    )


def show_components(components: Sequence[Component]) -> None:
    """Print components with their metrics."""
    show_table(
        ("layer", "component", "state", "clarity", "clarity z", "polysemanticity", "redundancy", "maximum"),
        (
            (
                component.ref.layer,
                component.ref.index * 1 if component.ref.sign > 0 else f"{component.ref.index}−",
                component.state,
                component.clarity,
                component.clarity_z,
                component.polysemanticity,
                component.redundancy,
                component.maximum,
            )
            for component in components
        ),
    )


def show_range(found: ExampleRange) -> None:
    """Print the stretches of a component's activations with their examples."""
    show_table(
        ("activation", "samples", "share", "examples"),
        (
            (f"{one.low:.4g} to {one.high:.4g}", one.n, f"{one.n / found.n:.1%}", examples_text(one.examples))
            for one in found.sets
        ),
    )


def _show_examples(title: str, examples: Sequence[Example]) -> None:
    relevant = any(example.relevance is not None for example in examples)
    rows = ((one.sample, one.label, one.activation, *([one.relevance] if relevant else [])) for one in examples)
    show_table((title, "label", "activation", *(["relevance"] if relevant else [])), rows)


def show_component(detail: ComponentDetail) -> None:
    """Print one component: metrics, examples, prototypes, nearest components."""
    show_components([detail.component])
    _show_examples("examples", detail.examples)
    if detail.others:
        by_relevance = detail.others[0].relevance is not None
        _show_examples("by relevance" if by_relevance else "by activation", detail.others)
    for number, prototype in enumerate(detail.prototypes):
        members = [detail.examples[place] for place in prototype.members]
        typer.echo(f"prototype {number}  {prototype.share:.0%}  {examples_text(members)}")
    show_table(
        ("nearest", "component", "score"),
        ((near.component.layer, near.component.index, near.score) for near in detail.nearest),
    )
