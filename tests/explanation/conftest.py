"""One planted snapshot for all tests that only read it; a bench of its own for those that break things."""

import shutil

import pytest

from tests.explanation.planted import Bench


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
