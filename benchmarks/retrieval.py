"""Text queries with a known source photograph: how often do the best components show it.

The demo as users run it: 1,056 seeded crops of 22 photographs, EfficientNet-Lite0, five layers, the snapshot's own
search. For each query the 5 components with the highest score are taken; its share is that of their 10 best examples
that come from a matching photograph. The words were fixed before the first measurement. Chance is about 1/22.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Report
from contracts.base import Caller
from contracts.data import DatasetRegistration, DemoSource
from contracts.explanation import SearchQuery, TextTerm
from contracts.model import ModelRegistration
from contracts.snapshots import SnapshotRequest
from orchestration.bootstrap import Wiring, build
from orchestration.cli.demo import LAYERS
from services.kit.settings import Settings

QUERIES = {
    "cat": ("chelsea",),
    "rocket": ("rocket",),
    "clock": ("clock_motion",),
    "palace": ("china",),
    "coffee": ("coffee",),
    "flower": ("flower",),
    "astronaut": ("astronaut",),
    "motorcycle": ("motorcycle_left",),
    "coins": ("coins",),
    "moon": ("moon",),
    "galaxy": ("hubble_deep_field",),
    "brick wall": ("brick",),
    "grass": ("grass",),
    "gravel": ("gravel",),
    "retina": ("retina",),
    "cells under a microscope": ("cell", "ihc"),
    "printed text": ("page", "text"),
    "photographer with a camera": ("camera",),
    "chessboard": ("chessboard_RGB",),
    "horse": ("horse",),
}
OBJECTS = ("cat", "rocket", "clock", "palace", "coffee")
COMPONENTS, SHOWN = 5, 10
QUICK_CROPS = 264
Floats = NDArray[np.float64]


def built(home: Path, *, quick: bool) -> tuple[Wiring, Caller]:
    """Build the demo's snapshot with the real pipeline; a quick one has a quarter of the crops and a third of k."""
    from orchestration.jobs.supervisor import ensure_worker

    wiring = build(Settings(home=home))
    me = wiring.governance.operator()
    source = DemoSource(crops=QUICK_CROPS) if quick else DemoSource()
    snapshot = SnapshotRequest(model="lite0", dataset="demo", layers=LAYERS, k=10 if quick else 30)
    with ensure_worker(wiring.settings):
        for submit, body in (
            (wiring.jobs.register_dataset, DatasetRegistration(name="demo", source=source)),
            (wiring.jobs.register_model, ModelRegistration(name="lite0", architecture="timm:tf_efficientnet_lite0")),
            (wiring.jobs.build_snapshot, snapshot),
        ):
            *_, (_, job) = wiring.jobs.watch(me, submit(me, body).id)  # type: ignore[operator]
            if job.state != "done":
                raise SystemExit(f"{job.title}: {job.failures}")
    return wiring, me


def shares(wiring: Wiring, me: Caller) -> tuple[Floats, Floats]:
    """Share per query [queries], and the share of a random component for the same queries."""
    snapshot = wiring.explanation.snapshots(me, limit=1).items[0].id
    opened = wiring.explanation.opened(me, snapshot)
    groups = np.array(opened.manifest.groups())
    examples = np.concatenate([opened.tables(layer).examples["ids"][:, :SHOWN] for layer in opened.layer_names])
    reached, chance = [], []
    for words, wanted in QUERIES.items():
        query = SearchQuery(terms=[TextTerm(text=words)], k=COMPONENTS, examples=SHOWN)
        hits = wiring.explanation.search(me, snapshot, query).hits
        found = [groups[example.sample] in wanted for hit in hits for example in hit.examples]
        reached.append(np.mean(found))
        chance.append(np.isin(groups[examples], wanted).mean())
    return np.array(reached), np.array(chance)


def interval(values: Floats, draws: int = 10_000) -> list[float]:
    """The 95 % bootstrap interval of a mean over queries."""
    rows = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    return [round(float(edge), 4) for edge in np.quantile(values[rows].mean(1), (0.025, 0.975))]


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="12 crops of each photograph: too few to judge the goals")
    parser.add_argument("--full", action="store_true")
    quick = parser.parse_args().quick
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        wiring, me = built(Path(folder) / "home", quick=quick)
        reached, chance = shares(wiring, me)
        wiring.close()
    for query, share in zip(QUERIES, reached, strict=True):
        report.line(metric=f"retrieval: {query}", value=round(float(share), 4), unit="share")
    objects = np.array([query in OBJECTS for query in QUERIES])
    for name, chosen, goal in (("five objects", objects, 0.8), ("all queries", np.ones(len(QUERIES), bool), 0.5)):
        mean, beside = float(reached[chosen].mean()), float(chance[chosen].mean())
        report.line(
            metric=f"retrieval: mean of {name}",
            value=round(mean, 4),
            unit="share",
            goal=None if quick else f">= {goal}",
            ok=None if quick else mean >= goal,
            n=int(chosen.sum()),
            interval=interval(reached[chosen]),
            peer="random components",
            peer_value=round(beside, 4),
            ratio=round(mean / beside, 2),
        )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
