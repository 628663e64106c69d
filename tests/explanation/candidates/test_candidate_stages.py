"""Candidates through the label job: what the model is shown, what scorers make of its words, what is stored."""

import json

import numpy as np
import pytest
from PIL import Image

from contracts.errors import XsysError
from contracts.labels import CandidateRequest, VisionModelUnavailable
from services.explanation.candidates.wording import prompt_for
from services.explanation.encoders.registry import EncoderCache
from services.explanation.labels.splits import split_by_group
from services.explanation.service import Explanation
from services.kit.artifacts import find_artifacts
from services.kit.settings import Settings
from tests.explanation.candidates.chat_server import chat_server
from tests.explanation.candidates.tiny_vlm import write_tiny_vlm
from tests.explanation.planted import CALLER, COLOURS, CONCEPTS, Bench, N, activations, concepts_of, picture
from tests.explanation.test_label_stages import planned, run_plan

NAMES = ["clock", "brick", "river", "desk", "moon"]  # of the planted concepts only the clock
SCORERS = ["mean", "csp", "softwpmi", "www"]
SHOWN = concepts_of(N)


def colours_in(grid: Image.Image) -> list[int]:
    """Which concept each of the nine cells shows, by the colour in its middle."""
    pixels = np.asarray(grid).astype(int)
    cell = pixels.shape[0] // 3
    middles = pixels[cell // 2 :: cell, cell // 2 :: cell][:3, :3].reshape(-1, 3)
    return [int(np.abs(COLOURS - middle).sum(axis=1).argmin()) for middle in middles]


def tell(prompt: str, pictures: list[Image.Image]) -> str:
    """An eye that knows colours: the most frequent concept of the first grid, a word of the list, and a flourish."""
    seen = colours_in(pictures[0])
    return f"1. {CONCEPTS[max(set(seen), key=seen.count)].upper()}, Clock, {'very ' * 12}plain"


def equipped(bench: Bench, **settings) -> Bench:
    """Give the bench's service another configuration."""
    cache = EncoderCache(lambda name: bench.encoder)
    bench.service = Explanation(bench.database, bench.blobs, Settings(home=bench.root, **settings), cache)
    return bench


def asked(bench: Bench, grid: str = "positive", **changes):
    given = {"names": NAMES, "scorers": SCORERS, "candidates": CandidateRequest(grid=grid, canvas=96), **changes}
    return planned(bench, **given)


def records(bench: Bench, plan, stage: str, output: str) -> list[dict]:
    keys = [part.outputs[output] for one in plan.stages if one.stage == stage for part in one.parts]
    with bench.database.reading() as db:
        found = find_artifacts(db, "ours", keys)
    return [json.loads(bench.blobs.open(found[key].blob).read_bytes()) for key in keys]


@pytest.fixture(scope="module")
def server():
    with chat_server(tell) as made:
        yield made


@pytest.fixture(scope="module")
def bench(tmp_path_factory, server) -> Bench:
    """A snapshot `colours`, labelled with candidates of both grids by the server."""
    made = Bench(tmp_path_factory.mktemp("proposed"))
    made.prepare()
    made.build(name="colours")
    equipped(made, vlm_url=server.url, vlm_model="eye")
    made.plans = {grid: asked(made, grid) for grid in ("contrastive", "positive")}
    made.sets, made.grids, made.prompts = {}, {}, {}
    for grid, plan in made.plans.items():
        server.asked.clear()
        made.sets[grid] = run_plan(made, plan)
        made.grids[grid] = [pictures for *_, pictures, _ in server.asked]
        made.prompts[grid] = {prompt for _, prompt, *_ in server.asked}
    return made


def component(bench: Bench, layer: str, index: int, grid: str = "positive", sign: int = 1):
    return bench.service.component_labels(CALLER, "colours", layer, index, sign, bench.sets[grid])


@pytest.mark.parametrize("concept", [0, 2, 3, 4])
@pytest.mark.parametrize("grid", ["positive", "contrastive"])
def test_a_name_that_the_vocabulary_lacks_is_proposed_chosen_by_all_scorers_and_judged(bench, concept, grid):
    found = component(bench, "maps", concept, grid)
    assert found.candidates == [CONCEPTS[concept], "clock"]
    for one in found.scorers:
        assert (one.labels[0].text, one.labels[0].origin) == (CONCEPTS[concept], "candidate")
        assert one.evaluation.correlation > 0.8


def test_a_candidate_that_the_vocabulary_has_stays_its_name(bench):
    found = component(bench, "maps", 1)
    assert found.candidates == ["clock"]
    assert {(one.labels[0].text, one.labels[0].origin) for one in found.scorers} == {("clock", "vocabulary")}


def test_both_sides_of_a_signed_layer_are_asked_about(bench):
    assert component(bench, "tokens", 0).candidates[0] == "cat"
    assert component(bench, "tokens", 0, sign=-1).candidates[0] == "sky"


def test_components_without_evidence_are_not_asked_about(bench):
    assert component(bench, "maps", 6).candidates == component(bench, "maps", 7).candidates == []
    (maps, tokens) = records(bench, bench.plans["positive"], "candidates", "candidates")
    assert [one["row"] for one in maps["components"]] == [0, 1, 2, 3, 4, 5, 8]
    assert {one["row"] for one in tokens["components"]} >= {0, 1, 3, 4}


def test_only_probing_samples_are_ever_shown(bench):
    split = split_by_group(np.arange(bench.n) // 2)
    shown = {
        sample
        for plan in bench.plans.values()
        for record in records(bench, plan, "candidates", "candidates")
        for one in record["components"]
        for some in one["samples"]
        for sample in some
    }
    assert len(shown) > 50 and shown <= set(split.probe.tolist())


def test_positive_grids_show_what_activates_and_contrastive_ones_beside_it_what_does_not(bench):
    assert {len(pictures) for pictures in bench.grids["positive"]} == {1}
    assert {len(pictures) for pictures in bench.grids["contrastive"]} == {2}
    assert {pictures[0].size for pictures in bench.grids["positive"]} == {(96, 96)}
    for concept in range(5):
        first, second = (set(colours_in(one)) for one in bench.grids["contrastive"][concept])
        assert first == {concept} and concept not in second


def test_negatives_are_the_nearest_silent_probing_samples(bench):
    (maps, _) = records(bench, bench.plans["contrastive"], "candidates", "candidates")
    split, pictures = split_by_group(np.arange(bench.n) // 2), [picture(int(c), n) for n, c in enumerate(SHOWN)]
    embeddings = bench.encoder.encode_images(pictures).astype(np.float16).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    probe = np.isin(np.arange(bench.n), split.probe)
    for one in maps["components"]:
        column = activations(bench.n)["maps"]["values"][:, one["row"]].astype(np.float16).astype(np.float32)
        best = np.flatnonzero(probe)[np.argsort(-column[probe], kind="stable")[:9]]
        silent = probe & (column < column[probe].mean())
        nearest = [int(np.where(silent, embeddings @ embeddings[sample], -np.inf).argmax()) for sample in best]
        assert one["samples"] == [best.tolist(), nearest]


def test_the_set_says_who_was_asked_what_and_what_came_of_it(bench):
    found = {one.id: one for one in bench.service.labels(CALLER, "colours").items}
    for grid, labels in bench.sets.items():
        figures = found[labels].candidates
        assert (figures.adapter, figures.model, figures.grid, figures.canvas) == ("openai", "eye", grid, 96)
        assert bench.prompts[grid] == {figures.prompt} == {prompt_for(grid, 3)}
        maps, _ = figures.layers
        assert (maps.layer, maps.asked, maps.unanswered) == ("maps", 7, 0)
        assert maps.n == len(NAMES) + maps.added and 4 <= maps.added <= 5
        assert maps.vocabulary_sha256 != found[labels].vocabulary.sha256
        assert component(bench, "maps", 0, grid).vocabulary_sha256 == maps.vocabulary_sha256
        assert found[labels].vocabulary.n == len(NAMES)


def test_the_leaderboard_judges_candidates_and_keeps_controls(bench):
    board = bench.service.leaderboard(CALLER, "colours", bench.sets["positive"])
    rows = {row.scorer: row for row in board.layers[0].rows}
    assert rows["mean"].correlation.value > rows["random label"].correlation.high


def test_the_same_request_asks_nobody_again_and_every_parameter_has_its_key(bench, server):
    server.asked.clear()
    assert asked(bench).result == bench.sets["positive"]
    assert server.asked == []
    plans = [asked(bench, candidates=CandidateRequest(**one)) for one in (
        {"canvas": 96}, {"canvas": 99}, {"canvas": 96, "names": 4}, {"canvas": 96, "grid": "contrastive"},
    )]  # fmt: skip
    plans += [asked(bench, candidates=None), asked(bench, seed=1), asked(bench, names=NAMES[:-1])]
    assert len({plan.result for plan in plans}) == len(plans)
    questions = [plan.stages[1].parts[0].outputs for plan in plans[:4]]
    assert len({tuple(one.values()) for one in questions}) == 4
    assert plans[-1].stages[1].parts[0].outputs == questions[0]  # another vocabulary asks the model nothing new


def test_layers_are_labelled_alike_whichever_others_are_asked_for(bench):
    alone, both = asked(bench, layers=["maps"]), bench.plans["positive"]
    assert alone.stages[3].parts[0].outputs == both.stages[3].parts[0].outputs


def test_a_broken_server_fails_the_part_by_a_typed_refusal(bench, server):
    plan = asked(bench, seed=5)
    server.reactions.append((404, "no such model"))
    with pytest.raises(VisionModelUnavailable, match="404"):
        run_plan(bench, plan)


def test_answers_without_a_usable_word_leave_the_vocabulary_as_it_is(bench, server):
    said, server.say = server.say, lambda *_: "I cannot say what these many photographs might have in common"
    try:
        labels = run_plan(bench, asked(bench, seed=3))
    finally:
        server.say = said
    (found,) = [one for one in bench.service.labels(CALLER, "colours").items if one.id == labels]
    maps = found.candidates.layers[0]
    assert (maps.unanswered, maps.added, maps.n) == (maps.asked, 0, len(NAMES))
    assert maps.vocabulary_sha256 == found.vocabulary.sha256


def test_a_part_of_a_job_for_another_model_is_refused(bench, server):
    plan = asked(bench, seed=4)
    equipped(bench, vlm_url=server.url, vlm_model="other")
    try:
        with pytest.raises(VisionModelUnavailable, match="planned for eye"):
            run_plan(bench, plan)
    finally:
        equipped(bench, vlm_url=server.url, vlm_model="eye")


def test_candidates_are_refused_before_any_work_where_no_model_is_set_up(bench, server):
    equipped(bench)
    try:
        with pytest.raises(XsysError, match="XSYS_VLM_FOLDER or XSYS_VLM_URL is not set") as refused:
            asked(bench)
        assert (type(refused.value).__name__, refused.value.field) == ("VisionModelUnavailable", "candidates")
        assert asked(bench, candidates=None).stages[1].stage == "labels"
    finally:
        equipped(bench, vlm_url=server.url, vlm_model="eye")


def test_a_local_model_goes_the_same_way(bench, server, tmp_path):
    equipped(bench, vlm_folder=write_tiny_vlm(tmp_path / "tiny"))
    try:
        labels = run_plan(bench, asked(bench, layers=["maps"]))
        again = run_plan(bench, asked(bench, layers=["maps"]))
    finally:
        equipped(bench, vlm_url=server.url, vlm_model="eye")
    assert labels == again
    (found,) = [one for one in bench.service.labels(CALLER, "colours").items if one.id == labels]
    assert (found.candidates.adapter, found.candidates.model) == ("transformers", "tiny")
    assert found.candidates.layers[0].added > 0
    said = bench.service.component_labels(CALLER, "colours", "maps", 0, 1, labels)
    assert 1 <= len(said.candidates) <= 3
