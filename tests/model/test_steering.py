"""Steering previews of registered models, as the service answers."""

import math

import numpy as np
import pytest
import torch

from contracts.attribution import AttributionOverBudget, NoClassScores, SampleOf, UnknownOutput
from contracts.base import Page
from contracts.data import Sample
from contracts.errors import UnknownLayer, UnknownModel, UnknownSample, UnsafePicture
from contracts.steering import (
    ComponentTarget,
    CurvePoint,
    DifferenceTarget,
    DirectionTarget,
    DirectionUnavailable,
    EmptySampleSet,
    Intervention,
    NonFiniteSteering,
    Region,
    SampleSet,
    SteeringRequest,
    WidthMismatch,
)
from services.kit.arrays import save_arrays
from services.kit.artifacts import Artifact, record_artifact
from services.model.attribution.baselines import METHODS
from services.model.preprocess import to_batch
from services.model.recent import Budgeted
from services.model.sweeps import correlation, total_variation, window_of
from tests.model.test_attributions import HOW, ME, NETS, Pictures, encoded, models, picture  # noqa: F401

MAP = {"cnn": "layer2", "vit": "blocks.0"}


class Labelled(Pictures):
    """The same three pictures with labels and factors."""

    def sample(self, caller, dataset, index):
        return super().sample(caller, dataset, index).model_copy(update={"sha256": f"{index:064x}"})

    def samples(self, caller, dataset, limit, cursor):
        start = int(cursor or 0)
        item = self.sample(caller, dataset, start)
        facts = {"label": "ab"[start % 2], "factors": {"tag": start == 1}}
        return Page[Sample](items=[item.model_copy(update=facts)], next=str(start + 1) if start < 2 else None)


@pytest.fixture
def service(models):  # noqa: F811
    models.data = Labelled()
    models.baselines = Budgeted(1 << 20, lambda kept: kept.nbytes)
    return models


def ablate(layer, index=0, **more):
    return Intervention(target=ComponentTarget(layer=layer, index=index), change="ablate", **more)


def ask(*interventions, **fields):
    given = {"interventions": interventions} if interventions else {}
    return SteeringRequest(**{"sample": SampleOf(dataset="d", index=1)} | given | fields)


def probabilities(service, net, change):
    """What the model answers when the output of a layer is changed by hand."""
    with service.loaded(service.model(ME, net).ref) as built, torch.no_grad():
        handle = built.model.get_submodule(MAP[net]).register_forward_hook(lambda module, given, out: change(out))
        found = built.model(to_batch([picture(1)], HOW)).softmax(1)[0]
        handle.remove()
        return found


@pytest.mark.parametrize("net", NETS)
def test_before_and_after_are_those_of_the_model_with_the_channel_set_to_zero(service, net):
    def zero(out):
        out = out.clone()
        out[(slice(None), 3) if net == "cnn" else (..., 3)] = 0
        return out

    answer = service.steering_preview(ME, net, ask(ablate(MAP[net], 3), top=5))
    for listed, change in ((answer.before, lambda out: out), (answer.after, zero)):
        expected = probabilities(service, net, change)
        assert [each.index for each in listed] == expected.argsort(descending=True).tolist()
        assert [each.probability for each in listed] == pytest.approx(
            expected.sort(descending=True).values.tolist(), abs=1e-5
        )
    moved = {each.index: each.change for each in answer.changes}
    expected = probabilities(service, net, zero) - probabilities(service, net, lambda out: out)
    assert [moved[index] for index in range(5)] == pytest.approx(expected.tolist(), abs=1e-5)
    assert answer.variation == pytest.approx(float(expected.abs().sum() / 2), abs=1e-5)
    assert [each.layer for each in answer.layers] == [MAP[net]] and answer.layers[0].moved > 0


@pytest.mark.parametrize("net", NETS)
def test_a_neutral_strength_changes_nothing_at_all(service, net):
    answer = service.steering_preview(ME, net, ask(ablate(MAP[net], strength=0.0)))
    assert answer.before == answer.after and answer.variation == 0.0 and not answer.flipped
    assert answer.target.change == 0.0 and answer.layers[0].moved == 0.0


def test_the_unsteered_prediction_is_computed_once_and_is_the_same_afterwards(service):
    first = service.steering_preview(ME, "cnn", ask(ablate("layer2"), maps=True))
    again = service.steering_preview(ME, "cnn", ask(ablate("layer2"), maps=True))
    other = service.steering_preview(ME, "cnn", ask(ablate("layer2"), sample=SampleOf(dataset="d", index=2)))
    assert (first.baseline_cached, again.baseline_cached, other.baseline_cached) == (False, True, False)
    assert first.before == again.before and first.after == again.after
    assert first.maps[0].before == again.maps[0].before
    sent = service.steering_preview(ME, "cnn", ask(ablate("layer2"), sample=None, picture=base64_of(picture(1))))
    assert sent.baseline_cached and sent.after == first.after


