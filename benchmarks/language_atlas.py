"""The product on a real pair: SmolLM2-135M as atlas, Gemma-3-270M as subject, the documentation of Python's packages.

Everything is done by jobs in the data folder that is given (`xsys demo language` with more windows), so a run that was
killed goes on where it was. Then steering both models is evaluated: concepts are modules of the corpus, whose training
documents choose the latents and whose test documents judge the texts. Goals are those of one to three million tokens;
each figure says how many there were. Needs the extra `lm` and the packages of both models.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.report import Report
from contracts.atlas import Atlas, AtlasAlignment
from contracts.sae import Sae
from contracts.steering_evaluation import SteeringEvaluation, SteeringEvaluationRequest
from orchestration.cli.desk import Desk, local_desk
from orchestration.cli.language_demo import Plan, build, real_plan
from orchestration.cli.progress import follow
from services.explanation.atlas.codes import Codes
from services.kit.arrays import load_arrays
from services.kit.corpora import load_corpus
from services.kit.windows import SPLITS

CONCEPTS = {  # name -> modules whose documents are about it
    "matrix": ("scipy/linalg", "numpy/linalg", "scipy/sparse"),
    "probability distribution": ("scipy/stats",),
    "clustering": ("sklearn/cluster", "sklearn/metrics/cluster"),
}
OTHERS = ("python reference", "scipy/optimize", "scipy/interpolate", "numpy/lib", "sklearn/model_selection")
LATENTS = 5  # that a concept is steered by
TEXTS = 160  # of a concept, half of them for the judge
STRENGTHS = [0.1, 0.2, 0.4]


def autoencoder(report: Report, sae: Sae) -> None:
    """Figures on test documents."""
    asked, found = sae.request, sae.quality
    about = f"{sae.latents} latents, k={asked.k}, {found.trained_on:,} training tokens, {asked.steps} steps"
    for name, value, goal, ok in (
        ("explained variance", found.explained, ">= 0.75", found.explained >= 0.75),
        ("cross-entropy recovered", found.recovered, ">= 0.90", (found.recovered or 0) >= 0.9),
        ("dead", found.dead_share, "<= 0.10", found.dead_share <= 0.1),
    ):
        report.line(
            metric=f"SAE of SmolLM2 layer 15 ({about}): {name}", value=round(value or 0, 4), unit="1", goal=goal, ok=ok,
            n=found.held_out,
        )  # fmt: skip
    report.line(metric="the same: active latents a token", value=round(found.active, 2), unit="")


def labels(report: Report, atlas: Atlas) -> None:
    """Detection on held-out documents, and the same labels given to other latents."""
    judged = sum(count for tier, count in atlas.tiers.items() if tier != "unlabelled")
    reached, control = atlas.auroc or 0, atlas.shuffled or 0
    report.line(
        metric="labels of its latents: median held-out AUROC", value=round(reached, 4), unit="1", goal=">= 0.80",
        ok=reached >= 0.8, n=judged,
    )  # fmt: skip
    report.line(
        metric="labels given to other latents: mean AUROC", value=round(control, 4), unit="1", goal="0.50 +- 0.02",
        ok=abs(control - 0.5) <= 0.02, n=judged,
    )  # fmt: skip
    for tier, count in atlas.tiers.items():
        report.line(metric=f"labels of its latents: {tier}", value=count, unit="latents", n=atlas.latents)


def transfer(report: Report, found: AtlasAlignment) -> None:
    """Every translator and pool on test windows, the one that validation chose, and what it has to beat."""
    (layer,) = found.layers
    n = layer.samples.get("training", 0)
    for one in layer.translators:
        name = f"carried to Gemma layer 9, {n:,} windows, {one.pool}-pooled, {one.translator}"
        report.line(metric=f"{name}: AUROC", value=round(one.test.auroc, 4), unit="1")
        report.line(metric=f"{name}: AP", value=round(one.test.ap, 4), unit="1")
    if layer.state != "ok" or layer.shuffled is None or layer.lexical is None:
        report.line(metric="carried to Gemma", value=0, unit="1", goal="evidence", ok=False)
        return
    best = max(layer.translators, key=lambda one: one.validation)
    report.line(
        metric=f"chosen by validation ({best.translator}, {best.pool}): AUROC", value=round(best.test.auroc, 4),
        unit="1", goal=">= 0.85 at 30,000 windows", ok=best.test.auroc >= 0.85, peer="tokens alone (lexical)",
        peer_value=round(layer.lexical.auroc, 4), n=n,
    )  # fmt: skip
    report.line(
        metric="the same: AP", value=round(best.test.ap, 4), unit="1", peer="tokens alone (lexical)",
        peer_value=round(layer.lexical.ap, 4),
    )  # fmt: skip
    report.line(
        metric="shuffled pairs: AUROC", value=round(layer.shuffled.auroc, 4), unit="1", goal="0.50 +- 0.02",
        ok=abs(layer.shuffled.auroc - 0.5) <= 0.02,
    )  # fmt: skip
    for point in layer.curve:
        report.line(metric=f"the chosen map on {point.windows:,} windows: AUROC", value=round(point.auroc, 4), unit="1")
        report.line(metric=f"the chosen map on {point.windows:,} windows: AP", value=round(point.ap, 4), unit="1")
    if layer.retrieval is not None:
        report.line(
            metric="units found again by their codes: MRR", value=round(layer.retrieval.mrr, 4), unit="1",
            peer="chance", peer_value=round(layer.retrieval.chance_mrr, 4), n=layer.retrieval.units,
        )  # fmt: skip
        report.line(metric="units found again by their codes: MPP", value=round(layer.retrieval.mpp, 4), unit="1")


def passages(desk: Desk, corpus: str) -> list[tuple[str, str]]:
    """(document, text) of every window of the test documents."""
    found, cursor = [], None
    while True:
        page = desk.data.passages(desk.caller, corpus, split="test", limit=200, cursor=cursor)
        found += [(one.document, " ".join(one.text.split())) for one in page.items]
        if (cursor := page.next) is None:
            return found


def telling(desk: Desk, atlas: Atlas, modules: tuple[str, ...]) -> list[int]:
    """The latents whose pooled codes tell the modules' training windows best from the others, by d'."""
    _, files = desk.atlas._sae(desk.caller, atlas.sae)  # type: ignore[attr-defined]  # the benchmark runs in process
    codes, facts = Codes.load(files["codes"]), load_arrays(files["codes"], ["window", "split"])
    corpus = load_corpus(files["corpus"])
    names = [one.document for one in corpus.passages(facts["window"].tolist())]
    training = facts["split"] == SPLITS.index("train")
    about = np.array([name.startswith(modules) for name in names])
    rows = codes.columns.tocsr()
    inside, outside = (rows[training & one].toarray() for one in (about, ~about))
    spread = np.sqrt((inside.var(axis=0) + outside.var(axis=0)) / 2) + 1e-6
    order = np.argsort(-(inside.mean(axis=0) - outside.mean(axis=0)) / spread, kind="stable")
    return [int(one) for one in order[:LATENTS]]


def spread_out(texts: list[str], n: int) -> list[str]:
    """At most n of some texts, evenly."""
    return texts[:: max(1, -(-len(texts) // n))]


def steering(report: Report, desk: Desk, plan: Plan, found: AtlasAlignment) -> None:
    """Evaluate steering the atlas's own model by its latents, and the subject by carried ones."""
    windows = passages(desk, plan.name)

    def of(*names: str) -> list[str]:
        some = [text for document, text in windows if document.startswith(names) and len(text) > 80]
        return spread_out(some, TEXTS)

    atlas = desk.atlas.atlas(desk.caller, found.atlas)
    concepts = []
    for name, modules in CONCEPTS.items():
        latents = telling(desk, atlas, modules)
        concepts.append({"name": name, "texts": of(*modules), "native": latents, "carried": latents})
    common = {"concepts": concepts, "others": of(*OTHERS), "strengths": STRENGTHS, "directions": 1}
    for model, more in (
        (plan.models[0][0], {"atlas": found.atlas}),
        (plan.models[1][0], {"alignment": found.id, "maps": ["write", "cov"]}),
    ):
        request = SteeringEvaluationRequest.model_validate({"model": model, **common, **more})
        with desk.worker():
            job = follow(desk, desk.jobs.evaluate_steering(desk.caller, request))
        told(report, model, desk.jobs.steering_evaluation(desk.caller, job.id))


