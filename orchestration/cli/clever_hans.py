"""`xsys demo clever-hans`: a classifier that looks at a tag instead of the shape, and how to find that out.

Everything is generated, so what the search says is set against what each component really detects.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from PIL import Image

from contracts.audit import Audit, AuditRequest
from contracts.data import DatasetRegistration, ScenesSource
from contracts.explanation import PictureTerm, SearchHit, SearchQuery, Term, TextTerm
from contracts.model import ModelRegistration
from contracts.snapshots import SnapshotRequest
from orchestration.cli.desk import Desk
from orchestration.cli.progress import follow
from orchestration.cli.render import show_table
from services.kit.ranking import auroc
from services.kit.scenes import SHAPES, Scene, caption_of, draw_scene, render
from services.kit.scenes.checkpoints import packaged_encoder, packaged_weights

NAME = "clever-hans"
STRENGTH = 1.0
TRAIN = ScenesSource(n=240, strength=STRENGTH)
TEST = ScenesSource(n=800, split="test")
CNN = "entry_point:services.model.controlled.nets:scenes_cnn"
LAYER, LOGITS = "relu4", "head"
ARTEFACT, CLASS = "artefact=tag", "shape=triangle"
PROMPT = "a tag in the corner"
DETECTOR = 0.9
PAIRS = 4
POLICY = f"""\
layers: [{LAYER}]
background: captions
classes:
  triangle:
    valid: [a triangle]
    spurious: [{PROMPT}]
"""
TILE, ACROSS, DOWN = 96, 8, 6


@dataclass(frozen=True)
class Ranking:
    """Components of a layer in the order of a search, and what each really detects.

    Parameters
    ----------
    truth : component -> AUROC for the artefact on held-out scenes.
    """

    title: str
    hits: list[SearchHit]
    truth: dict[int, float]

    @property
    def agreement(self) -> float:
        """AUROC of the search score for being a detector; NaN where none or every component is one."""
        scores = np.array([[hit.score] for hit in self.hits])
        return float(auroc(scores, np.array([self.truth[hit.component.index] >= DETECTOR for hit in self.hits]))[0])


def build(desk: Desk, folder: Path, *, held_out: ScenesSource = TEST, quiet: bool = False) -> str:
    """Register scenes and the misled classifier, build the snapshot on held-out scenes, and return its id.

    Parameters
    ----------
    folder : where the encoder's weights are written out.
    held_out : scenes where the tag says nothing about the class, so that the two can be told apart.
    """
    weights = packaged_weights(f"cnn-{STRENGTH:g}")
    request = SnapshotRequest(
        model=NAME, dataset=f"{NAME}-test", layers=[LAYER, "relu5", LOGITS], encoder=packaged_encoder(folder),
        name=NAME, k=20,
    )  # fmt: skip
    with desk.worker():
        for name, source in ((f"{NAME}-train", TRAIN), (f"{NAME}-test", held_out)):
            registration = DatasetRegistration(name=name, source=source)
            follow(desk, desk.jobs.register_dataset(desk.caller, registration), quiet=quiet)
        model = ModelRegistration(name=NAME, architecture=CNN, weights=str(weights), licence="Apache-2.0")
        follow(desk, desk.jobs.register_model(desk.caller, model), quiet=quiet)
        job = follow(desk, desk.jobs.build_snapshot(desk.caller, request), quiet=quiet)
    return str(job.result)


def truth_of(desk: Desk, snapshot: str, layer: str, factor: str) -> dict[int, float]:
    """AUROC of every component of a layer for a factor, on the snapshot's scenes."""
    scores = desk.explanation.factors(desk.caller, snapshot, layer, factor, 200)
    return {score.component.index: score.auroc for score in scores.components if score.component.sign > 0}


def picture_terms() -> list[Term]:
    """The tag as pictures: scenes with it count for, the same scenes without it count against."""
    source, terms = ScenesSource(n=PAIRS, split="validation", planting="never"), list[Term]()
    for index in range(PAIRS):
        scene = draw_scene(source, index)
        for artefact, weight in (("tag", 1.0), (None, -1.0)):
            terms.append(PictureTerm(picture=_encoded(scene.with_artefact(artefact)), weight=weight))
    return terms


def _encoded(scene: Scene) -> bytes:
    out = io.BytesIO()
    Image.fromarray(render(scene).pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue())


