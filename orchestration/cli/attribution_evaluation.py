"""`xsys attribution`: how well attribution methods do over many samples."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.attribution_evaluation import AttributionEvaluation, EvaluationFigure, EvaluationRequest
from orchestration.cli.app import Json, desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_json, show_table

SHORT = {
    "pointing_game": "pointing", "mass_accuracy": "mass", "rank_accuracy": "rank", "auc": "AUC",
    "top_k_intersection": "top-k", "effective_complexity": "in use",
}  # fmt: skip
nouns = typer.Typer(no_args_is_help=True, help="Attribution methods, judged over a dataset.")


def attach(app: typer.Typer) -> None:
    """Add these commands to the command tree."""
    app.add_typer(nouns, name="attribution")


@nouns.command("evaluate")
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Id or name of a model.")],
    dataset: Annotated[str, typer.Option(help="Id or name of a dataset of pictures.")],
    method: Annotated[list[str] | None, typer.Option(help="A method; may be repeated.")] = None,
    mask: Annotated[str | None, typer.Option(help="Mask of what the cause is; without it, no localisation.")] = None,
    samples: Annotated[int, typer.Option(help="How many samples, drawn by the seed.")] = 64,
    target: Annotated[str, typer.Option(help="prediction or label: the output that is explained.")] = "prediction",
    right_only: Annotated[bool, typer.Option(help="Leave out samples that the model gets wrong.")] = False,
    patch: Annotated[int | None, typer.Option(help="Side of patches that are judged as well, in pixels.")] = None,
    top: Annotated[float, typer.Option(help="Share of features that top-k looks at.")] = 0.02,
    steps: Annotated[int, typer.Option(help="Steps of deletion and insertion; 0 leaves them out.")] = 16,
    draws: Annotated[int, typer.Option(help="Noisy copies that stability is judged on; 0 leaves it out.")] = 0,
    noise: Annotated[float, typer.Option(help="Their standard deviation.")] = 0.1,
    fallback: Annotated[str, typer.Option(help="error or gradient: at an operation without a rule.")] = "error",
    seed: Annotated[int, typer.Option(help="Seed of the samples, the noise and the intervals.")] = 0,
    json: Json = False,
) -> None:
    """Judge methods side by side, each figure with a 95 % interval."""
    at = desk(context)
    told = {
        "model": model, "dataset": dataset, "mask": mask, "samples": samples, "target": target,
        "right_only": right_only, "patch": patch, "top": top, "steps": steps, "draws": draws, "noise": noise,
        "fallback": fallback, "seed": seed, **({"methods": method} if method else {}),
    }  # fmt: skip
    body = EvaluationRequest.model_validate(told)
    job = follow(at, at.jobs.evaluate_attributions(at.caller, body), quiet=json)
    found = at.jobs.attribution_evaluation(at.caller, job.id)
    show_json(found) if json else show_evaluation(found)


@nouns.command("show")
def show(context: typer.Context, job: str, json: Json = False) -> None:
    """Show what an evaluation job found."""
    at = desk(context)
    found = at.jobs.attribution_evaluation(at.caller, job)
    show_json(found) if json else show_evaluation(found)


def show_evaluation(found: AttributionEvaluation) -> None:
    """Print a table a group of figures: methods down, figures across; * the best, ~ not told apart from it."""
    if found.request is None:
        typer.echo("nothing was judged yet")
        return
    rightly = "" if found.right is None else f", {found.right} of them predicted rightly"
    typer.echo(f"{found.samples} samples{rightly}; * best, ~ within its interval")
    groups: dict[tuple[str | None, str | None], list[EvaluationFigure]] = {}
    for figure in found.figures:
        groups.setdefault((figure.resolution, figure.evidence), []).append(figure)
    for (resolution, evidence), figures in groups.items():
        metrics = list(dict.fromkeys(figure.metric for figure in figures))
        cells = {(figure.method, figure.metric): _cell(figure) for figure in figures}
        methods = list(dict.fromkeys(figure.method for figure in figures))
        rows = [(method, *(cells.get((method, metric), "") for metric in metrics)) for method in methods]
        title = f"by {resolution}, {evidence} relevance" if resolution else "faithfulness, stability, sparsity"
        show_table(("method", *(SHORT.get(metric, metric) for metric in metrics)), rows, title=title)


def _cell(figure: EvaluationFigure) -> str:
    if figure.value is None:
        return "-"
    tied = figure.behind is not None and figure.behind.low <= 0
    mark = "*" if figure.best else "~" if tied else " "
    return f"{figure.value.mean:.{3 if abs(figure.value.mean) < 100 else 0}f}{mark}"
