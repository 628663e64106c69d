"""Steering judged as a job: arms, the guard of the judge, and figures that are planted."""

import csv

import numpy as np
import pytest

from contracts.atlas import AtlasMismatch, JudgeLeak
from contracts.base import Right
from contracts.errors import Forbidden, UnknownLayer, UnknownModel
from contracts.jobs import State
from contracts.language import GenerationOverBudget, GenerationRequest
from contracts.steering_evaluation import SteeringEvaluationRequest
from orchestration.cli.steering_evaluation import show_evaluation, write_csv
from orchestration.jobs.repository import next_queued
from services.explanation.atlas.steering_figures import Scores, arms_of, settings_of, window_of
from services.explanation.atlas.steering_judging import without
from services.explanation.atlas.steering_scores import leaked_words
from services.model.language.pair import document
from tests.language_world import LAYER, SUBJECT_LAYER

PROMPTS = ["the ", "we saw a ", "every ", "there was "]


def texts(subject, n=32):
    return [document(subject, sentences=3, seed=2000 + number) for number in range(n)]


def asked(**more):
    told = {
        "model": "first", "concepts": [{"name": "sea", "texts": texts("sea"), "native": [1, 2]}],
        "others": [text for subject in ("kitchen", "sky", "garden") for text in texts(subject, 11)],
        "layer": LAYER, "prompts": PROMPTS, "samples": 1, "strengths": [0.3, 1.0], "directions": 1, "max_tokens": 12,
    }  # fmt: skip
    return SteeringEvaluationRequest.model_validate(told | more)


@pytest.fixture(scope="module")
def world(tiny_languages):
    return tiny_languages


@pytest.fixture(scope="module")
def found(world):
    job = world.wiring.jobs.evaluate_steering(world.me, asked(atlas="atlas"))
    assert world.wiring.jobs.steering_evaluation(world.me, job.id).request is None
    world.run(job)
    return world.wiring.jobs.steering_evaluation(world.me, job.id)


def test_every_arm_is_judged_at_every_strength(found, tmp_path, capsys):
    arms = {one.arm: [each.strength for each in found.settings if each.arm == one.arm] for one in found.settings}
    steered = {arm: [0.3, 1.0] for arm in ("random", "difference", "native")}
    assert arms == {"none": [None], "prompt": [None], **steered}
    assert all(one.n == len(PROMPTS) and one.rate.low <= one.rate.mean <= one.rate.high for one in found.settings)
    assert {one.arm: one.layer for one in found.arms}["native"] == LAYER
    assert all((one.window is None) != (one.no_window is None) for one in found.arms)
    (concept,) = found.concepts
    assert [one.latent for one in concept.native] == [1, 2]
    show_evaluation(found)
    printed = capsys.readouterr().out
    assert all(arm in printed for arm in arms)
    assert "judge of “sea”" in printed
    write_csv(tmp_path / "table.csv", found)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], float(row["rate"])) for row in rows] == [(one.arm, one.rate.mean) for one in found.settings]


def test_what_was_measured_is_listed_for_its_model_only(world, found):
    jobs = world.wiring.jobs
    (listed,) = [one for one in jobs.steering_evaluations(world.me, "first").items if one.job == found.job]
    assert (listed.concepts, listed.arms) == (["sea"], found.arms)
    assert found.job not in [one.job for one in jobs.steering_evaluations(world.me, "second").items]
    with pytest.raises(UnknownModel):
        jobs.steering_evaluations(world.me, "third")


def test_unsteered_text_is_what_the_model_writes_by_itself(world, found):
    shown = next(one for one in found.texts if one.arm == "none")
    query = GenerationRequest(prompt=shown.prompt, max_tokens=12, seed=0)
    assert world.wiring.model.generate(world.me, "first", query).rows[0].text == shown.text


def test_carried_latents_steer_the_subject_and_equal_arms_are_written_once(world):
    concepts = [{"name": name, "texts": texts(name), "carried": [1, 2]} for name in ("sea", "kitchen")]
    request = asked(model="second", layer=None, alignment="carried", maps=["write", "cov"], concepts=concepts)
    job = world.wiring.jobs.evaluate_steering(world.me, request)
    written = next(one for one in world.wiring.jobs.job(world.me, job.id).stages if one.name == "steered-texts")
    shared, own = 1 + 1 + 2 + 2 * 2, 1 + 2  # calibration, none, random, both maps; prompt and mean difference
    assert written.parts == shared + 2 * own
    world.run(job)
    found = world.wiring.jobs.steering_evaluation(world.me, job.id)
    assert {one.arm: one.layer for one in found.arms}["write"] == SUBJECT_LAYER
    assert {one.n for one in found.settings} == {2 * len(PROMPTS)}


