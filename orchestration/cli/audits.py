"""`xsys audit`: what a class may rest on, as a policy in a file and a check that can fail a build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from contracts.audit import (
    LONGEST_POLICY,
    Audit,
    AuditFinding,
    AuditRequest,
    BadPolicy,
    SignOffRequest,
)
from contracts.corrections import Correction, CorrectionRequest, Retraining
from contracts.errors import InvalidRequest
from contracts.labels import Estimate
from orchestration.cli.app import USAGE, Json, desk, refusal_text
from orchestration.cli.desk import Desk
from orchestration.cli.progress import follow
from orchestration.cli.render import examples_text, show_json, show_table

VIOLATED = 1
SHOWN = 20
UNJUDGED = 0.25  # share of relevance from which the table says that it was not judged
nouns = typer.Typer(no_args_is_help=True, help="What a class may rest on, checked against what it rests on.")
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML here, a test case for each limit.")]
Html = Annotated[Path | None, typer.Option(help="Write one HTML page with pictures here.")]


def attach(app: typer.Typer) -> None:
    """Add this noun to the command tree."""
    app.add_typer(nouns, name="audit")


@nouns.command("init")
def init(
    context: typer.Context,
    snapshot: str,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here instead of to stdout.")] = None,
    json: Json = False,
) -> None:
    """Write a commented policy for the classes of a snapshot's model."""
    at = desk(context)
    found = at.audit.audit_policy(at.caller, snapshot)
    if json:
        show_json(found)
    elif output is None:
        typer.echo(found.yaml, nl=False)
    elif output.exists():
        raise InvalidRequest(f"{output} is there already; nothing was written", field="output")
    else:
        output.write_text(found.yaml, encoding="utf-8")
        typer.echo(f"wrote {output}")


