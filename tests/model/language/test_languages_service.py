"""Language models as registered models: from a folder or GGUF to text, steered and not."""

import json
import time

import pytest

from contracts.base import Caller, Right
from contracts.errors import Forbidden, PathNotAllowed, TooManyRequests, UnknownArchitecture, UnknownLayer, WrongWeights
from contracts.language import (
    BrokenLanguageFile,
    GenerationRequest,
    ImplausiblePerplexity,
    MissingLanguagePackage,
    PromptTooLong,
    ReadsText,
    UnknownGeneration,
)
from contracts.model import ModelRegistration
from contracts.steering import ComponentTarget, Intervention, KeptPlaces
from services.kit.blobs import Blobs
from services.kit.db import Database, Table
from services.kit.settings import Settings
from services.kit.stages import StageRegistry, Work
from services.model.errors import BadConfig
from services.model.language.tiny import save_tiny
from services.model.languages import planned
from services.model.planning import plan_registration
from services.model.preprocess import reads_pictures
from services.model.service import Models
from services.model.stages import stages
from services.model.writings import Writings
from tests.model.language.tiny_gguf import write_gguf

ANY = {"perplexity_limit": None}
LAYER = "model.layers.1"


def caller(*rights, workspace="w"):
    return Caller(user="u", workspace=workspace, rights=frozenset({Right.SEARCH, Right.REGISTER, *rights}))


STEERER = caller(Right.STEER)


def plan(models, me=None, **fields):
    me = me or caller(Right.SERVER_PATHS)
    registry = StageRegistry(stages(models))
    return plan_registration(ModelRegistration(**fields), caller=me, models=models, registry=registry)


def register(models, **fields):
    stage = plan(models, **fields).stages[0]
    part = stage.parts[0]
    spec = json.loads(json.dumps(part.spec, allow_nan=False))
    work = Work("w", spec, {}, frozenset(part.outputs), models.blobs, lambda units: None, part.outputs)
    StageRegistry(stages(models))[stage.stage].run(work)
    assert set(work.emitted) == set(part.outputs)
    with models.database.writing() as db:
        for move in work.at_publish:
            move(db)
    return models.model(caller(), work.result)


