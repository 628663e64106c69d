"""An atlas on the planted snapshot, from training to search: the stages as a worker runs them, and the service."""

import io
import zipfile

import numpy as np
import pytest

from contracts.atlas import (
    AlignmentRequest,
    AtlasRequest,
    UnitSearch,
    UnknownAlignment,
    UnknownAtlas,
    WindowMismatch,
)
from contracts.errors import EmptyVocabulary, InsufficientEvidence, UnknownLayer
from contracts.sae import SaeRequest, TooFewRows, TooManyActive, UnknownLatent, UnknownSae
from services.explanation.atlas.plans import plan_alignment, plan_atlas
from services.explanation.atlas.sae_plans import legs, plan_sae
from services.explanation.atlas.service import Atlases
from services.explanation.atlas.stages import atlas_stages
from services.explanation.stages import stages
from services.kit.artifacts import Artifact, find_artifacts, record_artifact
from services.kit.stages import StageRegistry, Work
from services.model.sae.stages import sae_stages
from tests.explanation.planted import CALLER, CONCEPTS, STRANGER, Bench, concepts_of

NAMES = [*CONCEPTS, "brick", "river", "desk", "moon"]


class Atlasing:
    """Plans jobs on a bench and runs their parts in order, as a worker does."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        made = (*stages(bench.service), *atlas_stages(bench.service.encoders_in_memory), *sae_stages(None))
        self.functions = {one.name: one for one in made}
        self.service = Atlases(bench.database, bench.blobs, bench.service.encoders_in_memory, models=None)

    def plan(self, make, request):
        registry = StageRegistry(tuple(self.functions.values()))
        more = {"models": None} if make is plan_sae else {}
        return make(
            request, caller=CALLER, explanation=self.bench.service, registry=registry, numerics={"threads": 1}, **more
        )

    def run(self, make, request) -> str:
        plan, work = self.plan(make, request), None
        for stage in plan.stages:
            for part in stage.parts:
                work = self._part(stage.stage, part)
        assert work.result == plan.result
        return work.result

    def _part(self, stage, part) -> Work:
        bench = self.bench
        with bench.database.reading() as db:
            found = find_artifacts(db, "ours", part.inputs.values())
        given = {role: found[key].blob for role, key in part.inputs.items()}
        keys = {**part.inputs, **part.outputs}
        work = Work("ours", part.spec, given, frozenset(part.outputs), bench.blobs, lambda units: None, keys=keys)
        self.functions[stage].run(work)
        with bench.database.writing() as db:
            for name, key in part.outputs.items():
                size = bench.blobs.path(work.emitted[name]).stat().st_size
                record_artifact(db, "ours", Artifact(key, f"{stage}/{name}", work.emitted[name], size), part.inputs)
            for move in work.at_publish:
                move(db)
        return work


SAE = SaeRequest(
    snapshot="colours", layer="maps", name="parts", latents=12, k=2, steps=900, batch=32, learning_rate=5e-3
)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Atlasing:
    """The planted snapshot with an autoencoder on `maps`, an atlas of it, and the atlas carried over to both layers."""
    bench = Bench(tmp_path_factory.mktemp("atlas"))
    bench.prepare()
    bench.build(name="colours")
    made = Atlasing(bench)
    made.run(plan_sae, SAE)
    made.run(plan_atlas, AtlasRequest(sae="parts", name="colours of parts", vocabulary="list", names=NAMES))
    request = AlignmentRequest(atlas="colours of parts", snapshot="colours", name="carried", seed=1)
    made.run(plan_alignment, request)
    return made


def test_training_in_legs_ends_with_figures_on_groups_that_were_held_out(world):
    found = world.service.sae(CALLER, "parts")
    assert (found.width, found.latents, found.architecture) == (9, 12, "topk")
    assert found.quality.held_out + found.quality.trained_on == 400
    assert found.quality.held_out == 80
    assert found.quality.explained > 0.7
    assert found.quality.active <= 2
    assert legs(900) == [500, 900]
    assert [one.id for one in world.service.saes(CALLER).items] == [found.id]
    assert world.service.export_sae(CALLER, "parts").media_type == "application/zip"
    latents = [world.service.sae_latent(CALLER, "parts", at) for at in range(12)]
    pure = [one for one in latents if one.state == "ok" and one.label_share == 1]
    assert {one.label for one in pure} >= {"stripe", "sky", "letter"}


def test_latents_get_the_planted_names_and_the_shuffled_control_does_not(world):
    found = world.service.atlas(CALLER, "colours of parts")
    assert sum(found.tiers.values()) == 12
    assert found.tiers["verified"] >= 3
    assert found.auroc > 0.9
    assert found.shuffled < 0.65
    labels = world.service.atlas_labels(CALLER, "colours of parts").items
    for one in labels:
        if one.tier == "verified":
            latent = world.service.sae_latent(CALLER, "parts", one.latent)
            shown = [example.label for example in latent.examples]
            assert shown.count(one.text) >= len(shown) / 2, (one, shown)
    assert {one.text for one in labels if one.tier == "verified"} <= set(CONCEPTS)


def test_the_alignment_reports_translators_control_and_tiers_for_each_layer(world):
    found = world.service.alignment(CALLER, "carried")
    maps, tokens = found.layers
    assert (maps.layer, tokens.layer) == ("maps", "tokens")
    assert sum(maps.samples.values()) == 400
    best = next(row for row in maps.translators if row.translator == maps.chosen)
    assert best.test.auroc > 0.95
    assert best.validation == max(row.validation for row in maps.translators)
    assert maps.shuffled.auroc == pytest.approx(0.5, abs=0.15)
    assert best.test.ap > maps.base + 0.5
    assert maps.tiers["verified"] >= 3
    reached = {layer.layer: max(row.test.auroc for row in layer.translators) for layer in found.layers}
    assert reached["maps"] > reached["tokens"] > 0.6


def test_a_text_finds_the_planted_unit_through_the_atlas(world):
    hits = world.service.search_units(CALLER, "carried", UnitSearch(text="sky", layer="maps", k=3))
    assert hits.units[0].unit == CONCEPTS.index("sky")
    assert hits.latents[0].text == "sky"
    assert sum(one.weight for one in hits.latents if one.text == "sky") > 0.99
    assert sum(one.weight for one in hits.latents) == pytest.approx(1)


def test_a_unit_shows_the_labels_that_are_trusted_on_both_sides(world):
    told = world.service.unit_labels(CALLER, "carried", "maps", CONCEPTS.index("letter"))
    assert told.labels[0].text == "letter"
    assert told.labels[0].percentile > 80
    assert {tier for one in told.labels for tier in (one.label_tier, one.transfer_tier)} <= {"verified", "weak"}
    assert [one.z for one in told.labels] == sorted((one.z for one in told.labels), reverse=True)
    with pytest.raises(UnknownLatent):
        world.service.unit_labels(CALLER, "carried", "maps", 9)
    with pytest.raises(UnknownLayer):
        world.service.unit_labels(CALLER, "carried", "nowhere", 0)


def test_the_same_request_has_the_same_keys_and_another_seed_has_others(world):
    again, other = world.plan(plan_sae, SAE), world.plan(plan_sae, SAE.model_copy(update={"seed": 1}))
    assert again.result == world.service.sae(CALLER, "parts").id
    assert other.result != again.result
    renamed = world.plan(plan_sae, SAE.model_copy(update={"name": "other"}))
    assert renamed.stages[0].parts[0].outputs == again.stages[0].parts[0].outputs


def test_what_cannot_be_done_is_refused_before_any_work(world):
    for change, refusal in [
        ({"layer": "nowhere"}, UnknownLayer), ({"k": 13}, TooManyActive), ({"batch": 300}, TooFewRows),
    ]:  # fmt: skip
        with pytest.raises(refusal):
            world.plan(plan_sae, SAE.model_copy(update=change))
    for request, refusal in [
        (AtlasRequest(sae="nothing"), UnknownSae),
        (AtlasRequest(sae="parts", vocabulary="list", names=[]), EmptyVocabulary),
    ]:
        with pytest.raises(refusal):
            world.plan(plan_atlas, request)
    with pytest.raises(UnknownAtlas):
        world.plan(plan_alignment, AlignmentRequest(atlas="nothing", snapshot="colours"))
    with pytest.raises(UnknownLayer):
        world.plan(plan_alignment, AlignmentRequest(atlas="colours of parts", snapshot="colours", layers=["nowhere"]))


def test_another_workspace_sees_nothing(world):
    service = world.service
    for ask, refusal in [
        (lambda: service.sae(STRANGER, "parts"), UnknownSae),
        (lambda: service.atlas(STRANGER, "colours of parts"), UnknownAtlas),
        (lambda: service.alignment(STRANGER, "carried"), UnknownAlignment),
    ]:
        with pytest.raises(refusal):
            ask()
    assert service.saes(STRANGER).items == service.atlases(STRANGER).items == service.alignments(STRANGER).items == []


def test_a_snapshot_of_other_samples_is_no_subject(world, monkeypatch):
    opened = world.bench.service.opened(CALLER, "colours")
    other = opened.snapshot.model_copy(
        update={"dataset": opened.snapshot.dataset.model_copy(update={"order_sha256": "f" * 64}), "id": "s_other"}
    )

    class Other:
        snapshot, layer_names = other, opened.layer_names

    real = world.bench.service.opened
    monkeypatch.setattr(world.bench.service, "opened", lambda c, name: Other if name == "other" else real(c, name))
    with pytest.raises(WindowMismatch):
        world.plan(plan_alignment, AlignmentRequest(atlas="colours of parts", snapshot="other"))


def test_too_few_samples_for_figures_are_a_state_and_not_a_number(tmp_path):
    bench = Bench(tmp_path, n=60)
    bench.prepare()
    bench.build(name="colours")
    small = Atlasing(bench)
    small.run(plan_sae, SAE.model_copy(update={"steps": 40, "batch": 8}))
    small.run(plan_atlas, AtlasRequest(sae="parts", name="few", vocabulary="list", names=NAMES))
    small.run(plan_alignment, AlignmentRequest(atlas="few", snapshot="colours", name="few", layers=["maps"]))
    (layer,) = small.service.alignment(CALLER, "few").layers
    assert (layer.state, layer.chosen, layer.tiers) == ("insufficient_evidence", None, {"insufficient_evidence": 12})
    with pytest.raises(InsufficientEvidence):
        small.service.unit_labels(CALLER, "few", "maps", 0)
    assert np.bincount(concepts_of(60)).tolist() == [12] * 5


def test_an_exported_autoencoder_of_pictures_comes_back_as_it_was(world, tmp_path):
    zipfile.ZipFile(io.BytesIO(world.service.export_sae(CALLER, "parts").body)).extractall(tmp_path)
    world.bench.service.settings.import_roots.append(tmp_path)
    world.run(plan_sae, SaeRequest(snapshot="colours", layer="maps", name="back", folder=str(tmp_path)))
    before, after = world.service.sae(CALLER, "parts"), world.service.sae(CALLER, "back")
    assert (after.architecture, after.latents, after.request.k) == (before.architecture, 12, 2)
    assert after.quality.explained == pytest.approx(before.quality.explained, abs=1e-6)
    assert (after.quality.held_out, after.quality.trained_on) == (before.quality.held_out, 0)
    for latent in range(12):
        one, other = (world.service.sae_latent(CALLER, name, latent) for name in ("parts", "back"))
        assert one.model_dump(exclude={"sae"}) == other.model_dump(exclude={"sae"})