@nouns.command("run")
def run(
    context: typer.Context,
    policy: Annotated[Path, typer.Argument(help="YAML file; `xsys audit init` writes one.")],
    snapshot: Annotated[str, typer.Option(help="Id or name of a snapshot.")],
    junit: Junit = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """Judge a snapshot: exit code 0 when all limits hold, 1 when one does not, 2 for an unusable policy."""
    at = desk(context)
    try:
        job = at.jobs.audit(at.caller, AuditRequest(snapshot=snapshot, yaml=read_policy(policy)))
    except BadPolicy as refusal:
        typer.echo(f"{policy}: {refusal_text(refusal)}", err=True)
        raise typer.Exit(USAGE) from refusal
    found = at.audit.audit(at.caller, str(follow(at, job, quiet=json).result))
    export(at, found.id, junit, html)
    show_json(found) if json else show_audit(found)
    if not found.passed:
        raise typer.Exit(VIOLATED)


def read_policy(path: Path) -> str:
    """Read a policy file. Raises `BadPolicy` for what is no file, no UTF-8 text, empty, or far too long."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPolicy(f"cannot be read: {error}", line=None) from error
    if not text or len(text) > LONGEST_POLICY:
        raise BadPolicy(f"it has {len(text)} characters; 1 to {LONGEST_POLICY} are read", line=None)
    return text


def export(at: Desk, audit: str, junit: Path | None, html: Path | None) -> None:
    """Write the reports that were asked for."""
    for path, kind in ((junit, "junit"), (html, "html")):
        if path is not None:
            report = at.audit.audit_report(at.caller, audit, cast(Literal["html", "junit"], kind))
            path.write_bytes(report.body)


@nouns.command("list")
def listing(context: typer.Context, limit: int = 20, json: Json = False) -> None:
    """List audits, newest first."""
    at = desk(context)
    page = at.audit.audits(at.caller, limit)
    if json:
        show_json(page)
        return
    rows = (
        (
            one.id,
            one.snapshot_name,
            "passed" if one.passed else f"failed ({one.violations})",
            one.classes,
            one.flagged,
            one.sign_offs[-1].verdict if one.sign_offs else None,
            f"{one.created_at:%Y-%m-%d %H:%M}",
        )
        for one in page.items
    )
    show_table(("id", "snapshot", "result", "classes", "flagged", "decision", "run"), rows)


@nouns.command("show")
def show(context: typer.Context, audit: str, junit: Junit = None, html: Html = None, json: Json = False) -> None:
    """Show one audit."""
    at = desk(context)
    found = at.audit.audit(at.caller, audit)
    export(at, audit, junit, html)
    show_json(found) if json else show_audit(found)


@nouns.command("sign")
def sign(
    context: typer.Context,
    audit: str,
    verdict: Annotated[str, typer.Argument(help="accepted or rejected")],
    note: str = "",
    json: Json = False,
) -> None:
    """Accept or reject an audit's result, under your name; earlier decisions stay."""
    if verdict not in ("accepted", "rejected"):
        raise typer.BadParameter("accepted or rejected", param_hint="VERDICT")
    at = desk(context)
    body = SignOffRequest(verdict=cast(Literal["accepted", "rejected"], verdict), note=note)
    signed = at.audit.sign_off(at.caller, audit, body)
    show_json(signed) if json else typer.echo(f"{audit} {signed.verdict} by {signed.user}, {signed.signed_at:%F %H:%M}")


@nouns.command("repair")
def repair(
    context: typer.Context,
    audit: str,
    name: Annotated[str, typer.Option(help="Name of the new model.")],
    clean: Annotated[str, typer.Option(help="Labelled dataset without the artefact.")],
    artefact: Annotated[str, typer.Option(help="Labelled dataset with it.")],
    layer: Annotated[str | None, typer.Option(help="Default: where flagged components carry most.")] = None,
    readout: Annotated[str | None, typer.Option("--class", help="Default: the same.")] = None,
    loss: Annotated[float, typer.Option(help="Largest fall of the clean accuracy.")] = 0.02,
    retrain: Annotated[
        list[str] | None,
        typer.Option(help="Labelled dataset to train on, with and without the artefact; may be given several times."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of retraining.")] = 400,
    json: Json = False,
) -> None:
    """Suppress what an audit flagged, or retrain against it, and register the result as a model."""
    at = desk(context)
    lesson = Retraining(datasets=retrain, steps=steps) if retrain else None
    body = CorrectionRequest(
        audit=audit, name=name, clean=clean, artefact=artefact, layer=layer, readout=readout, loss=loss, retrain=lesson
    )
    done = follow(at, at.jobs.correct(at.caller, body), quiet=json)
    found = next(one for one in at.audit.corrections(at.caller, audit).items if one.id == done.result)
    show_json(found) if json else show_correction(found)


def show_correction(found: Correction) -> None:
    """Print what a correction changed, beside as many components chosen otherwise."""
    retrained = found.method == "retrain"
    named = "telling" if retrained else "instead"
    held = {
        "before": found.before, "after": found.after, f"random units {named}": found.random,
        f"least active units {named}": found.magnitude, "suppressed, not retrained": found.suppressed,
    }  # fmt: skip
    rows = (
        (title, *map(_estimate, (figures.clean, figures.artefact, figures.separation)))
        for title, figures in held.items()
        if figures is not None
    )
    how = "told which pictures to balance" if retrained else "suppressed"
    title = f"{found.name} ({found.model}): {len(found.units)} of {found.layer} {how}, {found.readout}"
    columns = ("", "clean accuracy", f"with the artefact, not {found.readout}", "AUROC of its score")
    show_table(columns, rows, title=title)


def _estimate(one: Estimate | None) -> str:
    return "" if one is None else f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def show_audit(found: Audit) -> None:
    """Print the limits and the flagged components of an audit."""
    broken = [check for check in found.checks if not check.passed]
    rows = (
        ("holds" if check.passed else "VIOLATED", check.readout, check.layer, check.rule, check.components,
         f"{check.share:.3f}", f"{check.limit:g}")
        for check in sorted(found.checks, key=lambda check: check.passed)[: max(SHOWN, len(broken))]
    )  # fmt: skip
    show_table(("limit", "class", "layer", "components that are", "n", "share", "at most"), rows)
    show_table(
        ("verdict", "class", "component", "share", "effect", "q", "nearest concept", "examples"),
        (_row(finding) for finding in found.findings[:SHOWN]),
        title="\nflagged components, largest share of relevance first",
    )
    if len(found.findings) > SHOWN:
        typer.echo(f"and {len(found.findings) - SHOWN} more: see --json or --html")
    for one in found.readouts:
        unjudged = sum(v.share for v in one.verdicts if v.verdict in ("insufficient_evidence", "unclear"))
        if unjudged > UNJUDGED:
            typer.echo(f"{one.readout}, {one.layer}: {unjudged:.0%} of the relevance lies in components not judged")
    for signed in found.sign_offs:
        typer.echo(f"{signed.verdict} by {signed.user}, {signed.signed_at:%Y-%m-%d %H:%M}: {signed.note}")
    outcome = "passed" if found.passed else f"{len(broken)} of {len(found.checks)} limits are violated"
    typer.echo(f"\naudit {found.id}: {outcome}")


def _row(finding: AuditFinding) -> tuple[object, ...]:
    first = finding.tests[0] if finding.tests else None
    return (
        finding.verdict,
        finding.readout,
        f"{finding.layer} {finding.index}{'' if finding.sign > 0 else '−'}",
        f"{finding.share:.3f}",
        finding.effect,
        None if first is None else first.q,
        None if first is None else first.concept,
        examples_text(finding.examples, 4),
    )
