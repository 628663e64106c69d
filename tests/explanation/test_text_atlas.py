"""A text atlas on a tiny pair of language models: capture, autoencoder, labels, alignment, and what is asked of it."""

from types import SimpleNamespace

import numpy as np
import pytest

from contracts.atlas import (
    AlignmentRequest,
    AtlasMismatch,
    AtlasRequest,
    LabellerUnavailable,
    UnitSearch,
    WindowMismatch,
)
from contracts.atlas_reading import DirectionQuery, TextQuery
from contracts.captures import CaptureRequest, UnknownCapture
from contracts.corpora import HoldsText
from contracts.errors import UnknownLayer
from contracts.language import GenerationRequest
from contracts.sae import SaeRequest, TooFewRows, UnknownLatent
from contracts.steering import DirectionTarget, Intervention
from services.explanation.atlas import text_labels
from services.explanation.atlas.reading import encode
from services.explanation.atlas.term_labels import TermLabel
from services.kit.arrays import load_arrays
from services.kit.artifacts import find_artifacts
from services.kit.corpora import Corpus, Document
from services.kit.stages import Work
from services.model.sae.stored import load_sae
from tests.language_world import LAYER, SUBJECT_LAYER, WORDS

TEXT = "the planet is near the moon. they put the bread under the oven."


@pytest.fixture(scope="module")
def world(tiny_languages):
    return tiny_languages


@pytest.fixture(scope="module")
def atlas(world):
    return world.wiring.atlas


def files_of(world, row):
    with world.wiring.database.reading() as db:
        found = find_artifacts(db, world.me.workspace, row.values())
    return {role: world.wiring.blobs.open(found[key].blob) for role, key in row.items()}


def test_two_models_are_captured_on_the_same_characters(world, atlas):
    one, other = (atlas.capture(world.me, f"of {name}") for name in ("first", "second"))
    assert one.order_sha256 == other.order_sha256
    assert one.windows == sum(one.splits.values())
    assert one.splits["train"] > one.splits["test"] > 20
    (layer,) = one.layers
    assert (layer.layer, layer.width) == (LAYER, 32)
    assert layer.tokens > 8 * one.windows
    assert layer.norm > 0
    assert [each.id for each in atlas.captures(world.me).items] == [other.id, one.id]


def test_an_autoencoder_of_tokens_is_measured_on_documents_that_it_did_not_see(world, atlas):
    found = atlas.sae(world.me, "latents")
    assert (found.capture, found.snapshot) == (atlas.capture(world.me, "of first").id, None)
    assert found.quality.explained > 0.75
    assert found.quality.recovered > 0.8
    assert found.quality.active <= 4
    shown = [atlas.sae_latent(world.me, "latents", at) for at in range(found.latents)]
    strongest = max(shown, key=lambda one: one.density)
    example = strongest.examples[0]
    start, stop = example.span
    assert 0 <= start < stop <= len(example.text)
    assert sum(one.share for one in strongest.tokens) <= 1 + 1e-6
    assert len(strongest.raises) == 10


def test_labels_are_judged_on_test_documents_and_shuffled_ones_fail(world, atlas):
    found = atlas.atlas(world.me, "atlas")
    assert sum(found.tiers.values()) == 64
    assert sum(found.methods.values()) == len(atlas.atlas_labels(world.me, "atlas").items)
    assert found.auroc > found.shuffled + 0.1
    assert found.shuffled == pytest.approx(0.5, abs=0.12)
    best = atlas.atlas_labels(world.me, "atlas").items[0]
    assert best.tier == "verified"
    assert best.method in {"token", "prefix", "suffix", "terms", "output", "concept"}


def test_the_alignment_stands_beside_its_controls(world, atlas):
    (layer,) = atlas.alignment(world.me, "carried").layers
    assert layer.state == "ok"
    assert {row.pool for row in layer.translators} == {"max", "mean", "last", "top3"}
    best = next(row for row in layer.translators if (row.translator, row.pool) == (layer.chosen, layer.pool))
    assert best.validation == max(row.validation for row in layer.translators)
    assert best.test.auroc > layer.shuffled.auroc + 0.1
    assert layer.shuffled.auroc == pytest.approx(0.5, abs=0.05)
    assert layer.curve[-1].windows == layer.samples["training"]
    assert layer.curve[-1].auroc == pytest.approx(best.test.auroc)
    assert 0 < layer.retrieval.mpp <= 1
    assert layer.lexical.auroc > 0.5


def test_a_text_is_read_token_by_token_in_both_models(world, atlas):
    own = atlas.read_text(world.me, "atlas", TextQuery(text=TEXT, k=2))
    carried = atlas.localise(world.me, "carried", TextQuery(text=TEXT, k=2))
    for reading in (own, carried):
        assert "".join(token.text for token in reading.tokens) == TEXT
        assert all(len(token.labels) <= 2 for token in reading.tokens)
        assert reading.latents[0].share == 1
    assert not own.carried
    assert carried.carried and carried.translator
    wanted = own.latents[0].latent
    only = atlas.read_text(world.me, "atlas", TextQuery(text=TEXT, latents=[wanted]))
    assert {label.latent for token in only.tokens for label in token.labels} == {wanted}
    with pytest.raises(UnknownLatent):
        atlas.read_text(world.me, "atlas", TextQuery(text=TEXT, latents=[64]))
    with pytest.raises(UnknownLayer):
        atlas.read_text(world.me, "atlas", TextQuery(text=TEXT, layer=SUBJECT_LAYER))


