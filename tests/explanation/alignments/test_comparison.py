"""A comparison from registered models to its report, on a real installation."""

from __future__ import annotations

import csv
import io
import json

import pytest

from contracts.alignment import ComparisonRequest, PointsPlan, Side
from contracts.data import DatasetRegistration, DemoSource
from contracts.errors import (
    InvalidRequest,
    UnknownComparison,
    UnknownConcept,
    UnknownLayer,
    UnknownPair,
    UnknownPooling,
)
from contracts.model import ModelRegistration
from orchestration.bootstrap import build
from orchestration.cli.desk import Shared
from orchestration.jobs.supervisor import ensure_worker
from orchestration.pipelines.comparison import matched_places
from services.kit.settings import Settings
from tests.conftest import Installation

ARCHITECTURE = "timm:tf_efficientnet_lite0"
EARLY, MIDDLE, LATE = "blocks.1", "blocks.3", "blocks.5"
REQUEST = ComparisonRequest(
    dataset="demo", sides=[Side(model="lite0", layers=[EARLY, MIDDLE, LATE]), Side(model="lite0", layers=[LATE])],
    points=PointsPlan(per_sample=4, grid=3, seed=3), method="kmeans", parameters={"k": 8}, seeds=2, permutations=20,
    name="layers of lite0",
)  # fmt: skip


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A data folder of its own: comparisons need pictures and a model, and no snapshot."""
    return Installation(tmp_path_factory.mktemp("compared") / "home")


@pytest.fixture(scope="module")
def desk(installation):
    settings = Settings(home=installation.home, threads=2)
    wiring = build(settings)
    me = wiring.governance.operator()
    with Shared(lambda: ensure_worker(settings)):
        for job in (
            wiring.jobs.register_dataset(me, DatasetRegistration(name="demo", source=DemoSource(crops=66))),
            wiring.jobs.register_model(me, ModelRegistration(name="lite0", architecture=ARCHITECTURE)),
        ):
            finished((wiring, me), job)
        yield wiring, me
    wiring.close()


def finished(desk, job):
    wiring, me = desk
    *_, last = (state for _, state in wiring.jobs.watch(me, job.id))
    assert last.failures == []
    return last


def run(desk, request):
    wiring, me = desk
    return finished(desk, wiring.jobs.compare(me, request))


@pytest.fixture(scope="module")
def comparison(desk):
    wiring, me = desk
    return wiring.alignment.comparison(me, run(desk, REQUEST).result)


def test_a_layer_agrees_with_itself_and_less_with_layers_further_away(comparison):
    aci = {(row.ours, row.theirs): row.aci for row in comparison.alignments}
    assert comparison.points == 4 * comparison.dataset.n
    assert len(aci) == 6
    assert aci[2, 3] == pytest.approx(1, abs=1e-6)
    assert aci[1, 2] > aci[0, 2]
    row = next(row for row in comparison.alignments if (row.ours, row.theirs) == (1, 2))
    assert row.low < row.aci < row.high
    assert row.gri > row.chance > 0.5


def test_figures_stand_beside_their_ceiling_and_the_scalar_measures(comparison):
    for told in comparison.representations:
        assert told.state == "ok" and told.concepts == 8 and 0.1 < told.ceiling <= 1
        assert abs(told.position_alignment) < 0.1
    same = next(row for row in comparison.alignments if (row.ours, row.theirs) == (2, 3))
    assert (same.cka, same.cka_unbiased, same.rsa, same.mutual_knn) == pytest.approx((1, 1, 1, 1), abs=1e-5)
    (order,) = comparison.layer_order  # one layer alone has no order
    assert order.layers == 3 and order.scores["cka"] > order.chance


def test_identical_layers_share_every_concept(desk, comparison):
    wiring, me = desk
    report = wiring.alignment.pair(me, comparison.id, 2, 3)
    assert report.counts == {"universal": 8}
    assert {match.ours: match.theirs for match in report.matches} == {k: k for k in range(8)}
    assert sum(concept.members for concept in report.our_concepts) == comparison.points


def test_a_concept_shows_its_examples_and_partners(desk, comparison):
    wiring, me = desk
    detail = wiring.alignment.concept(me, "layers of lite0", 2, 5)
    samples = [example.sample for example in detail.concept.examples]
    assert len(samples) == len(set(samples)) > 0
    assert all(0 < example.row < 1 and 0 < example.column < 1 for example in detail.concept.examples)
    assert detail.partners[3].theirs == 5
    with pytest.raises(UnknownConcept):
        wiring.alignment.concept(me, comparison.id, 2, 99)


def test_the_report_holds_maps_and_pictures_and_no_script(desk, comparison):
    wiring, me = desk
    page = wiring.alignment.report(me, comparison.id).body.decode()
    assert page.count("<svg") == 1 + 2 * len(comparison.matched)
    assert "data:image/webp;base64," in page
    assert "<script" not in page and "http" not in page
    rows = list(csv.DictReader(io.StringIO(wiring.alignment.report(me, comparison.id, "csv").body.decode())))
    assert sum(row["relation"] == "universal" for row in rows) >= 8


def test_the_same_request_again_computes_nothing(desk, comparison):
    again = run(desk, REQUEST.model_copy(update={"name": "another name"}))
    assert again.result == comparison.id
    assert all(stage.parts == stage.parts_reused for stage in again.stages)


def test_finding_nothing_is_a_result_that_says_what_to_change(desk):
    wiring, me = desk
    request = ComparisonRequest(
        dataset="demo", sides=[Side(model="lite0", layers=[LATE])], points=PointsPlan(tokens="pooled"),
        method="dense", parameters={"min_cluster_size": 50, "min_samples": 5}, seeds=1,
    )  # fmt: skip
    found = wiring.alignment.comparison(me, run(desk, request).result)
    (told,) = found.representations
    assert told.state == "no_concepts" and told.concepts == 0
    assert "min_cluster_size" in told.advice


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"parameters": {"clusters": 3}}, InvalidRequest),
        ({"sides": [Side(model="lite0", layers=["blocks.99"])]}, UnknownLayer),
        ({"sides": [Side(model="lite0", layers=["classifier"])]}, UnknownPooling),
        ({"points": PointsPlan(per_sample=10, grid=3)}, InvalidRequest),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(desk, change, refusal):
    wiring, me = desk
    with pytest.raises(refusal):
        wiring.jobs.compare(me, REQUEST.model_copy(update=change))


def test_unknown_comparisons_and_pairs_are_named(desk, comparison):
    wiring, me = desk
    with pytest.raises(UnknownComparison):
        wiring.alignment.comparison(me, "c_none")
    with pytest.raises(UnknownPair) as refusal:
        wiring.alignment.pair(me, comparison.id, 3, 0)
    assert [0, 1] in refusal.value.facts["matched"]
    assert comparison.id in [item.id for item in wiring.alignment.comparisons(me).items]


def test_the_command_line_shows_and_exports_it(installation, comparison, tmp_path):
    installation.run("alignment", "export", comparison.id, "--format", "json", "--out", str(tmp_path / "c.json"))
    assert json.loads((tmp_path / "c.json").read_text())["points"] == comparison.points
    assert "universal" in installation.run("alignment", "pair", comparison.id, "2", "3").stdout


def test_layers_of_two_sides_are_matched_crosswise_or_by_depth():
    assert matched_places([[0, 1], [2, 3]]) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    deep = matched_places([list(range(12)), list(range(12, 18))])
    assert (0, 12) in deep and (11, 17) in deep and (0, 17) not in deep
    assert {a for a, b in deep if b >= 12 > a} == set(range(12))
