"""`xsys demo`: the main job on real pictures with a real ImageNet model, then the searches, then the server."""

from __future__ import annotations

import base64
import enum
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from contracts.data import DatasetRegistration, DemoSource
from contracts.explanation import PictureTerm, SearchQuery, TextTerm
from contracts.model import ModelRegistration
from contracts.snapshots import SnapshotRequest
from orchestration.cli import clever_hans, language_demo
from orchestration.cli.desk import Desk, local_desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_hits, show_json
from orchestration.cli.serve import run_server
from services.kit.settings import load_settings

NAME = "demo"
MODEL = "efficientnet-lite0"
LAYERS = ["blocks.1", "blocks.3", "blocks.5", "conv_head", "classifier"]
TEXTS = ["a cat", "a rocket", "a clock", "a cup of coffee", "a palace", "a flower"]


def attach(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("demo")(demo)


def build_demo(desk: Desk, *, quiet: bool = False) -> str:
    """Register the demo's pictures and model, build its snapshot, and return the snapshot's id."""
    with desk.worker():
        pictures = DatasetRegistration(name=NAME, source=DemoSource())
        model = ModelRegistration(name=MODEL, architecture="timm:tf_efficientnet_lite0", licence="Apache-2.0")
        follow(desk, desk.jobs.register_dataset(desk.caller, pictures), quiet=quiet)
        follow(desk, desk.jobs.register_model(desk.caller, model), quiet=quiet)
        job = follow(desk, desk.jobs.build_snapshot(desk.caller, demo_request()), quiet=quiet)
    return str(job.result)


def demo_request() -> SnapshotRequest:
    """Ask for five layers of the demo's model, from early to the classifier."""
    return SnapshotRequest(model=MODEL, dataset=NAME, layers=LAYERS, name=NAME)


def search_demo(desk: Desk, snapshot: str) -> None:
    """Print six text searches and one picture search with their hits."""
    for text in TEXTS:
        query = SearchQuery(terms=[TextTerm(text=text)], k=5)
        show_hits(desk.explanation.search(desk.caller, snapshot, query), title=f"\nsearch “{text}”")
    sample = next(s for s in desk.data.samples(desk.caller, NAME, 200).items)
    picture = desk.data.picture(desk.caller, NAME, sample.index).body
    query = SearchQuery(terms=[PictureTerm(picture=base64.b64encode(picture))], k=5)
    show_hits(
        desk.explanation.search(desk.caller, snapshot, query),
        title=f"\nsearch by a picture: sample #{sample.index}, {sample.label}",
    )


class Which(enum.StrEnum):
    """The demonstrations that there are."""

    PHOTOGRAPHS = "photographs"
    CLEVER_HANS = "clever-hans"
    LANGUAGE = "language"


def demo(
    which: Annotated[
        Which,
        typer.Argument(
            help="photographs: a real model; clever-hans: a misled one, against the truth; language: labels of one "
            "language model carried over to another."
        ),
    ] = Which.PHOTOGRAPHS,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Stop after the searches.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the server afterwards.")] = None,
    windows: Annotated[int, typer.Option(help="language: windows of text that both models read.")] = 2000,
    json: Annotated[bool, typer.Option("--json", help="Print the snapshot (or alignment) as JSON and stop.")] = False,
) -> None:
    """Explain a model on pictures, search it, and open the browser UI: a real one, or one that was misled."""
    begun = time.perf_counter()
    desk = local_desk()
    settings = load_settings()
    if which is Which.LANGUAGE:
        _language(desk, settings.home.absolute() / "language-pair", windows=windows, json=json)
    else:
        _pictures(desk, settings.home.absolute(), which is Which.CLEVER_HANS, begun, json=json)
    if not no_serve and not json:
        run_server(settings if port is None else settings.model_copy(update={"port": port}))


def _language(desk: Desk, folder: Path, *, windows: int, json: bool) -> None:
    from orchestration.bootstrap import language_pair

    installed = all(find_spec(package) for package in (language_demo.ATLAS, language_demo.SUBJECT))
    if not installed and not json:
        typer.echo("SmolLM2 and Gemma are not both installed: a tiny pair of models is trained instead")
    real = language_demo.real_plan(windows) if installed else None
    plan = real or language_demo.tiny_plan(folder, language_pair, windows)
    found = language_demo.build(desk, plan, quiet=json)
    show_json(found) if json else language_demo.show(desk, plan, found)


def _pictures(desk: Desk, home: Path, hans: bool, begun: float, *, json: bool) -> None:
    snapshot = clever_hans.build(desk, home / "controlled", quiet=json) if hans else build_demo(desk, quiet=json)
    if json:
        show_json(desk.explanation.snapshot(desk.caller, snapshot))
        return
    if hans:
        clever_hans.show(desk, snapshot, home / "clever-hans.png")
    else:
        search_demo(desk, snapshot)
    typer.echo(f"\nsnapshot {snapshot} ready after {time.perf_counter() - begun:.0f} s")
    example = clever_hans.PROMPT if hans else "a striped animal"
    typer.echo(f'try: xsys search "{example}"    xsys snapshot show {snapshot}')
