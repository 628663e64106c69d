"""A data service on a real database and real blobs, and folders of pictures for it."""

import pytest

from services.data.service import Data
from services.kit.blobs import Blobs
from services.kit.db import Database, Table
from services.kit.settings import Settings
from tests.data.desk import Desk


@pytest.fixture
def desk(tmp_path) -> Desk:
    database = Database(f"sqlite:///{tmp_path}/x.sqlite")
    Table.metadata.create_all(database.engine)
    yield Desk(Data(database, Blobs(tmp_path / "blobs"), Settings(home=tmp_path)))
    database.close()


@pytest.fixture
def folder(tmp_path):
    """Write files into a new folder, given by name."""

    def make(files: dict[str, bytes], name: str = "pictures"):
        root = tmp_path / name
        for file, data in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(data)
        return root

    return make
