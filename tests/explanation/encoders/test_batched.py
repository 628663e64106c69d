"""Gathered encodes equal single ones: to the byte when alone, to rounding when together."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from contracts.errors import UnknownEncoder
from services.explanation.encoders.batched import OnlineEncoders
from services.explanation.encoders.registry import EncoderCache

TEXTS = ["a dog", "a photo of stripes", "the sea at night in winter", "fur", "a dog", "grid", "red car", "water"]


@pytest.fixture(scope="module")
def encoders():
    cache = EncoderCache()
    try:
        cache.get("imagenet-minilm")
    except UnknownEncoder:
        pytest.skip("the offline encoder's package is not installed")
    return cache


def test_texts_of_many_callers_are_what_each_would_have_got_alone(encoders):
    single = encoders.get("imagenet-minilm")
    alone = [single.encode_texts([text]) for text in TEXTS]
    online = OnlineEncoders(encoders.get)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = list(pool.map(lambda text: online.get("imagenet-minilm").encode_texts([text]), TEXTS))
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_allclose(other, one, atol=1e-6)
    for text, expected in zip(TEXTS, alone, strict=True):
        assert np.array_equal(online.get("imagenet-minilm").encode_texts([text]), expected)


def test_requests_of_several_rows_get_their_own_rows_back(encoders):
    online = OnlineEncoders(encoders.get).get("imagenet-minilm")
    expected = {size: online.inner.encode_texts(TEXTS[:size]) for size in (1, 2, 5, 8)}
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(expected, pool.map(lambda size: online.encode_texts(TEXTS[:size]), expected), strict=True))
    for size, rows in expected.items():
        np.testing.assert_allclose(found[size], rows, atol=1e-6)
    assert online.encode_texts([]).shape == (0, online.width)
