import pytest

from contracts.errors import StaleArtifact
from services.kit.artifacts import (
    Artifact,
    ancestry,
    find_artifacts,
    forget_artifacts,
    inputs_of,
    record_artifact,
    the_artifact,
)
from services.kit.db import Database, Table


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    Table.metadata.create_all(database.engine)
    with database.writing() as db:
        record_artifact(db, "ours", Artifact("leaf", "examples", "b1", 3), {"shard/0": "root", "manifest": "m"})
        record_artifact(db, "ours", Artifact("tip", "vectors", "b2", 4), {"examples": "leaf"})
    yield database
    database.close()


def test_a_key_leads_to_its_bytes_in_its_own_workspace_only(database):
    with database.reading() as db:
        assert find_artifacts(db, "ours", ["leaf", "nothing"]) == {"leaf": Artifact("leaf", "examples", "b1", 3)}
        assert find_artifacts(db, "theirs", ["leaf"]) == {}


def test_lineage_leads_back_to_everything(database):
    with database.reading() as db:
        assert inputs_of(db, "ours", "leaf") == {"shard/0": "root", "manifest": "m"}
        assert ancestry(db, "ours", "tip") == {"tip", "leaf", "root", "m"}


def test_a_forgotten_artifact_is_stale_until_it_is_computed_again(database):
    with database.writing() as db:
        forget_artifacts(db, "ours", ["leaf"])
    with database.reading() as db, pytest.raises(StaleArtifact):
        the_artifact(db, "ours", "leaf")
    with database.writing() as db:
        record_artifact(db, "ours", Artifact("leaf", "examples", "b9", 3), {"manifest": "m"})
    with database.reading() as db:
        assert the_artifact(db, "ours", "leaf").blob == "b9"


def test_more_keys_than_a_statement_takes_are_found(database):
    with database.writing() as db:
        for number in range(1200):
            record_artifact(db, "ours", Artifact(f"k{number}", "x", "b", 1), {})
    with database.reading() as db:
        assert len(find_artifacts(db, "ours", [f"k{number}" for number in range(1500)])) == 1200
