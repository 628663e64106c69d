import numpy as np
import pytest

from contracts.errors import Cancelled, CorruptArtifact
from services.kit.blobs import Blobs
from services.kit.stages import StageFunction, StageRegistry, Work


@pytest.fixture
def work(tmp_path):
    blobs = Blobs(tmp_path)
    sha = blobs.put(b'{"n": 3}')
    return Work("ours", {}, {"facts": sha, "gone": "0" * 64}, frozenset({"out"}), blobs, tick=lambda units: None)


def test_what_is_emitted_lies_in_the_store_under_its_hash(work):
    work.emit_arrays("out", {"x": np.arange(3)}, {"unit": "pictures"})
    work.emit_record("note", {"b": 1, "a": "ü"})
    assert work.blobs.read(work.emitted["note"]) == '{"a":"ü","b":1}'.encode()
    assert work.record("facts") == {"n": 3}


def test_a_missing_input_is_refused(work):
    with pytest.raises(CorruptArtifact):
        work.path("gone")


def test_an_exception_while_writing_leaves_nothing(work):
    with pytest.raises(KeyError), work.writing("out") as path:
        path.write_bytes(b"half")
        raise KeyError
    assert work.emitted == {}
    assert list((work.blobs.root / "tmp").iterdir()) == []


def test_progress_is_where_a_cancelled_part_stops(work):
    def stop(units: int) -> None:
        raise Cancelled("stop")

    work.tick = stop
    with pytest.raises(Cancelled):
        work.advance(1)


def test_two_stages_cannot_share_a_name():
    stage = StageFunction("x", 1, lambda work: None)
    with pytest.raises(ValueError, match="two stages"):
        StageRegistry((stage, stage))
