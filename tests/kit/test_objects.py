"""Blobs in a bucket: a real S3 server process, real puts."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from contracts.errors import CorruptArtifact, Unavailable
from services.kit.objects import ObjectBlobs, open_blobs
from services.kit.settings import Settings
from tests.servers import accepts, free_port, wait_for


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: accepts(port), process, "the S3 server")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def store(endpoint, tmp_path, monkeypatch):
    """Return a function that opens the bucket of this test from a machine with an empty cache."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = tmp_path.name.replace("_", "-")[:60].strip("-")

    def open_from(machine: str) -> ObjectBlobs:
        settings = Settings(home=tmp_path / machine, blob_url=f"s3://{bucket}/xsys", s3_endpoint=endpoint)
        opened = open_blobs(settings)
        assert isinstance(opened, ObjectBlobs)
        if not opened._remote.exists(bucket):
            opened._remote.mkdir(bucket)
        return opened

    return open_from


def test_what_one_machine_puts_another_reads_and_the_name_is_the_hash(store):
    here, there = store("here"), store("there")
    sha = here.put(b"pictures")
    assert sha == hashlib.sha256(b"pictures").hexdigest()
    assert here.put(b"pictures") == sha
    assert there.has(sha)
    assert there.read(sha) == b"pictures"
    assert not there.has("0" * 64)
    with pytest.raises(CorruptArtifact):
        there.open("0" * 64)


def test_a_large_object_goes_up_in_pieces_and_comes_back_whole(store):
    body = bytes(range(256)) * (120 << 12)  # 120 MiB: more than one piece
    sha = store("here").put(body)
    assert store("there").read(sha) == body


def test_damaged_bytes_are_refused_and_moved_aside_and_can_be_put_again(store):
    here, there = store("here"), store("there")
    sha = here.put(b"intact")
    here._remote.pipe_file(here._address(sha), b"change")
    with pytest.raises(CorruptArtifact, match="damaged"):
        there.open(sha)
    assert not there.has(sha)
    assert here.put(b"intact") == sha
    assert there.read(sha) == b"intact"
    assert there.check(sha)


def test_a_torn_object_under_the_right_name_is_replaced_by_the_next_put(store):
    here = store("here")
    sha = hashlib.sha256(b"whole").hexdigest()
    here._remote.pipe_file(here._address(sha), b"wh")
    assert here.put(b"whole") == sha
    assert store("there").read(sha) == b"whole"


def test_the_cache_keeps_to_its_budget_and_fetches_again(store):
    import os

    here = store("here")
    shas = [here.put(bytes([number]) * 1000) for number in range(4)]
    for age, sha in enumerate(shas):
        os.utime(here.path(sha), (1_000_000 + age, 1_000_000 + age))
    here._budget = 2000
    here.sweep()
    assert [here.path(sha).is_file() for sha in shas] == [False, False, True, True]
    assert here.read(shas[0]) == b"\0" * 1000


def test_a_store_that_is_gone_is_unavailable_and_not_a_mistake_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    gone = open_blobs(Settings(home=tmp_path, blob_url="s3://b", s3_endpoint=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(Unavailable):
        gone.has("0" * 64)