def base64_of(image):
    import base64

    return base64.b64encode(encoded(image))


def test_baselines_are_kept_within_their_budget():
    kept = Budgeted(100, len)
    for name, size in (("a", 40), ("b", 40)):
        kept.put(name, b"x" * size)
    assert kept.get("a") is not None
    kept.put("c", b"x" * 50)  # "b" was used least recently
    assert (kept.get("b"), kept.bytes) == (None, 90)
    kept.put("d", b"x" * 101)
    assert kept.get("d") is None and len(kept.get("a")) == 40
    kept.put("a", b"x" * 10)
    assert kept.bytes == 60


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients", "smoothgrad", "occlusion", "epsilon"])
def test_maps_before_are_those_of_the_plain_model_and_maps_after_differ(service, method):
    query = ask(
        Intervention(target=ComponentTarget(layer="layer1", index=1), change="add", strength=3.0),
        maps=True,
        methods=[method],
    )
    (maps,) = service.steering_preview(ME, "cnn", query).maps
    assert maps.before.heatmap.startswith(b"\x89PNG") and maps.before.heatmap != maps.after.heatmap
    assert maps.correlation < 0.9999
    if method in METHODS:
        with service.loaded(service.model(ME, "cnn").ref) as built:
            batch = to_batch([picture(1)], HOW)
            target = int(built.model(batch).argmax())
            torch.manual_seed(0)
            expected = METHODS[method](built.model, batch, target)
        if method != "smoothgrad":
            assert maps.before.absmax == pytest.approx(float(expected.abs().max()), rel=1e-4)


def test_every_method_can_be_asked_for_before_and_after(service):
    for net in NETS:
        for method in METHODS:
            if net == "cnn" and method in ("rollout", "chefer"):
                continue
            (maps,) = service.steering_preview(ME, net, ask(ablate(MAP[net], 3), maps=True, methods=[method])).maps
            assert math.isfinite(maps.after.absmax), (net, method)


def test_each_point_of_the_curve_is_what_its_strength_alone_answers(service):
    up = Intervention(target=ComponentTarget(layer="layer2", index=3), change="add", places=Region(left=0.5))
    strengths = [-8.0, 0.0, 0.5, 2.0, 8.0, 1e3, 40.0, 60.0, 80.0]
    answer = service.steering_preview(ME, "cnn", ask(up, strengths=strengths))
    assert [point.strength for point in answer.curve] == strengths
    for point in answer.curve:
        alone = service.steering_preview(ME, "cnn", ask(up.model_copy(update={"strength": point.strength})))
        assert point.top.index == alone.after[0].index and point.flipped is alone.flipped
        assert point.variation == pytest.approx(alone.variation, abs=1e-4)
        assert point.closeness == pytest.approx(alone.closeness, abs=1e-4)
        assert point.target == pytest.approx(alone.target.after, abs=1e-4)
    assert answer.curve[1].variation == pytest.approx(0.0, abs=1e-6)


def point(strength, finite=True, flipped=True, closeness=0.9):
    return CurvePoint(strength=strength, finite=finite, flipped=flipped, closeness=closeness if finite else None)


def test_the_window_is_the_longest_run_that_changes_the_prediction_and_stays_close():
    curve = [
        point(4, closeness=0.8),
        point(1),
        point(2, flipped=False),
        point(3),
        point(5, closeness=0.2),
        point(6, False),
    ]
    window, note = window_of(curve, 0.7)
    assert (window.low, window.high, window.recommended, note) == (3, 4, 3, "")


@pytest.mark.parametrize(
    ("curve", "note"),
    [
        ([point(1, flipped=False)], "no strength changes the first output"),
        ([point(1, finite=False)], "no strength leaves the model finite"),
        ([point(1, closeness=0.1)], "where the first output changes, the outputs correlate below 0.7"),
    ],
)
def test_a_missing_window_is_explained(curve, note):
    window, said = window_of(curve, 0.7)
    assert window is None and said.startswith(note)


def test_figures_of_a_difference_have_the_values_worked_out_by_hand():
    assert total_variation(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])) == pytest.approx(0.3)
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])) == pytest.approx(1.0)
    assert correlation(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])) is None


def test_a_strength_beyond_the_finite_numbers_is_a_point_of_the_curve_and_a_refusal_alone(service):
    blow = Intervention(target=ComponentTarget(layer="fc", index=0), change="scale", strength=1e6)
    plans = [blow] * 8  # 1e48 times
    quiet = [each.model_copy(update={"strength": 1.0}) for each in plans]
    answer = service.steering_preview(ME, "cnn", ask(*quiet, strengths=[1.0, 2.0, 1e6]))
    assert [each.finite for each in answer.curve] == [True, True, False]
    assert answer.curve[2].top is None and answer.curve[0].variation == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(NonFiniteSteering) as caught:
        service.steering_preview(ME, "cnn", ask(*plans))
    assert caught.value.facts["layer"] == "fc"