def open_models(home):
    database = Database(f"sqlite:///{home}/x.sqlite")
    Table.metadata.create_all(database.engine)
    return Models(database, Blobs(home / "blobs"), Settings(home=home))


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    return save_tiny(tiny, tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def models(folder, tmp_path_factory):
    made = open_models(tmp_path_factory.mktemp("home"))
    register(made, name="tiny", architecture="causal_lm:llama", weights=str(folder), config=ANY, licence="none")
    yield made
    made.database.close()


def steer(change="add", strength=4.0, index=3, **more):
    target = ComponentTarget(layer=LAYER, index=index)
    return Intervention(target=target, change=change, strength=strength, places={"kind": "kept"}, **more)


def request(**fields):
    return GenerationRequest(prompt="the cat", **{"max_tokens": 12, **fields})


def test_a_registered_language_model_lists_its_sites_as_layers(models):
    model = models.model(caller(), "tiny")
    assert [layer.name for layer in model.layers[:3]] == [
        "model.layers.0.self_attn",
        "model.layers.0.mlp",
        "model.layers.0",
    ]
    assert {(layer.kind, layer.width, layer.signed) for layer in model.layers} == {("tokens", 32, True)}
    assert model.ref.architecture == "causal_lm:llama" and model.ref.preprocessing is None
    assert model.facts["context"] == 256 and model.facts["perplexity"] > 100
    with pytest.raises(ReadsText):
        reads_pictures(model.ref)
    with pytest.raises(ReadsText):
        models.model_cost(caller(), "tiny")


def test_steering_without_named_places_leaves_out_the_first_token_and_the_template(models):
    silent = steer(strength=0.5).model_copy(update={"places": None})
    with models.loaded(models.model(caller(), "tiny").ref) as built:
        found = models.model(caller(), "tiny")
        plan = planned(models, STEERER, found, built.language, request(interventions=[silent]))
    assert [step.places for step in plan.steps] == [KeptPlaces()]


def test_continuations_are_judged_by_the_unsteered_model_and_their_repetition(models):
    rows = models.generate(STEERER, "tiny", request(temperature=0, interventions=[steer()], scores=True)).rows
    plain, steered = (row.scores for row in rows)
    assert 1 <= plain.perplexity < steered.perplexity
    assert 0 <= steered.distinct <= 1 and 0 <= steered.repeated <= 1
    assert models.generate(caller(), "tiny", request()).rows[0].scores is None


def test_gguf_and_folder_of_one_model_have_the_same_weights_and_text(models, tiny, tmp_path):
    path = write_gguf(tiny, tmp_path / "tiny.gguf")
    other = register(models, name="from gguf", architecture="gguf:llama", weights=str(path), config=ANY)
    assert other.ref.architecture == "causal_lm:llama"
    query = request(temperature=0)
    assert models.generate(caller(), "from gguf", query).rows == models.generate(caller(), "tiny", query).rows


def test_registering_again_has_the_same_id_and_does_nothing(models, folder):
    first = models.model(caller(), "tiny")
    asked = {"architecture": "causal_lm:llama", "weights": str(folder), "config": ANY, "licence": "none"}
    assert plan(models, name="tiny", **asked).result == first.ref.id
    assert register(models, name="tiny", **asked).ref == first.ref


def test_what_can_be_seen_beforehand_is_refused_at_once(models, folder, tmp_path, monkeypatch):
    asked = {"name": "x", "architecture": "causal_lm:llama", "weights": str(folder)}
    with pytest.raises(UnknownArchitecture) as refused:
        plan(models, **asked | {"architecture": "causal_lm:lama"})
    assert "causal_lm:llama" in refused.value.facts["closest"]
    with pytest.raises(PathNotAllowed):
        plan(models, caller(), **asked)
    with pytest.raises(BadConfig):
        plan(models, **asked, config={"layers": 3})
    with pytest.raises(BadConfig):
        plan(models, **asked, config={"perplexity_limit": True})
    with pytest.raises(WrongWeights, match="read, not drawn"):
        plan(models, **asked, initial_seed=3)
    with pytest.raises(WrongWeights):
        plan(models, **asked | {"weights": None})
    with pytest.raises(WrongWeights):
        plan(models, name="x", architecture="llm:smollm2", weights=str(folder))
    with pytest.raises(BrokenLanguageFile, match="lacks"):
        plan(models, **asked | {"weights": str(tmp_path)})
    monkeypatch.setattr("services.model.language.sources.package_folder", lambda package: None)
    with pytest.raises(MissingLanguagePackage):
        plan(models, name="x", architecture="llm:gemma3-270m")


def test_a_model_that_knows_no_english_needs_to_be_let_through(models, folder):
    with pytest.raises(ImplausiblePerplexity):
        register(models, name="y", architecture="causal_lm:llama", weights=str(folder))


def test_an_architecture_that_is_not_in_the_file_is_refused(models, folder):
    with pytest.raises(WrongWeights) as refused:
        register(models, name="z", architecture="causal_lm:qwen2", weights=str(folder), config=ANY)
    assert refused.value.facts["found"] == "llama"


def test_samples_have_consecutive_seeds_and_the_same_request_the_same_text(models):
    first = models.generate(caller(), "tiny", request(samples=3, seed=5, temperature=1.0))
    assert [(row.arm, row.seed) for row in first.rows] == [("unsteered", 5), ("unsteered", 6), ("unsteered", 7)]
    assert models.generate(caller(), "tiny", request(samples=3, seed=5, temperature=1.0)).rows == first.rows
    alone = models.generate(caller(), "tiny", request(seed=6, temperature=1.0)).rows[0]
    assert alone == first.rows[1]
    assert {row.end for row in first.rows} <= {"length", "stop"}


def test_steered_text_stands_beside_the_unsteered_text_of_the_same_seed(models):
    plain = models.generate(caller(), "tiny", request(samples=2, temperature=1.0)).rows
    both = models.generate(STEERER, "tiny", request(samples=2, temperature=1.0, interventions=[steer()])).rows
    assert both[:2] == plain
    assert [(row.arm, row.seed) for row in both[2:]] == [("steered", 0), ("steered", 1)]
    assert [row.text for row in both[2:]] != [row.text for row in plain]


def test_the_strength_zero_gives_the_unsteered_text_byte_for_byte(models):
    query = request(samples=2, temperature=1.5, top_k=0, interventions=[steer(strength=0.0), steer("ablate", 0.0)])
    rows = models.generate(STEERER, "tiny", query).rows
    assert [row.text.encode() for row in rows[:2]] == [row.text.encode() for row in rows[2:]]


def test_steering_acts_on_the_component_that_was_named_and_leaves_no_hook(models):
    found = models.model(caller(), "tiny")
    with models.loaded(found.ref) as built:
        before = sum(len(module._forward_hooks) for module in built.model.modules())
        models.generate(STEERER, "tiny", request(interventions=[steer("set", 3.0, unit="raw")]))
        assert sum(len(module._forward_hooks) for module in built.model.modules()) == before
    strong = models.generate(STEERER, "tiny", request(temperature=0, interventions=[steer(strength=500.0)])).rows[1]
    weak = models.generate(STEERER, "tiny", request(temperature=0, interventions=[steer(strength=1e-6)])).rows
    assert strong.text != weak[0].text and weak[0].text == weak[1].text


def test_steering_needs_its_right_and_a_layer_that_exists(models):
    with pytest.raises(Forbidden, match="steer"):
        models.generate(caller(), "tiny", request(interventions=[steer()]))
    elsewhere = steer().model_copy(update={"target": ComponentTarget(layer="model.layers.7", index=0)})
    with pytest.raises(UnknownLayer):
        models.generate(STEERER, "tiny", request(interventions=[elsewhere]))


def test_a_prompt_beyond_the_context_is_refused_in_both_forms(models):
    query = GenerationRequest(prompt="x" * 250, max_tokens=10)
    with pytest.raises(PromptTooLong):
        models.generate(caller(), "tiny", query)
    with pytest.raises(PromptTooLong):
        models.open_generation(caller(), "tiny", query)


def read_to_the_end(models, state):
    versions = [state.version]
    while not state.ended:
        state = models.generation(caller(), state.id, state.version)
        versions.append(state.version)
    return state, versions


def test_a_text_read_while_it_is_written_is_the_text_that_is_answered_whole(models):
    query = request(samples=2, temperature=1.0, interventions=[steer()])
    opened = models.open_generation(STEERER, "tiny", query)
    state, versions = read_to_the_end(models, opened)
    assert state.rows == models.generate(STEERER, "tiny", query).rows
    assert versions == sorted(versions)


def test_closing_stops_the_writing_before_the_next_token(models):
    opened = models.open_generation(caller(), "tiny", request(max_tokens=200))
    models.close_generation(caller(), opened.id)
    with pytest.raises(UnknownGeneration):
        models.generation(caller(), opened.id)
    writing = threading_names(opened.id)
    assert writing == []


def threading_names(name):
    import threading

    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        alive = [thread.name for thread in threading.enumerate() if thread.name == name]
        if not alive:
            return []
        time.sleep(0.02)
    return alive


def test_texts_of_another_workspace_are_unknown_and_too_many_are_refused(models, monkeypatch):
    monkeypatch.setattr(models, "writings", Writings(most=0))
    with pytest.raises(TooManyRequests):
        models.open_generation(caller(), "tiny", request())
    monkeypatch.setattr(models, "writings", Writings())
    opened = models.open_generation(caller(), "tiny", request())
    with pytest.raises(UnknownGeneration):
        models.generation(caller(workspace="other"), opened.id)
    read_to_the_end(models, opened)


def test_a_text_that_nobody_reads_is_given_up(models, monkeypatch):
    monkeypatch.setattr(models, "writings", Writings(silence=-1.0))
    opened = models.open_generation(caller(), "tiny", request(max_tokens=200))
    state, _ = read_to_the_end(models, opened)
    assert state.rows[0].tokens == 0 and state.rows[0].end is None
