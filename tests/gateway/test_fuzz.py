"""Whatever is sent to whatever operation: never a server error, and every refusal is a documented problem."""

from __future__ import annotations

import logging

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from contracts.governance import TokenRequest
from orchestration.gateway.app import PUBLIC, create_app
from orchestration.gateway.documents import render_documents
from orchestration.gateway.events import Streams
from orchestration.gateway.limits import RateLimits

OPERATIONS = [
    result.ok() for result in schemathesis.openapi.from_file(render_documents()["gateway"]).get_all_operations()
]
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
EXAMPLES = 6


@pytest.fixture
def attacked(world):
    logging.getLogger("schemathesis").setLevel(logging.ERROR)
    limits = RateLimits(units=10**9, logins=10**6)
    token = world.governance.create_token(world.governance.operator(), TokenRequest(name="fuzz")).secret
    return create_app(world, limits=limits, streams=Streams(poll_seconds=0.0)), token


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label.replace(" ", ":"))
def test_generated_requests_never_find_our_mistakes(operation, attacked):
    app, token = attacked
    operation.app = app
    operation.schema.app = app

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def attack(case):
        case.call_and_validate(
            headers={"Authorization": f"Bearer {token}", "Host": "127.0.0.1"},
            checks=CHECKS,
            base_url="http://127.0.0.1",
            timeout=120,  # a machine that stands still for ten seconds is no mistake of ours
        )

    attack()
    answers = [
        sample.labels["status"]
        for family in app.state.meters.registry.collect()
        for sample in family.samples
        if sample.name == "xsys_answers_total"
    ]
    assert answers
    assert "401" not in answers or operation.path in PUBLIC  # the requests got past the door
