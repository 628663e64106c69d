"""Every operation of every contract gives the same answer directly and through router and client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from contracts import (
    alignment,
    atlas,
    audit,
    comparison,
    data,
    explanation,
    governance,
    jobs,
    model,
    sessions,
)
from contracts.base import Caller, Right, operations_of
from contracts.errors import Forbidden, IdempotencyConflict, InvalidRequest, Unauthenticated, Unavailable, UnknownJob
from orchestration.gateway.internal import internal_app, service_credentials
from services.kit.expose import service_name
from services.kit.remote import remote
from services.kit.tokens import TokenKey, sign_service_token
from tests.contracts.instances import JOB, QUERY, REQUEST
from tests.contracts.planted import PLAIN

PROTOCOLS = (
    data.DataService,
    model.ModelService,
    explanation.ExplanationService,
    alignment.AlignmentService,
    comparison.ComparisonService,
    audit.AuditService,
    atlas.AtlasService,
    governance.GovernanceService,
    jobs.JobService,
    sessions.SessionService,
)
OPERATIONS = [(protocol, name) for protocol in PROTOCOLS for name in operations_of(protocol)]
IDS = [f"{service_name(protocol)}.{name}" for protocol, name in OPERATIONS]
REFUSALS = [
    (protocol, name, refusal)
    for protocol, name in OPERATIONS
    for refusal in (*operations_of(protocol)[name].refuses, Forbidden, Unavailable)
]
KEY = TokenKey(b"k" * 32)
ALICE = Caller(user="u_alice", workspace="w_one", rights=frozenset(Right) - {Right.ADMINISTER})


class Planted:
    """Answers every operation of one service as planted, or refuses as planned, and remembers how it was asked."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.asked: list[dict[str, Any]] = []
        self.refusals: list[Exception] = []

    def __getattr__(self, name: str) -> Any:
        answer = PLAIN[f"{self.service}.{name}"][1]

        def ask(**values: Any) -> Any:
            self.asked.append(values)
            if self.refusals:
                raise self.refusals.pop(0)
            return answer

        return ask


@pytest.fixture(scope="module")
def planted() -> dict[str, Planted]:
    return {service_name(protocol): Planted(service_name(protocol)) for protocol in PROTOCOLS}


@pytest.fixture(scope="module")
def server(planted: dict[str, Planted]) -> Iterator[str]:
    routes = [
        Mount(f"/{name}", internal_app(protocol, planted[name], KEY))
        for protocol, name in ((protocol, service_name(protocol)) for protocol in PROTOCOLS)
    ]
    running = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join()


@pytest.fixture
def client_of(server: str, planted: dict[str, Planted]):
    for service in planted.values():
        service.asked.clear()
        service.refusals.clear()
    with httpx.Client(timeout=10) as http:

        def make(protocol: type, **options: Any) -> Any:
            name = service_name(protocol)
            http.base_url = httpx.URL(f"{server}/{name}")
            options.setdefault("credentials", service_credentials(KEY, name))
            return remote(protocol, http, **options)

        yield make


def test_every_operation_has_a_planted_answer():
    assert sorted(PLAIN) == sorted(IDS)


@pytest.mark.parametrize(("protocol", "name"), OPERATIONS, ids=IDS)
def test_an_operation_answers_the_same_directly_and_over_http(protocol, name, planted, client_of):
    service = planted[service_name(protocol)]
    values, expected = PLAIN[f"{service.service}.{name}"]
    answer = getattr(client_of(protocol), name)(ALICE, **values)
    sent = {"caller": ALICE, **values}
    (asked,) = service.asked
    assert {key: asked[key] for key in sent} == sent
    if isinstance(expected, dict):
        assert answer.keys() == expected.keys()
        for key in expected:
            np.testing.assert_array_equal(answer[key], expected[key], strict=True)
    else:
        assert answer == expected


