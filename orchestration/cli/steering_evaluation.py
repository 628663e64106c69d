"""`xsys steering`: what steering a language model gains and costs, arm by arm."""

from __future__ import annotations

import csv as tables
from pathlib import Path
from typing import Annotated

import typer

from contracts.attribution_evaluation import Spread
from contracts.errors import UnreadableSource
from contracts.steering_evaluation import SteeringArm, SteeringEvaluation, SteeringEvaluationRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

nouns = typer.Typer(no_args_is_help=True, help="Ways of steering a language model, judged by concept and fluency.")
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Also write a line for every arm and strength.")]
FIGURES = ("rate", "gain", "fluency")


def attach(app: typer.Typer) -> None:
    """Add these commands to the command tree."""
    app.add_typer(nouns, name="steering")


@nouns.command("evaluate")
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Id or name of a language model.")],
    concept: Annotated[list[str], typer.Option(help="NAME=FILE, a text of the concept a line; may be repeated.")],
    others: Annotated[Path, typer.Option(help="File with a text a line that is of none of the concepts.")],
    atlas: Annotated[str | None, typer.Option(help="Atlas of this model: the native arm.")] = None,
    alignment: Annotated[str | None, typer.Option(help="Alignment with this subject: translated arms.")] = None,
    map: Annotated[list[str] | None, typer.Option(help="write, cov or read; may be repeated.")] = None,
    layer: Annotated[str | None, typer.Option(help="Of random and mean difference; default: the atlas's.")] = None,
    strength: Annotated[list[float] | None, typer.Option(help="In median norms; may be repeated.")] = None,
    latents: Annotated[int, typer.Option(help="Latents that a concept's name may choose.")] = 3,
    samples: Annotated[int, typer.Option(help="Continuations a prompt.")] = 2,
    directions: Annotated[int, typer.Option(help="Random directions.")] = 2,
    max_tokens: int = 40,
    refuse_leaks: Annotated[bool, typer.Option(help="Refuse words that chose latents; else they are hidden.")] = False,
    seed: int = 0,
    csv: CsvFile = None,
    json: Json = False,
) -> None:
    """Steer by every arm over prompts and strengths, and judge the texts; a kill costs one arm at one strength."""
    at = desk(context)
    concepts = []
    for each in concept:
        name, _, file = each.partition("=")
        concepts.append({"name": name, "texts": _lines(Path(file), "concept")})
    told = {
        "model": model, "concepts": concepts, "others": _lines(others, "others"), "atlas": atlas,
        "alignment": alignment, "layer": layer, "m": latents, "samples": samples, "directions": directions,
        "max_tokens": max_tokens, "guard": "refuse" if refuse_leaks else "remove", "seed": seed,
        **({"maps": map} if map else {}), **({"strengths": sorted(strength)} if strength else {}),
    }  # fmt: skip
    job = follow(
        at, at.jobs.evaluate_steering(at.caller, SteeringEvaluationRequest.model_validate(told)), quiet=json
    )  # fmt: skip
    _shown(at.jobs.steering_evaluation(at.caller, job.id), csv, json=json)


@nouns.command("show")
def show(context: typer.Context, job: str, csv: CsvFile = None, json: Json = False) -> None:
    """Show what an evaluation job found."""
    at = desk(context)
    _shown(at.jobs.steering_evaluation(at.caller, job), csv, json=json)


@nouns.command("list")
def list_(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Id or name of a language model.")],
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json: Json = False,
) -> None:
    """List what evaluations of a model recommend: strengths, in median norms of the layer, by arm."""
    at = desk(context)
    found = at.jobs.steering_evaluations(at.caller, model, limit)
    if json:
        return show_json(found)
    rows = [
        (each.job, ", ".join(each.concepts), one.layer or "-", *_arm(one)) for each in found.items for one in each.arms
    ]
    columns = (
        "job",
        "concepts",
        "layer",
        "arm",
        "recommended strengths",
        "held out: strength",
        "gain",
        "fluency share",
    )
    show_table(columns, rows)
    if not rows:
        typer.echo("nothing was measured yet: `xsys steering evaluate` does")


def _shown(found: SteeringEvaluation, csv: Path | None, *, json: bool) -> None:
    if csv is not None:
        write_csv(csv, found)
    show_json(found) if json else show_evaluation(found)


def _lines(path: Path, field: str) -> list[str]:
    """The lines of a file that are not blank. Raises `UnreadableSource`."""
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableSource(f"{path} is no readable text file", field=field) from error


def show_evaluation(found: SteeringEvaluation) -> None:
    """Print the settings, * on the front; then where each arm works, and what it gains on other prompts."""
    if found.request is None:
        typer.echo("nothing was judged yet")
        return
    rows = [
        (
            one.arm, _number(one.strength), f"{_spread(one.rate)}{'*' if one.front else ''}", _spread(one.gain),
            _number(one.fluency.mean), _number(one.perplexity, 1), _number(one.repeated),
        )
        for one in found.settings
    ]  # fmt: skip
    columns = ("arm", "strength", "concept rate", "gain", "fluency", "perplexity", "repeats")
    show_table(columns, rows, title="* nothing else has more of both concept and fluency")
    typer.echo()
    show_table(
        ("arm", "recommended strengths", "held out: strength", "gain", "fluency of unsteered"),
        [_arm(one) for one in found.arms], title="strength chosen on half of the prompts, gain on the other half",
    )  # fmt: skip
    for concept in found.concepts:
        typer.echo(
            f"judge of “{concept.name}”: recall {concept.recall:.2f}, false positives {concept.false_positives:.2f}, "
            f"{len(concept.removed)} words hidden from it"
        )


def _arm(one: SteeringArm) -> tuple[str, ...]:
    where = f"{one.window.low:g} to {one.window.high:g}" if one.window else ""
    where = f"none: {one.no_window.detail}" if one.no_window else where
    held = one.held_out
    if held is None:
        return one.arm, where, "-", "-", "-"
    return one.arm, where, _number(held.strength), _spread(held.gain), _number(held.fluency_share)


def write_csv(path: Path, found: SteeringEvaluation) -> None:
    """Write a line for every arm and strength."""
    names = ["clearly", "fluency_share", "relevance", "total", "perplexity", "distinct", "repeated", "front"]
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = tables.writer(out)
        rows.writerow(
            ["arm", "strength", "n", *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")), *names]
        )
        for one in found.settings:
            spreads: list[Spread | None] = [getattr(one, name) for name in FIGURES]
            cells = [(each.mean, each.low, each.high) if each else ("", "", "") for each in spreads]
            values = [getattr(one, name) for name in names]
            rows.writerow([one.arm, one.strength, one.n, *(cell for three in cells for cell in three), *values])


def _spread(value: Spread | None) -> str:
    return "-" if value is None else f"{value.mean:.2f} ({value.low:.2f} to {value.high:.2f})"


def _number(value: float | None, decimals: int = 2) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