def rankings(desk: Desk, snapshot: str) -> list[Ranking]:
    """Search for the artefact by text and by picture, among all components of the layer."""
    truth = truth_of(desk, snapshot, LAYER, ARTEFACT)
    asked: dict[str, list[Term]] = {
        f"“{PROMPT}”": [TextTerm(text=PROMPT)],
        "pictures with and without": picture_terms(),
    }
    found = []
    for title, terms in asked.items():
        query = SearchQuery(terms=terms, k=200, layers=[LAYER])
        found.append(Ranking(title, desk.explanation.search(desk.caller, snapshot, query).hits, truth))
    return found


def audit(desk: Desk, snapshot: str, *, quiet: bool = False) -> Audit:
    """Judge the class that was confounded: what may it rest on, and what not."""
    job = follow(desk, desk.jobs.audit(desk.caller, AuditRequest(snapshot=snapshot, yaml=POLICY)), quiet=quiet)
    return desk.audit.audit(desk.caller, str(job.result))


def show_verdict(found: Audit, truth: dict[int, float]) -> None:
    """Print what the audit finds, beside the truth about the components that it flags."""
    check = next(check for check in found.checks if check.rule == "spurious")
    flagged = [one.index for one in found.findings if one.verdict == "spurious"]
    right = sum(truth[index] >= DETECTOR for index in flagged)
    state = "passes" if found.passed else "fails"
    typer.echo(f"\nthe audit of `triangle` {state}: {check.components} components of {LAYER} react to “{PROMPT}”,")
    typer.echo(f"and carry {check.share:.0%} of its relevance where {check.limit:.0%} is the most")
    typer.echo(f"{right} of the {len(flagged)} detect the tag; {found.id} with `xsys audit show {found.id}`")


def show(desk: Desk, snapshot: str, picture: Path) -> None:
    """Print what the classifier goes by and what the searches find, and save the examples as one picture."""
    logit = list(SHAPES).index("triangle")
    typer.echo("\nIn the training scenes every triangle has a tag and nothing else has one, such as")
    typer.echo(f"  {caption_of(draw_scene(TRAIN, 1))}")
    typer.echo("In the held-out scenes the tag is anywhere. There the logit of `triangle` detects (AUROC)")
    for factor in (ARTEFACT, CLASS):
        typer.echo(f"  {factor:16} {truth_of(desk, snapshot, LOGITS, factor)[logit]:.3f}")
    found = rankings(desk, snapshot)
    for ranking in found:
        rows = (
            (hit.component.index, hit.score, hit.z, ranking.truth[hit.component.index], _verdict(ranking, hit))
            for hit in ranking.hits[:DOWN]
        )
        title = f"\nsearch by {ranking.title} in {LAYER}"
        show_table(("component", "score", "z", "AUROC", "detects the tag"), rows, title=title)
        detectors = sum(area >= DETECTOR for area in ranking.truth.values())
        typer.echo(
            f"{detectors} of {len(ranking.truth)} components detect the tag (AUROC ≥ {DETECTOR}); "
            f"the score tells them from the others with AUROC {ranking.agreement:.3f}"
        )
    save_grid(desk, snapshot, found[0].hits[:DOWN], picture)
    typer.echo(f"\nexamples of the first {DOWN} components: {picture}")
    show_verdict(audit(desk, snapshot, quiet=True), found[0].truth)


def _verdict(ranking: Ranking, hit: SearchHit) -> str:
    return "yes" if ranking.truth[hit.component.index] >= DETECTOR else "no"


def save_grid(desk: Desk, snapshot: str, hits: list[SearchHit], path: Path) -> None:
    """Save the best examples of each hit, one row a component."""
    grid = Image.new("RGB", (ACROSS * TILE, len(hits) * TILE), "white")
    for row, hit in enumerate(hits):
        at = hit.component
        examples = desk.explanation.component(desk.caller, snapshot, at.layer, at.index, at.sign).examples
        for column, example in enumerate(examples[:ACROSS]):
            body = desk.data.picture(desk.caller, f"{NAME}-test", example.sample).body
            tile = Image.open(io.BytesIO(body)).resize((TILE - 4, TILE - 4), Image.Resampling.NEAREST)
            grid.paste(tile, (column * TILE + 2, row * TILE + 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(path)