def test_words_that_chose_the_latents_are_hidden_from_the_judge_or_refused(world, found):
    (concept,) = found.concepts
    hidden = frozenset(concept.removed) | {"ship"}
    left = without(" ".join([*concept.removed, "Ship shipping zebra"]), hidden)
    assert left == "zebra"
    identifiers = without(
        "the svd_lowrank of my_ship2 zebra", hidden | {"svd"}
    )  # words are told apart as the guard does
    assert leaked_words([identifiers], ["svd", *hidden]) == [] and "zebra" in identifiers
    leaking = asked(concepts=[{"name": "harbour", "texts": texts("sea")}], guard="refuse")
    job = world.wiring.jobs.evaluate_steering(world.me, leaking)
    while True:
        with world.wiring.database.reading() as db:
            part = next_queued(db)
        if part is None:
            break
        world.runner.run(part)
    ended = world.wiring.jobs.job(world.me, job.id)
    assert ended.state == State.FAILED
    assert ended.failures[0].reason == "judge_leak", JudgeLeak.remedy


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"layer": "model.layers.9"}, UnknownLayer),
        ({"layer": None}, UnknownLayer),
        ({"alignment": "carried"}, AtlasMismatch),
        ({"model": "second", "layer": SUBJECT_LAYER, "atlas": "atlas"}, AtlasMismatch),
        ({"prompts": [f"{n} " for n in range(32)], "samples": 8, "max_tokens": 128,
          "strengths": [n / 4 for n in range(1, 13)], "directions": 5,
          "concepts": [{"name": str(n), "texts": texts("sea")} for n in range(10)]}, GenerationOverBudget),
    ],
)  # fmt: skip
def test_what_cannot_be_steered_is_refused_before_any_work(world, more, refusal):
    with pytest.raises(refusal):
        world.wiring.jobs.evaluate_steering(world.me, asked(**more))


def test_it_needs_the_right_to_steer(world):
    viewer = world.me.model_copy(update={"rights": frozenset({Right.LOOK, Right.SUBMIT})})
    with pytest.raises(Forbidden, match="steer"):
        world.wiring.jobs.evaluate_steering(viewer, asked())


def planted(rates, fluent):
    """One concept, eight prompts, ten samples: given shares of texts have the concept, all have one fluency."""
    places = list(rates)
    concept = np.zeros((1, len(places), 8, 10))
    for number, place in enumerate(places):
        concept[0, number, :, : round(10 * rates[place])] = 2
    level = np.broadcast_to(np.array([fluent[place] for place in places])[None, :, None, None], concept.shape)
    same = {name: np.ones(concept.shape) for name in ("relevance", "total", "perplexity", "distinct", "repeated")}
    settings = [{"arm": arm, "strength": strength, "layer": None, "role": ""} for arm, strength in places]
    return Scores(settings, {"concept": concept, "fluency": level, **same}, 0)


NONE = ("none", None)
STEERED = [("write", 0.1), ("write", 0.2), ("write", 0.4)]


def test_the_strength_is_the_best_that_keeps_three_quarters_of_the_fluency():
    rates = dict(zip([NONE, *STEERED], (0.1, 0.3, 0.6, 0.9), strict=True))
    scores = planted(rates, dict(zip([NONE, *STEERED], (2.0, 1.9, 1.6, 0.5), strict=True)))
    (arm,) = arms_of(scores)
    assert arm.held_out is not None
    assert arm.window is not None
    assert (arm.held_out.strength, round(arm.held_out.gain.mean, 6)) == (0.2, 0.5)
    assert arm.held_out.fluency_share == pytest.approx(0.8)
    assert arm.held_out.faithful == pytest.approx(0.5 / 0.9)
    assert (arm.window.low, arm.window.high, arm.window.octaves) == (0.2, 0.2, 0.0)
    assert [one.front for one in settings_of(scores)] == [True, True, True, True]


@pytest.mark.parametrize(
    ("rates", "fluency", "reason"),
    [((0.3, 0.1, 0.2, 0.3), (2, 2, 2, 2), "no_gain"), ((0.1, 0.1, 0.1, 0.9), (2, 2, 2, 0.5), "not_fluent")],
)
def test_no_window_has_a_reason(rates, fluency, reason):
    places = [NONE, *STEERED]
    scores = planted(dict(zip(places, rates, strict=True)), dict(zip(places, fluency, strict=True)))
    window, missing = window_of(scores, "write", [0.1, 0.2, 0.4])
    assert window is None
    assert missing.reason == reason