@pytest.mark.parametrize(("protocol", "name", "refusal"), REFUSALS)
def test_a_refusal_arrives_as_it_was_raised(protocol, name, refusal, planted, client_of):
    service = planted[service_name(protocol)]
    planned = refusal("no", field="layer", closest=["a", "b"], limit=3)
    service.refusals[:] = [planned]
    with pytest.raises(refusal) as caught:
        getattr(client_of(protocol, retries=0), name)(ALICE, **PLAIN[f"{service.service}.{name}"][0])
    assert type(caught.value) is refusal
    assert (caught.value.detail, caught.value.field) == ("no", "layer")
    assert caught.value.facts == planned.facts


def test_an_operation_that_may_be_repeated_survives_two_failures(planted, client_of):
    planted["jobs"].refusals[:] = [Unavailable("a"), Unavailable("b")]
    assert client_of(jobs.JobService).cancel(ALICE, "j_00000001") == JOB
    assert len(planted["jobs"].asked) == 3


def test_a_job_is_never_submitted_twice_by_the_client_itself(planted, client_of):
    planted["jobs"].refusals[:] = [Unavailable("a")]
    with pytest.raises(Unavailable):
        client_of(jobs.JobService).retry(ALICE, "j_00000001")
    assert len(planted["jobs"].asked) == 1


def test_a_submission_with_an_idempotency_key_may_be_repeated(planted, client_of):
    planted["jobs"].refusals[:] = [Unavailable("a")]
    assert client_of(jobs.JobService).build_snapshot(ALICE, REQUEST, idempotency_key="k") == JOB
    assert [asked["idempotency_key"] for asked in planted["jobs"].asked] == ["k", "k"]


def test_a_refusal_is_not_repeated(planted, client_of):
    planted["jobs"].refusals[:] = [UnknownJob("a"), IdempotencyConflict("b")]
    with pytest.raises(UnknownJob):
        client_of(jobs.JobService).job(ALICE, "j_00000001")
    assert len(planted["jobs"].asked) == 1


def test_a_server_that_is_gone_is_unavailable():
    with httpx.Client(base_url="http://127.0.0.1:9", timeout=1) as http:
        service = remote(data.DataService, http, credentials=lambda caller: {}, retries=1)
        with pytest.raises(Unavailable, match="does not answer"):
            service.dataset(ALICE, "d_1")


def test_the_service_decides_on_the_users_rights_and_not_on_the_gateways(client_of):
    viewer = ALICE.model_copy(update={"rights": frozenset({Right.LOOK})})
    with pytest.raises(Forbidden, match="search"):
        client_of(explanation.ExplanationService).search(viewer, "s_1", QUERY)


@pytest.mark.parametrize(
    "token",
    [
        sign_service_token(KEY, ALICE, "data", now=time.time() - 61),
        sign_service_token(KEY, ALICE, "model"),
        sign_service_token(TokenKey(b"x" * 32), ALICE, "data"),
        sign_service_token(KEY, ALICE, "data")[:-1],
        sign_service_token(KEY, ALICE, "data").replace("xsvc1.e", "xsvc1.f"),
        "nonsense",
    ],
    ids=["expired", "other audience", "other key", "cut", "altered", "nonsense"],
)
def test_a_service_token_that_is_not_right_is_refused(token, client_of, planted):
    service = client_of(data.DataService, credentials=lambda caller: {"Authorization": f"Bearer {token}"})
    with pytest.raises(Unauthenticated):
        service.dataset(ALICE, "d_1")
    assert planted["data"].asked == []


@pytest.mark.parametrize("name", ["d_1/samples/1", "..", ".", ""])
def test_a_path_parameter_cannot_climb_out_of_its_place(name, client_of, planted):
    with pytest.raises(InvalidRequest):
        client_of(data.DataService).dataset(ALICE, name)
    assert planted["data"].asked == []


@pytest.mark.parametrize("name", ["a b", "a?b=c", "a#b", "50%", "%2e%2e", "ü", "a;b", "a:b\\c"])
def test_a_path_parameter_arrives_as_it_was_given(name, client_of, planted):
    client_of(data.DataService).dataset(ALICE, name)
    assert planted["data"].asked == [{"caller": ALICE, "dataset": name}]
