import errno
import hashlib
import os
import resource
import subprocess
import sys

import pytest

from contracts.errors import CorruptArtifact, StorageFull
from services.kit.blobs import Blobs, storage_full_is_typed


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "blobs")


def test_bytes_are_found_by_their_own_hash(blobs):
    sha = blobs.put(b"seven")
    assert sha == hashlib.sha256(b"seven").hexdigest()
    assert blobs.read(sha) == b"seven"


def test_the_same_bytes_twice_are_one_file_and_nothing_temporary_remains(blobs):
    assert blobs.put(b"x") == blobs.put(b"x")
    assert list((blobs.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("damage", [lambda b: bytes([b[0] ^ 1]) + b[1:], lambda b: b[:-1], lambda b: b""])
def test_a_flipped_bit_or_a_missing_end_is_refused_and_moved_aside(blobs, damage):
    sha = blobs.put(b"precious")
    blobs.path(sha).write_bytes(damage(b"precious"))
    with pytest.raises(CorruptArtifact):
        Blobs(blobs.root).open(sha)
    assert not blobs.has(sha)
    assert [path.name.split(".")[0] for path in (blobs.root / "quarantine").iterdir()] == [sha]


def test_a_check_notices_damage_that_came_after_the_first_reading(blobs):
    sha = blobs.put(b"precious")
    blobs.open(sha)
    blobs.path(sha).write_bytes(b"Precious")
    assert not blobs.check(sha)
    with pytest.raises(CorruptArtifact):
        blobs.open(sha)


def test_damaged_bytes_can_be_put_again(blobs):
    sha = blobs.put(b"precious")
    blobs.path(sha).write_bytes(b"broken")
    assert not blobs.check(sha)
    assert blobs.put(b"precious") == sha
    assert blobs.read(sha) == b"precious"


def test_only_old_temporary_files_are_swept(blobs):
    young, old = blobs.temporary(), blobs.temporary()
    young.write_bytes(b"1")
    old.write_bytes(b"2")
    os.utime(old, (0, 0))
    assert blobs.sweep(older_than=60) == 1
    assert young.exists()
    assert not old.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_has_a_type(code):
    with pytest.raises(StorageFull), storage_full_is_typed():
        raise OSError(code, "no")


def test_other_errors_of_the_disk_stay_what_they_are():
    with pytest.raises(PermissionError), storage_full_is_typed():
        raise PermissionError(errno.EACCES, "no")


def test_a_real_file_size_limit_is_storage_full_and_leaves_nothing(blobs):
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from services.kit.blobs import Blobs\n"
        "from contracts.errors import StorageFull\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    Blobs(Path(sys.argv[1])).put(b'x' * 5000)\n"
        "except StorageFull:\n    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(blobs.root)], check=False)
    assert done.returncode == 7
    assert [path for path in blobs.root.rglob("*") if path.is_file()] == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