def test_codes_of_the_reading_are_those_of_the_trained_autoencoder(world, atlas):
    from services.explanation.atlas.repository import sae_row

    with world.wiring.database.reading() as db:
        row = dict(sae_row(db, world.me.workspace, "latents").artifacts)
    path = files_of(world, row)["sae"]
    import torch

    x = np.random.default_rng(0).normal(size=(40, 32)).astype(np.float32) * 5
    assert encode(path, x) == pytest.approx(load_sae(path).encode(torch.from_numpy(x)).numpy(), abs=1e-5)
    assert load_arrays(path)["decoder"].shape == (64, 32)


def test_a_direction_from_latents_steers_the_subject(world, atlas):
    trusted = [one.latent for one in atlas.atlas_labels(world.me, "atlas").items[:3]]
    direction = atlas.alignment_direction(world.me, "carried", DirectionQuery(latents=trusted, map="write"))
    assert np.linalg.norm(direction.vector) == pytest.approx(1)
    assert set(direction.others) == {"cov", "read"}
    assert len(direction.cosines) == 3
    native = atlas.atlas_direction(world.me, "atlas", DirectionQuery(latents=trusted))
    assert (native.map, len(native.vector)) == ("native", 32)
    target = DirectionTarget(layer=direction.layer, vector=direction.vector)
    push = Intervention(target=target, change="add", strength=2)
    request = GenerationRequest(prompt="the ", max_tokens=12, temperature=0, interventions=[push])
    unsteered, steered = world.wiring.model.generate(world.me, "second", request).rows
    assert unsteered.text != steered.text


def test_two_atlases_over_one_subject_are_compared(world, atlas):
    found = atlas.agreement(world.me, "carried", "carried")
    assert found.agreed == 1
    assert found.cosine == pytest.approx(1, abs=1e-5)
    assert found.chance < 1
    assert found.units > 0


def test_a_word_finds_units_or_is_refused_with_the_nearest_labels(world, atlas):
    verified = [one for one in atlas.atlas_labels(world.me, "atlas").items if one.tier == "verified"]
    word = verified[0].text.split('"')[1] if '"' in verified[0].text else verified[0].text.split(",")[0]
    alignment = atlas.alignment(world.me, "carried")
    hits = atlas.search_units(world.me, "carried", UnitSearch(text=word, layer=SUBJECT_LAYER, k=3))
    assert hits.alignment == alignment.id
    assert len(hits.units) == 3


def test_what_cannot_be_done_is_refused_before_any_work(world, atlas):
    jobs, me = world.wiring.jobs, world.me
    with pytest.raises(UnknownLayer) as refusal:
        jobs.capture_text(me, CaptureRequest(model="first", corpus="texts", layers=["model.layers.77"]))
    assert len(refusal.value.facts["closest"]) == 3
    with pytest.raises(UnknownCapture):
        jobs.train_sae(me, SaeRequest(capture="nothing", layer=LAYER))
    with pytest.raises(TooFewRows) as few:
        jobs.train_sae(me, SaeRequest(capture="of first", layer=LAYER, batch=8192))
    assert few.value.facts["needed"] == 16_384
    with pytest.raises(HoldsText):
        jobs.build_atlas(me, AtlasRequest(sae="latents", vocabulary="captions"))
    with pytest.raises(AtlasMismatch):
        jobs.align_atlas(me, AlignmentRequest(atlas="atlas", snapshot="pictures"))
    other = CaptureRequest(model="second", corpus="texts", layers=[SUBJECT_LAYER], windows=40, name="fewer")
    world.run(jobs.capture_text(me, other))
    with pytest.raises(WindowMismatch):
        jobs.align_atlas(me, AlignmentRequest(atlas="atlas", capture="fewer"))


def test_the_same_request_reuses_everything(world, atlas):
    before = atlas.capture(world.me, "of first")
    request = CaptureRequest(model="first", corpus="texts", layers=[LAYER], shard=400, name="of first")
    job = world.wiring.jobs.capture_text(world.me, request)
    assert world.run(job) == before.id


def test_a_phrase_of_a_language_model_becomes_one_more_candidate(world, atlas, monkeypatch):
    jobs, me = world.wiring.jobs, world.me
    asked = AtlasRequest(sae="latents", name="phrased", vocabulary="list", names=WORDS, labeller=True)
    with pytest.raises(LabellerUnavailable):
        jobs.build_atlas(me, asked)
    names, words = ["sea", "bread"], np.eye(2, 4, dtype=np.float32)
    features = {
        "top_window": np.array([[0, 1, -1]]), "top_start": np.array([[0, 2, -1]]), "top_stop": np.array([[3, 4, -1]]),
    }  # fmt: skip
    seen = []

    class Says:
        def phrase(self, passages):
            seen.append(passages)
            return "things to eat"

    monkeypatch.setattr(text_labels, "load_arrays", lambda path: features)
    corpus = Corpus([Document("a", "the bread"), Document("b", "an oven")], 64)
    work = SimpleNamespace(path=lambda role: role, advance=lambda units: None)
    options = [[TermLabel("bread", "concept", {"bread": 1.0})]]
    named, vectors = text_labels._phrased(
        work, corpus, options, Says(), names, words, lambda texts: np.ones((len(texts), 4), np.float32)
    )
    assert seen == [["<<the>> bread", "an<< o>>ven"]]
    assert options[0][-1] == TermLabel("things to eat", "phrase", {"things to eat": 1.0})
    assert (named, vectors.shape) == (["sea", "bread", "things to eat"], (3, 4))


def test_a_long_alignment_shows_signs_of_life(world, monkeypatch):
    signs = []
    real = Work.advance
    monkeypatch.setattr(Work, "advance", lambda self, units: (signs.append(units), real(self, units))[1])
    request = AlignmentRequest(atlas="atlas", capture="of second", name="slow", seed=5)
    world.run(world.wiring.jobs.align_atlas(world.me, request))
    assert (
        signs.count(0) > 20
    )  # each translator and pool, each refit, each batch of intervals: else it is taken for dead
