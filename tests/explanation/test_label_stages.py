"""Labels of the planted snapshot: the stages as a worker runs them, and what the service then answers."""

import hashlib

import numpy as np
import pytest

from contracts.errors import (
    EmptyVocabulary,
    LabelTooLong,
    NoTextSide,
    UnknownComponent,
    UnknownLabels,
    UnknownLayer,
    UnknownScorer,
)
from contracts.labels import LabelRequest
from services.explanation.label_plans import plan_labels
from services.explanation.stages import stages
from services.kit.artifacts import Artifact, find_artifacts, record_artifact
from services.kit.stages import StageRegistry, Work
from tests.explanation.planted import CALLER, CONCEPTS, STRANGER, Bench, PlantedEncoder

NAMES = [*CONCEPTS, "brick", "river", "Brick", "desk", "moon"]
SCORERS = ["mean", "csp", "csp:gamma=0.5", "lda", "softwpmi", "www", "invert"]


def planned(bench: Bench, **changes):
    asked = {
        "snapshot": "colours",
        "vocabulary": "list",
        "names": NAMES,
        "scorers": SCORERS,
        "positives": 10,
        **changes,
    }
    registry = StageRegistry(stages(bench.service))
    request = LabelRequest(**asked)
    return plan_labels(request, caller=CALLER, explanation=bench.service, registry=registry, numerics={"threads": 1})


def run_plan(bench: Bench, plan) -> str:
    """Run every part of a plan in order, as a worker does."""
    functions = {function.name: function for function in stages(bench.service)}
    for stage in plan.stages:
        for part in stage.parts:
            with bench.database.reading() as db:
                found = find_artifacts(db, "ours", part.inputs.values())
            given = {role: found[key].blob for role, key in part.inputs.items()}
            keys = {**part.inputs, **part.outputs}
            work = Work("ours", part.spec, given, frozenset(part.outputs), bench.blobs, lambda units: None, keys=keys)
            functions[stage.stage].run(work)
            with bench.database.writing() as db:
                for name, key in part.outputs.items():
                    blob = work.emitted[name]
                    size = bench.blobs.path(blob).stat().st_size
                    record_artifact(db, "ours", Artifact(key, f"{stage.stage}/{name}", blob, size), part.inputs)
                for move in work.at_publish:
                    move(db)
    return work.result


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Bench:
    """A bench with the snapshot `colours` and one label set."""
    bench = Bench(tmp_path_factory.mktemp("named"))
    bench.prepare()
    bench.build(name="colours")
    bench.labels = run_plan(bench, planned(bench))
    return bench


def labels(bench: Bench, layer: str, index: int, sign: int = 1):
    return bench.service.component_labels(CALLER, "colours", layer, index, sign)


@pytest.mark.parametrize("concept", range(5))
def test_planted_concepts_are_named_by_every_scorer(named, concept):
    found = labels(named, "maps", concept)
    assert [one.scorer for one in found.scorers] == SCORERS
    assert {one.labels[0].text for one in found.scorers} == {CONCEPTS[concept]}
    for one in found.scorers:
        assert one.evaluation.correlation > 0.8
        if one.evaluation.random_correlation < 0.5:  # of nine names a random one may be right
            assert one.status == "ok"
    assert found.scorers[-1].labels[0].origin == "formula"
    assert found.scorers[-1].evaluation.q < 0.01


def test_a_component_of_two_concepts_is_named_by_a_formula(named):
    invert = labels(named, "maps", 5).scorers[-1]
    assert set(invert.labels[0].text.split(" OR ")) == {"cat", "clock"}
    assert invert.evaluation.correlation > labels(named, "maps", 5).scorers[0].evaluation.correlation


def test_dead_and_barely_active_components_get_no_label(named):
    for index in (6, 7):
        found = labels(named, "maps", index)
        assert found.status == "insufficient_evidence"
        assert all(one.labels == [] and one.evaluation.correlation is None for one in found.scorers)


def test_both_sides_of_a_signed_layer_have_their_own_names(named):
    assert labels(named, "tokens", 0).scorers[1].labels[0].text == "cat"
    assert labels(named, "tokens", 0, -1).scorers[1].labels[0].text == "sky"


def test_random_activations_are_unsure(named):
    found = labels(named, "maps", 8)
    assert found.status == "unsure"
    assert all(one.status == "unsure" for one in found.scorers)


