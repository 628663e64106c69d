"""Every number leads back to weights and pictures: the lineage of whatever an installation serves."""

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from orchestration.bootstrap import build
from orchestration.cli.app import app, register_commands
from services.kit.artifacts import ArtifactRow, ancestors
from tests.faults.everything import settings_in

pytestmark = pytest.mark.slow
# what needs no input here: pictures, texts and weights as they came in, and names that somebody wrote
ORIGINS = {
    "ingest",
    "corpus",
    "register-model",
    "register-language-model",
    "vocabulary",
    "audit-readouts",
    "import-sae",
}


@pytest.fixture(scope="module")
def wiring(quiet):
    opened = build(settings_in(quiet.home))
    yield opened
    opened.close()


def served(wiring, me):
    """Whatever names a lineage: what it is, its key, how many models and datasets it must lead to."""
    atlas = wiring.atlas
    for one in wiring.data.datasets(me, 100).items:
        yield f"dataset {one.ref.name}", one.lineage, 0, 1
    for one in wiring.model.models(me, 100).items:
        yield f"model {one.ref.name}", one.lineage, 1, 0
    for one in wiring.explanation.snapshots(me, 100).items:
        yield f"snapshot {one.name}", one.lineage, 1, 1
        for labels in wiring.explanation.labels(me, one.id).items:
            yield f"labels {labels.id}", labels.lineage, 1, 1
    for one in wiring.audit.audits(me).items:
        yield f"audit {one.id}", wiring.audit.audit(me, one.id).lineage, 1, 1
    for one in wiring.alignment.comparisons(me).items:
        yield f"comparison {one.id}", wiring.alignment.comparison(me, one.id).lineage, 1, 1
    for one in atlas.captures(me).items:
        yield f"capture {one.id}", one.lineage, 1, 1
    for one in (*atlas.saes(me).items, *atlas.atlases(me).items, *atlas.alignments(me).items):
        yield f"{type(one).__name__} {one.id}", one.lineage, 1, 1


def test_everything_served_leads_back_to_weights_and_pictures(wiring):
    me = wiring.governance.operator()
    seen = set()
    for name, key, models, datasets in served(wiring, me):
        found = wiring.governance.lineage(me, key)
        kinds = [origin.kind for origin in found.origins]
        assert kinds.count("model") >= models and kinds.count("dataset") >= datasets, (name, found)
        assert all(step.gone == 0 for step in found.steps), (name, found)
        assert found.steps[0].level == 0 and found.steps[0].artifacts == 1
        leaves = {step.kind.partition("/")[0] for step in found.steps if not step.computed_from}
        assert leaves <= ORIGINS, (name, leaves)
        seen.add(name.partition(" ")[0])
    assert len(seen) >= 9


def test_no_result_of_a_model_has_lost_it(wiring):
    """A trained, a cut and a corrected model lead to the model that they were made of."""
    me = wiring.governance.operator()
    models = {one.ref.name: one for one in wiring.model.models(me, 100).items}
    parents = {
        name: {origin.name for origin in wiring.governance.lineage(me, one.lineage).origins if origin.kind == "model"}
        for name, one in models.items()
    }
    derived = {name: found - {name} for name, found in parents.items() if found - {name}}
    assert len(derived) >= 3, parents
    assert all(found <= models.keys() for found in derived.values())


def test_the_steps_hold_every_key_that_the_result_depends_on(wiring):
    me = wiring.governance.operator()
    snapshot = wiring.explanation.snapshots(me, 100).items[0]
    found = wiring.governance.lineage(me, snapshot.lineage)
    with wiring.database.reading() as db:
        walked = ancestors(db, me.workspace, [snapshot.lineage])
        stored = set(db.scalars(select(ArtifactRow.key).where(ArtifactRow.key.in_(walked))))
    assert snapshot.model.model_sha256 in walked.keys() - stored
    model = wiring.model.model(me, snapshot.model.id)
    assert found.artifacts >= len(stored | {model.lineage})
    numbers = range(len(found.steps))
    assert all(edge.step in numbers for step in found.steps for edge in step.computed_from)
    backwards = [s.kind for s in found.steps for e in s.computed_from if found.steps[e.step].level < s.level]
    assert backwards == []


def test_the_command_takes_names_and_keys(wiring, quiet, monkeypatch):
    monkeypatch.setenv("XSYS_HOME", str(quiet.home))
    register_commands()
    key = wiring.explanation.snapshot(wiring.governance.operator(), "s").lineage
    by_name, by_key, unknown = (CliRunner().invoke(app, ["lineage", of]) for of in ("s", key, "nobody"))
    assert by_name.exit_code == by_key.exit_code == 0, by_name.output
    assert by_name.stdout == by_key.stdout
    assert "publish/snapshot" in by_name.stdout and "scenes" in by_name.stdout and "cnn" in by_name.stdout
    assert unknown.exit_code == 2 and "no snapshot, model, dataset or audit" in unknown.output
