"""A graph of keys is summed by kind; origins are named once."""

import pytest

from contracts.base import Caller, Right
from contracts.lineage import UnknownArtifact
from orchestration.governance.lineage import Registered
from orchestration.governance.service import Governance
from orchestration.migrate import upgrade
from services.kit.artifacts import Artifact, forget_artifacts, record_artifact
from services.kit.db import Database
from services.kit.settings import Settings

ME = Caller(user="u", workspace="ours", rights=frozenset({Right.LOOK}))
OTHER = Caller(user="u", workspace="theirs", rights=frozenset({Right.LOOK}))
TIP, CONTENT, MODEL, MANIFEST, PICTURES = (letter * 64 for letter in "abcde")
SHARDS = [f"{number:064x}" for number in range(30)]
EPOCHS = [f"{number:064x}" for number in range(100, 103)]


@pytest.fixture
def governance(tmp_path):
    settings = Settings(home=tmp_path)
    upgrade(settings.resolved_database_url)
    database = Database(settings.resolved_database_url)

    def put(db, key, kind, inputs, size=10):
        record_artifact(db, "ours", Artifact(key, kind, "b" * 64, size), inputs)

    with database.writing() as db:
        put(db, PICTURES, "ingest/pictures", {}, 1000)
        put(db, MANIFEST, "manifest/manifest", {"pictures": PICTURES})
        for before, key in zip([None, *EPOCHS], EPOCHS, strict=False):
            put(db, key, "train-epoch/checkpoint", {"manifest": MANIFEST} | ({"checkpoint": before} if before else {}))
        put(db, MODEL, "register-trained/model", {"checkpoint": EPOCHS[-1]})
        for key in SHARDS:
            put(db, key, "activations/maps", {"manifest": MANIFEST, "model": CONTENT})
        put(db, TIP, "publish/snapshot", {f"shard/{n}": key for n, key in enumerate(SHARDS)} | {"manifest": MANIFEST})

    def registry(db, workspace, keys):
        known = {
            CONTENT: Registered("model", "m_1", "net", MODEL), MODEL: Registered("model", "m_1", "net", MODEL),
            MANIFEST: Registered("dataset", "d_1", "photos"),
        }  # fmt: skip
        return {key: known[key] for key in keys if key in known and workspace == "ours"}

    yield Governance(database, settings, registry=registry)
    database.close()


def test_a_result_leads_over_its_model_to_what_that_was_trained_on(governance):
    found = governance.lineage(ME, TIP)
    assert [(step.kind, step.level, step.artifacts) for step in found.steps] == [
        ("publish/snapshot", 0, 1), ("activations/maps", 1, 30), ("model", 2, 1), ("register-trained/model", 3, 1),
        ("train-epoch/checkpoint", 6, 3), ("manifest/manifest", 7, 1), ("ingest/pictures", 8, 1),
    ]  # fmt: skip
    assert (found.artifacts, found.bytes) == (37, 1360)
    assert [(origin.kind, origin.name, origin.sha256) for origin in found.origins] == [
        ("dataset", "photos", MANIFEST), ("model", "net", CONTENT),
    ]  # fmt: skip
    of = {step.kind: {found.steps[edge.step].kind: edge.inputs for edge in step.computed_from} for step in found.steps}
    assert of["publish/snapshot"] == {"activations/maps": 30, "manifest/manifest": 1}
    assert of["train-epoch/checkpoint"] == {"train-epoch/checkpoint": 2, "manifest/manifest": 3}
    assert of["ingest/pictures"] == {}
    assert found.steps[1].keys == SHARDS[:20]


def test_a_model_by_itself_is_its_own_origin(governance):
    found = governance.lineage(ME, MODEL)
    assert found.steps[0].kind == "register-trained/model"
    assert [(origin.name, origin.sha256, origin.step) for origin in found.origins if origin.kind == "model"] == [
        ("net", MODEL, 0)
    ]


def test_what_is_not_kept_any_more_stays_in_the_graph(governance):
    with governance._database.writing() as db:
        forget_artifacts(db, "ours", SHARDS[:4])
    steps = {step.kind: step for step in governance.lineage(ME, TIP).steps}
    assert steps["activations/maps"].artifacts == 26
    assert (steps["not recorded"].artifacts, steps["not recorded"].gone) == (4, 4)


def test_nothing_is_known_of_other_keys_and_other_workspaces(governance):
    for caller, key in ((ME, "f" * 64), (OTHER, TIP)):
        with pytest.raises(UnknownArtifact) as refused:
            governance.lineage(caller, key)
        assert refused.value.status == 404