def told(report: Report, model: str, found: SteeringEvaluation) -> None:
    """Gains on prompts that did not choose the strength; a goal for the best arm that labels or texts steer by."""
    for one in found.arms:
        held, judged = one.held_out, one.arm in ("native", "write")
        name = f"steering {model}, {one.arm}: gain of the concept rate where fluency stays >= 75 %"
        goal = ">= 0.30" if judged else None
        if held is None:
            report.line(metric=name, value=0, unit="share", goal=goal, ok=False if judged else None)
            continue
        report.line(
            metric=f"{name} (strength {held.strength}, fluency {held.fluency_share or 0:.0%})",
            value=round(held.gain.mean, 3), unit="share", goal=goal, ok=held.gain.mean >= 0.3 if judged else None,
            interval=(round(held.gain.low, 3), round(held.gain.high, 3)),
        )  # fmt: skip
    for judge in found.concepts:
        name = f"judge of “{judge.name}” on {model}"
        report.line(metric=f"{name}: recall", value=round(judge.recall, 3), unit="share")
        report.line(metric=f"{name}: false positives", value=round(judge.false_positives, 3), unit="share")


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language_atlas", description=__doc__)
    parser.add_argument("folder", type=Path, help="a data folder; what is there is not done again")
    parser.add_argument("--windows", type=int, default=30_000)
    parser.add_argument("--steps", type=int, default=5000)
    asked = parser.parse_args()
    os.environ["XSYS_HOME"] = str(asked.folder.resolve())
    desk, plan = local_desk(), real_plan(asked.windows)
    plan = replace(plan, sae={**plan.sae, "steps": asked.steps})
    found = build(desk, plan)
    report, atlas = Report(), desk.atlas.atlas(desk.caller, found.atlas)
    autoencoder(report, desk.atlas.sae(desk.caller, atlas.sae))
    labels(report, atlas)
    transfer(report, found)
    steering(report, desk, plan, found)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
