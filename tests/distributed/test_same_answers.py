"""The same requests to embedded and distributed installations: the same bytes."""

import httpx
import pytest

GETS = (
    "/datasets/demo", "/datasets/demo/samples?limit=20", "/datasets/demo/samples/3",
    "/datasets/demo/samples/3/thumbnail", "/datasets/demo/samples/3/picture", "/datasets/demo/rejected",
    "/models", "/models/lite0", "/encoders", "/snapshots", "/snapshots/small", "/snapshots/small/components?limit=30",
    "/snapshots/small/components?sort=clarity&limit=10", "/snapshots/small/layers/conv_head/components/5",
    "/snapshots/nowhere", "/datasets/nowhere",
)  # fmt: skip
SEARCHES = (
    {"terms": [{"text": "a dog"}], "k": 20},
    {"terms": [{"component": {"layer": "conv_head", "index": 3}, "weight": 1.0}], "k": 5},
    {"terms": [{"text": ""}]},
)
CHANGING = ("correlation_id", "seconds")


@pytest.fixture(scope="module")
def both(served, fleet, token):
    """Two clients: embedded, distributed."""
    with (
        httpx.Client(base_url=f"{served.url}/v1", timeout=60, headers=bearer(served.token())) as embedded,
        httpx.Client(base_url=f"{fleet.url}/v1", timeout=60, headers=bearer(token)) as distributed,
    ):
        yield embedded, distributed


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def body_of(answer: httpx.Response) -> object:
    """The bytes; of a refusal, everything but the correlation id."""
    if answer.status_code < 400:
        return answer.content
    return {name: value for name, value in answer.json().items() if name not in CHANGING}


@pytest.mark.parametrize("path", GETS)
def test_a_look_is_answered_with_the_same_bytes(both, path):
    here, there = (client.get(path) for client in both)
    assert (here.status_code, here.headers["content-type"], here.headers.get("etag")) == (
        there.status_code, there.headers["content-type"], there.headers.get("etag"),
    )  # fmt: skip
    assert body_of(here) == body_of(there)


@pytest.mark.parametrize("query", SEARCHES, ids=["text", "component", "refused"])
def test_a_search_is_answered_with_the_same_bytes(both, query):
    here, there = (client.post("/snapshots/small/search", json=query) for client in both)
    assert here.status_code == there.status_code
    assert body_of(here) == body_of(there)
