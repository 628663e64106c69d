"""One planted snapshot for all tests that only read it; a bench of its own for those that break things."""

import shutil

import pytest

from tests.explanation.planted import Bench
from tests.language_world import language_world


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Bench:
    """A bench with a published snapshot named `colours`. Tests do not change it."""
    bench = Bench(tmp_path_factory.mktemp("planted"))
    bench.prepare()
    bench.snapshot = bench.build(name="colours")
    return bench


@pytest.fixture
def own(built, tmp_path) -> Bench:
    """A copy of the planted snapshot that may be broken."""
    root = tmp_path / "own"
    built.database.close()
    shutil.copytree(built.root, root)
    bench = Bench(root)
    bench.roles, bench.snapshot = dict(built.roles), built.snapshot
    return bench


@pytest.fixture(scope="session")
def tiny_languages(tmp_path_factory):
    """Two tiny language models, captured, with an atlas of the first that is carried over to the second."""
    return language_world(tmp_path_factory.mktemp("languages"))