# --- directions ---------------------------------------------------------------------------------
def means(service, indices):
    with service.loaded(service.model(ME, "cnn").ref) as built, torch.no_grad():
        kept = []
        handle = built.model.get_submodule("layer2").register_forward_hook(lambda module, given, out: kept.append(out))
        for index in indices:
            built.model(to_batch([picture(index)], HOW))
        handle.remove()
    return torch.cat(kept).mean((0, 2, 3))


@pytest.mark.parametrize(
    ("toward", "away", "ids"),
    [
        ({"label": "a"}, {"label": "b"}, ([0, 2], [1])),
        ({"label": "a", "most": 1}, {"samples": [2]}, ([0], [2])),
        ({"factor": "tag=True"}, {"factor": "tag=False"}, ([1], [0, 2])),
    ],
)
def test_a_difference_of_means_is_that_of_the_samples_named(service, toward, away, ids):
    sets = [SampleSet(dataset="d", **some) for some in (toward, away)]
    target = DifferenceTarget(layer="layer2", toward=sets[0], away=sets[1])
    found = service.steering_preview(ME, "cnn", ask(Intervention(target=target, change="add", strength=2.0)))
    inline = DirectionTarget(layer="layer2", vector=(means(service, ids[0]) - means(service, ids[1])).tolist())
    expected = service.steering_preview(ME, "cnn", ask(Intervention(target=inline, change="add", strength=2.0)))
    assert found.target.after == pytest.approx(expected.target.after, abs=1e-4)
    assert found.variation > 1e-4


def stored(service, workspace, key, array):
    path = service.blobs.temporary("direction")
    save_arrays(path, {"direction": array})
    blob = service.blobs.keep(path)
    with service.database.writing() as db:
        record_artifact(db, workspace, Artifact(key, "test/direction", blob, 1), {})


def test_a_stored_direction_is_read_from_the_callers_workspace_only(service):
    array = np.arange(12, dtype=np.float32).reshape(2, 6)
    width = next(layer.width for layer in service.model(ME, "cnn").layers if layer.name == "layer2")
    array = np.random.default_rng(0).normal(size=(2, width)).astype(np.float32)
    stored(service, "w", "b" * 64, array)
    stored(service, "elsewhere", "c" * 64, array)

    def preview(**target):
        one = Intervention(target=DirectionTarget(layer="layer2", **target), change="add", strength=2.0)
        return service.steering_preview(ME, "cnn", ask(one))

    assert preview(artifact="b" * 64, row=1).after == preview(vector=array[1].tolist()).after
    for refused in (
        {"artifact": "c" * 64, "row": 1},
        {"artifact": "b" * 64, "row": 2},
        {"artifact": "b" * 64, "array": "nothing"},
    ):
        with pytest.raises(DirectionUnavailable):
            preview(**refused)
    with pytest.raises(WidthMismatch):
        preview(artifact="b" * 64)


def toward(label):
    sets = [SampleSet(dataset="d", label=each) for each in (label, "a")]
    return Intervention(target=DifferenceTarget(layer="layer2", toward=sets[0], away=sets[1]), change="add")


# --- refusals -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "refusal", "field"),
    [
        ({"interventions": [ablate("layre2")]}, UnknownLayer, "interventions.0.target.layer"),
        ({"target": 5}, UnknownOutput, "target"),
        ({"sample": SampleOf(dataset="d", index=3)}, UnknownSample, "sample"),
        ({"sample": None, "picture": b"bm90IGEgcGljdHVyZQ=="}, UnsafePicture, "picture"),
        ({"interventions": [toward("z")]}, EmptySampleSet, "toward"),
    ],
)
def test_what_cannot_be_steered_is_refused_by_name(service, fields, refusal, field):
    query = ask(**{"interventions": [ablate("layer2")]} | fields)
    with pytest.raises(refusal) as caught:
        service.steering_preview(ME, "cnn", query)
    assert caught.value.field == field


def test_an_unknown_model_is_refused(service):
    with pytest.raises(UnknownModel):
        service.steering_preview(ME, "nothing", ask(ablate("layer2")))


def test_work_beyond_the_budget_is_refused_before_anything_runs(service, monkeypatch):
    monkeypatch.setattr("services.model.attributions.LIMIT", 1000)
    with pytest.raises(AttributionOverBudget):
        service.steering_preview(ME, "cnn", ask(ablate("layer2"), maps=True))


def test_a_model_of_embeddings_has_no_prediction_to_steer(service, monkeypatch):
    found = service.model(ME, "cnn")
    tower = found.model_copy(update={"ref": found.ref.model_copy(update={"architecture": "open_clip:ViT-B-32"})})
    monkeypatch.setattr(service, "model", lambda caller, model: tower)
    with pytest.raises(NoClassScores, match="embeddings"):
        service.steering_preview(ME, "cnn", ask(ablate("layer2")))
