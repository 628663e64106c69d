"""`xsys label`: name components, look at the names, compare the scorers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InvalidRequest
from contracts.labels import ComponentLabels, Estimate, LabelRequest, Leaderboard
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

KNOWN = ("imagenet-1k", "imagenet-22k", "classes", "captions")
nouns = typer.Typer(no_args_is_help=True, help="Names of components, each judged on samples that did not make it.")
Labels = Annotated[str | None, typer.Option(help="Id (`l_...`) of a label set; default: the newest.")]


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="label")


@nouns.command("build")
def build(
    context: typer.Context,
    snapshot: str,
    layer: Annotated[list[str] | None, typer.Option(help="A layer; may be repeated. Default: all.")] = None,
    vocabulary: Annotated[
        str, typer.Option(help=f"{', '.join(KNOWN)}, or a text file with one name a line.")
    ] = "imagenet-1k",
    scorer: Annotated[list[str] | None, typer.Option(help="Such as csp or csp:gamma=0.5; may be repeated.")] = None,
    text: Annotated[str, typer.Option(help="How names become vectors: csp, csp-unit, null, bare.")] = "csp",
    template: Annotated[list[str] | None, typer.Option(help="With one {}; may be repeated.")] = None,
    positives: Annotated[int, typer.Option(help="Examples that make a label.")] = 30,
    candidates: Annotated[
        str | None,
        typer.Option(help="positive or contrastive: let the vision-language model of XSYS_VLM_… propose names too."),
    ] = None,
    concepts: Annotated[int, typer.Option(help="Names that it is asked for.")] = 3,
    canvas: Annotated[int, typer.Option(help="Side in pixels of a grid that it is shown.")] = 384,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Label the components of a snapshot. What is there already is reused."""
    at = desk(context)
    asked: dict[str, object] = {
        "snapshot": snapshot, "layers": layer, "text": text, "templates": template, "positives": positives,
        "candidates": candidates and {"grid": candidates, "names": concepts, "canvas": canvas}, "seed": seed,
        **_vocabulary(vocabulary), **({"scorers": scorer} if scorer else {}),
    }  # fmt: skip
    job = follow(at, at.jobs.build_labels(at.caller, LabelRequest.model_validate(asked)), quiet=json)
    board = at.explanation.leaderboard(at.caller, snapshot, str(job.result))
    show_json(board) if json else show_leaderboard(board)


def _vocabulary(text: str) -> dict[str, object]:
    """Read the option: one of the known names, or a file of the user."""
    if text in KNOWN:
        return {"vocabulary": text}
    path = Path(text)
    if not path.is_file():
        raise InvalidRequest(f"{text} is neither a known vocabulary nor a file", field="vocabulary", known=list(KNOWN))
    return {"vocabulary": "list", "names": path.read_text(encoding="utf-8").splitlines()}


@nouns.command("list")
def listing(context: typer.Context, snapshot: str, json: Json = False) -> None:
    """List the label sets of a snapshot, newest first."""
    at = desk(context)
    page = at.explanation.labels(at.caller, snapshot)
    if json:
        show_json(page)
        return
    rows = (
        (
            s.id,
            f"{s.vocabulary.source} ({s.vocabulary.n})",
            "–" if s.candidates is None else f"{s.candidates.model} ({sum(one.added for one in s.candidates.layers)})",
            ", ".join(s.scorers),
            f"{s.created_at:%Y-%m-%d %H:%M}",
        )
        for s in page.items
    )
    show_table(("id", "vocabulary", "candidates", "scorers", "built"), rows)


@nouns.command("show")
def show(
    context: typer.Context,
    snapshot: str,
    layer: str,
    index: int,
    sign: Annotated[int, typer.Option(help="1 or -1")] = 1,
    labels: Labels = None,
    json: Json = False,
) -> None:
    """Show what every scorer calls a component."""
    if sign not in (1, -1):
        raise typer.BadParameter("1 or -1", param_hint="--sign")
    at = desk(context)
    found = at.explanation.component_labels(at.caller, snapshot, layer, index, 1 if sign > 0 else -1, labels)
    show_json(found) if json else show_labels(found)


@nouns.command("leaderboard")
def leaderboard(context: typer.Context, snapshot: str, labels: Labels = None, json: Json = False) -> None:
    """Compare the scorers of each layer on held-out samples."""
    at = desk(context)
    board = at.explanation.leaderboard(at.caller, snapshot, labels)
    show_json(board) if json else show_leaderboard(board)


def show_labels(found: ComponentLabels) -> None:
    """Print the labels of one component; a star marks names that a vision-language model proposed."""
    rows = (
        (
            one.scorer,
            one.status,
            "; ".join(f"{label.text}{' *' * (label.origin == 'candidate')}" for label in one.labels),
            one.margin,
            one.evaluation.correlation,
            _span(one.evaluation.low, one.evaluation.high),
        )
        for one in found.scorers
    )
    title = f"{found.layer} {found.index}{'' if found.sign > 0 else '−'}: {found.status}, {found.n_valid} examples"
    show_table(("scorer", "status", "labels", "margin", "correlation", "95 %"), rows, title=title)
    if found.candidates:
        show_table(("proposed for it",), ((name,) for name in found.candidates))


def show_leaderboard(board: Leaderboard) -> None:
    """Print the leaderboard of each layer."""
    columns = ("scorer", "correlation", "95 %", "AUPRC", "95 %", "F1", "95 %", "labelled", "unsure")
    for layer in board.layers:
        rows = (
            (
                f"({row.scorer})" if row.control else row.scorer,
                *(part for figure in (row.correlation, row.auprc, row.f1) for part in _estimate(figure)),
                row.labelled,
                row.unsure,
            )
            for row in layer.rows
        )
        show_table(columns, rows, title=f"{layer.layer}: judged on {layer.held_out} held-out samples")


def _estimate(figure: Estimate | None) -> tuple[float | None, str]:
    return (None, "–") if figure is None else (figure.value, _span(figure.low, figure.high))


def _span(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.3g} to {high:.3g}"
