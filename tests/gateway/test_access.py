"""Who may call what: every route says so, and every role gets exactly what it may."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from contracts.base import Right, operations_of
from contracts.governance import ROLES, Role
from orchestration.gateway.app import PUBLIC, api_routes, create_app
from orchestration.gateway.limits import RateLimits
from orchestration.gateway.protocols import PROTOCOLS
from services.kit.expose import decision_of

BASE = "http://127.0.0.1:8000"
VALUES = {"index": "0", "job": "j_00000001"}


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: VALUES.get(match.group(1), "x"), path)


def decided_routes(app):
    return [
        (verb, filled(path), decision_of(route))
        for path, route in api_routes(app.routes)
        for verb in route.methods - {"HEAD"}
        if decision_of(route) is not None
    ]


def test_every_route_says_who_may_call_it(app):
    undecided = {path for path, route in api_routes(app.routes) if decision_of(route) is None}
    others = {route.path for route in app.routes if hasattr(route, "path") and route.path.startswith("/")}
    assert undecided | others == PUBLIC  # equality: an exemption that is no longer needed fails too


def test_there_are_as_many_decided_routes_as_the_contracts_declare(app):
    declared = sum(len(operations_of(protocol)) for protocol in PROTOCOLS)
    by_hand = 6  # session, logout, own password, events of jobs, of generations and of analysis sessions
    assert len(decided_routes(app)) == declared + by_hand


def test_nobody_gets_in_without_logging_in(app, anonymous):
    answers = {(verb, path): anonymous.request(verb, path).status_code for verb, path, _ in decided_routes(app)}
    assert set(answers.values()) == {401}


@pytest.mark.parametrize("role", Role)
def test_a_role_may_call_exactly_what_its_rights_name(role, app, logged_in):
    client = logged_in(role)
    routes = [route for route in decided_routes(app) if route[1] != "/v1/logout"]
    refused = {(verb, path) for verb, path, _ in routes if client.request(verb, path).status_code == 403}
    assert refused == {(verb, path) for verb, path, right in routes if right not in ROLES[role]}


def test_services_are_asked_on_behalf_of_the_user_in_the_users_workspace(logged_in, world):
    logged_in(Role.VIEWER, "other").get("/v1/models")
    ((name, caller),) = world.model.asked
    assert (name, caller.workspace, caller.rights) == ("models", "other", ROLES[Role.VIEWER])


def test_nobody_who_logs_in_may_name_paths_on_the_server():
    assert all(Right.SERVER_PATHS not in rights for rights in ROLES.values())


@pytest.mark.parametrize("path", ["/v1/jobs/j_00000001", "/v1/jobs/j_00000001/events"])
def test_a_job_of_another_workspace_is_not_found(path, logged_in):
    assert logged_in(Role.ADMIN, "other").get(path).json()["title"] == "UnknownJob"
    assert logged_in(Role.VIEWER, "default").get(path).status_code == 200


def test_a_token_of_another_user_is_not_found_and_stays(logged_in):
    alice, mallory = logged_in(Role.ANALYST), logged_in(Role.ADMIN)
    token = alice.post("/v1/tokens", json={"name": "mine"}).json()["token"]["id"]
    assert mallory.get("/v1/tokens").json()["items"] == []
    assert mallory.delete(f"/v1/tokens/{token}").json()["title"] == "UnknownToken"
    assert [entry["id"] for entry in alice.get("/v1/tokens").json()["items"]] == [token]


# --- access tokens ------------------------------------------------------------------------------
def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_an_access_token_needs_neither_cookie_nor_csrf(logged_in, anonymous):
    made = logged_in(Role.ANALYST).post("/v1/tokens", json={"name": "script"}).json()
    assert anonymous.get("/v1/me", headers=bearer(made["secret"])).json()["role"] == "analyst"
    session = anonymous.get("/v1/session", headers=bearer(made["secret"])).json()
    assert (session["csrf"], session["expires_at"]) == (None, None)
    assert anonymous.post("/v1/jobs/j_00000001/cancel", headers=bearer(made["secret"])).status_code == 200


def test_a_token_has_its_own_rights_and_no_more(logged_in, anonymous):
    made = logged_in(Role.ADMIN).post("/v1/tokens", json={"name": "reader", "rights": ["look"]}).json()
    answer = anonymous.post("/v1/snapshots", json={}, headers=bearer(made["secret"]))
    assert (answer.status_code, answer.json()["right"]) == (403, "submit")


def test_a_token_that_leaks_makes_no_others_and_ends_none(logged_in, anonymous):
    owner = logged_in(Role.ADMIN)
    leaked, sibling = (owner.post("/v1/tokens", json={"name": name}).json() for name in ("leaked", "sibling"))
    headers = bearer(leaked["secret"])
    for answer in (
        anonymous.post("/v1/tokens", json={"name": "another", "days": 366}, headers=headers),
        anonymous.delete(f"/v1/tokens/{sibling['token']['id']}", headers=headers),
    ):
        assert (answer.status_code, answer.json()["right"]) == (403, "tokens")
    assert anonymous.get("/v1/me", headers=bearer(sibling["secret"])).status_code == 200
    assert owner.post("/v1/tokens", json={"name": "more", "rights": ["tokens"]}).json()["field"] == "rights"


def test_a_token_cannot_be_given_rights_that_its_maker_lacks(logged_in):
    answer = logged_in(Role.VIEWER).post("/v1/tokens", json={"name": "more", "rights": ["look", "submit"]})
    assert (answer.status_code, answer.json()["field"]) == (403, "rights")


def test_a_token_ends(logged_in, anonymous, world):
    made = logged_in().post("/v1/tokens", json={"name": "short", "days": 1}).json()
    world.clock.advance(hours=23)
    assert anonymous.get("/v1/me", headers=bearer(made["secret"])).status_code == 200
    world.clock.advance(hours=1)
    assert anonymous.get("/v1/me", headers=bearer(made["secret"])).status_code == 401


def test_a_revoked_token_is_refused_at_once(logged_in, anonymous):
    client = logged_in()
    made = client.post("/v1/tokens", json={"name": "gone"}).json()
    assert client.delete(f"/v1/tokens/{made['token']['id']}").status_code == 200
    assert anonymous.get("/v1/me", headers=bearer(made["secret"])).status_code == 401
    assert client.delete(f"/v1/tokens/{made['token']['id']}").status_code == 404


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Basic eHg6eHg=", "Bearer " + "é".encode().decode("latin-1")])
def test_a_header_that_is_no_token_is_refused(header, anonymous):
    answer = anonymous.get("/v1/me", headers={"Authorization": header.encode("latin-1")})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_disabled_user_is_refused_from_the_next_request_on(logged_in, anonymous, world):
    client = logged_in(Role.ANALYST)
    made = client.post("/v1/tokens", json={"name": "mine"}).json()
    world.lock_out(client.get("/v1/me").json()["user"])
    assert client.get("/v1/me").status_code == 401
    assert anonymous.get("/v1/me", headers=bearer(made["secret"])).status_code == 401


# --- rate limits --------------------------------------------------------------------------------
def test_a_user_who_asks_too_often_is_told_when_to_come_back(world):
    client = TestClient(create_app(world, limits=RateLimits(units=25)), base_url=BASE)
    world.governance.operator()
    link = world.governance.login_link().partition("#")[2]
    client.headers["X-CSRF-Token"] = client.post("/v1/login", json={"link": link}).json()["csrf"]
    statuses = [client.post("/v1/snapshots/x/search", json={"terms": []}).status_code for _ in range(3)]
    assert statuses == [422, 422, 429]  # a search costs 10 units
    answer = client.post("/v1/snapshots/x/search", json={"terms": []})
    assert 1 <= int(answer.headers["Retry-After"]) <= 120
    assert answer.json()["title"] == "TooManyRequests"
    assert client.get("/v1/me").status_code == 200  # five units are left for cheap requests


def test_an_address_may_guess_five_times_a_minute(world):
    client = TestClient(create_app(world), base_url=BASE)
    statuses = [client.post("/v1/login", json={"link": "guess"}).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    link = world.governance.login_link().partition("#")[2]
    assert client.post("/v1/login", json={"link": link}).status_code == 429  # a right one after guessing waits as well


def test_logins_that_succeed_are_not_counted(world):
    client = TestClient(create_app(world), base_url=BASE)
    links = [world.governance.login_link().partition("#")[2] for _ in range(8)]
    assert {client.post("/v1/login", json={"link": link}).status_code for link in links} == {200}