def test_the_leaderboard_ranks_scorers_and_keeps_controls_at_chance(named):
    board = named.service.leaderboard(CALLER, "colours")
    assert [layer.layer for layer in board.layers] == ["maps", "tokens"]
    maps = board.layers[0]
    assert (maps.probe + maps.tune + maps.held_out, maps.held_out_groups) == (400, maps.held_out // 2)
    rows = {row.scorer: row for row in maps.rows}
    assert maps.rows[0].behind is None and not maps.rows[0].control
    assert rows["invert"].correlation.value >= rows["mean"].correlation.value
    for scorer in SCORERS:
        assert rows[scorer].labelled == 7 and rows[scorer].unlabelled == 2
        assert rows[scorer].correlation.value > rows["random label"].correlation.high
    assert rows["random label"].correlation.low < 0.2
    assert rows["shuffled labels"].correlation.value < rows["mean"].correlation.value
    assert [row.control for row in maps.rows] == [False] * len(SCORERS) + [True] * 3


def test_a_set_records_vocabulary_templates_and_scorers(named):
    (found,) = named.service.labels(CALLER, "colours").items
    assert found.id == named.labels
    assert (found.vocabulary.source, found.vocabulary.n, found.vocabulary.merged) == ("list", 9, 1)
    assert found.scorers == SCORERS
    assert found.templates[0] == "{}" and len(found.templates) == 6
    assert found.simulator.startswith("planted")


def test_equal_requests_give_equal_bytes_and_every_parameter_another_key(named):
    plan = planned(named)
    with named.database.reading() as db:
        before = {artifact.key: artifact.blob for artifact in find_artifacts(db, "ours", keys_of(plan)).values()}
    assert run_plan(named, plan) == named.labels
    with named.database.reading() as db:
        after = {artifact.key: artifact.blob for artifact in find_artifacts(db, "ours", keys_of(plan)).values()}
    final = plan.stages[-1].parts[0].outputs["label-set"]
    assert {key: blob for key, blob in after.items() if key != final} == {
        key: blob for key, blob in before.items() if key != final
    }
    changes = [{}, {"seed": 1}, {"positives": 11}, {"text": "bare"}, {"names": NAMES[:-1]}, {"scorers": ["mean"]},
               {"templates": ["{}"]}, {"vocabulary": "classes", "names": None}]  # fmt: skip
    assert len({planned(named, **change).result for change in changes}) == len(changes)


def keys_of(plan) -> list[str]:
    return [key for stage in plan.stages for part in stage.parts for key in part.outputs.values()]


def test_classes_of_the_dataset_are_a_vocabulary_and_captions_need_captions(named):
    run_plan(named, planned(named, vocabulary="classes", names=None, scorers=["mean"], layers=["maps"], text="null"))
    newest = named.service.labels(CALLER, "colours").items
    assert {one.vocabulary.source for one in newest} == {"list", "classes"}
    with pytest.raises(EmptyVocabulary, match="no captions"):
        run_plan(named, planned(named, vocabulary="captions", names=None))


def test_each_refusal_comes_before_any_work(named):
    for change, refusal in [
        ({"names": []}, EmptyVocabulary),
        ({"names": ["a", "x" * 201]}, LabelTooLong),
        ({"scorers": ["best"]}, UnknownScorer),
        ({"layers": ["attic"]}, UnknownLayer),
    ]:
        with pytest.raises(refusal):
            planned(named, **change)
    with pytest.raises(UnknownComponent):
        labels(named, "maps", 99)
    with pytest.raises(UnknownLabels):
        named.service.leaderboard(CALLER, "colours", "l_" + hashlib.sha256(b"").hexdigest()[:16])


def test_labels_of_another_workspace_are_not_found(named):
    from contracts.errors import UnknownSnapshot

    with pytest.raises(UnknownSnapshot):
        named.service.labels(STRANGER, "colours")


def test_an_encoder_without_texts_cannot_name(tmp_path):
    bench = Bench(tmp_path, PlantedEncoder(text=False), n=60)
    bench.prepare()
    bench.build(name="colours")
    with pytest.raises(NoTextSide):
        planned(bench)


def test_scores_are_finite_where_there_are_labels(named):
    for index in range(9):
        for one in labels(named, "maps", index).scorers:
            assert np.isfinite([label.score for label in one.labels]).all()
