import threading
import time

import pytest

from contracts.errors import UnknownEncoder
from services.explanation.encoders.registry import EncoderCache, available_encoders, describe_encoder, load_encoder


@pytest.mark.parametrize("name", ["resnet", "", "open_clip", "IMAGENET-MINILM"])
def test_an_unknown_name_is_refused_with_what_loads_here(name):
    with pytest.raises(UnknownEncoder) as refusal:
        load_encoder(name)
    assert refusal.value.field == "encoder"
    assert "imagenet-minilm" in refusal.value.facts["loads"]


def test_what_is_available_can_be_described_by_its_name():
    found = available_encoders()
    assert "imagenet-minilm" in [encoder.name for encoder in found]
    for encoder in found:
        assert describe_encoder(encoder.name) == encoder


def test_ten_threads_that_ask_at_once_load_an_encoder_once():
    loads = []
    gate = threading.Barrier(10)

    def load(name):
        loads.append(name)
        time.sleep(0.05)
        return object()

    cache, got = EncoderCache(load), []

    def ask():
        gate.wait()
        got.append(cache.get("one"))

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["one"]
    assert len(got) == 10
    assert len(set(map(id, got))) == 1


def test_a_failed_load_is_told_and_tried_again_when_next_asked():
    answers = [UnknownEncoder("not yet"), "encoder"]

    def load(name):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = EncoderCache(load)
    with pytest.raises(UnknownEncoder):
        cache.get("one")
    assert cache.get("one") == "encoder"
