"""Accounts over HTTP: public routes, cookies, rights, guessing."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from contracts.governance import Role
from orchestration.gateway.app import create_app

BASE = "http://127.0.0.1:8000"
GOOD, OTHER = "correct horse battery", "another long passphrase"


def invitation(admin: TestClient, role: str = "analyst") -> str:
    answer = admin.post("/v1/invitations", json={"role": role})
    assert answer.status_code == 200
    page, _, secret = answer.json()["path"].partition("#")
    assert page == "/invite"
    return secret


def test_an_invited_person_is_in_with_a_cookie_out_of_scripts_reach(logged_in, anonymous):
    body = {"link": invitation(logged_in()), "name": "ann", "password": GOOD}
    answer = anonymous.post("/v1/invitations/accept", json=body)
    assert answer.json()["identity"]["role"] == "analyst"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert anonymous.get("/v1/me").json()["name"] == "ann"
    assert anonymous.get("/v1/members").status_code == 403
    assert anonymous.post("/v1/invitations/accept", json=body).json()["title"] == "LinkSpent"


def test_after_disabling_the_session_ends_and_the_password_opens_nothing(logged_in, anonymous):
    admin = logged_in()
    body = {"link": invitation(admin), "name": "ann", "password": GOOD}
    user = anonymous.post("/v1/invitations/accept", json=body).json()["identity"]["user"]
    assert admin.post(f"/v1/members/{user}/disable").status_code == 200
    assert anonymous.get("/v1/me").status_code == 401
    login = anonymous.post("/v1/login/password", json={"name": "ann", "password": GOOD})
    assert (login.status_code, login.json()["title"]) == (401, "LoginRefused")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANALYST, Role.AUDITOR])
def test_only_admins_manage_members(role, logged_in):
    client = logged_in(role)
    for verb, path, body in (
        ("GET", "/v1/members", None),
        ("POST", "/v1/invitations", {"role": "admin"}),
        ("POST", "/v1/password-resets", {"user": "operator"}),
        ("POST", "/v1/members/operator/disable", None),
        ("PUT", "/v1/members/operator/role", {"role": "viewer"}),
    ):
        answer = client.request(verb, path, json=body)
        assert (answer.status_code, answer.json()["right"]) == (403, "members")


def test_an_admins_token_makes_no_accounts(logged_in, anonymous):
    made = logged_in().post("/v1/tokens", json={"name": "leaked"}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    answer = anonymous.post("/v1/invitations", json={"role": "admin"}, headers=headers)
    assert (answer.status_code, answer.json()["right"]) == (403, "members")
    assert anonymous.get("/v1/audit-log/verify", headers=headers).json()["intact"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/login/password", {"name": "ann", "password": "wrong password"}),
        ("/v1/invitations/accept", {"link": "guess", "name": "eve", "password": GOOD}),
        ("/v1/password-resets/accept", {"link": "guess", "password": GOOD}),
    ],
)
def test_guessing_stops_after_five_tries_and_other_sites_are_refused(path, body, world):
    client = TestClient(create_app(world), base_url=BASE)
    foreign = client.post(path, json=body, headers={"Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["title"]) == (403, "CrossSiteRequest")
    assert [client.post(path, json=body).status_code for _ in range(6)] == [401] * 5 + [429]


def test_changing_ones_password_needs_csrf_and_gives_a_new_session(logged_in):
    client = logged_in(Role.VIEWER)
    old = dict(client.cookies)
    without = client.put("/v1/password", json={"password": GOOD}, headers={"X-CSRF-Token": "x"})
    assert without.status_code == 403
    answer = client.put("/v1/password", json={"password": GOOD})
    assert answer.status_code == 200
    assert dict(client.cookies) != old
    client.headers["X-CSRF-Token"] = answer.json()["csrf"]
    refused = client.put("/v1/password", json={"password": OTHER, "current": "wrong password"})
    assert (refused.status_code, refused.json()["title"]) == (403, "WrongPassword")
    client.cookies.clear()
    client.cookies.update(old)
    assert client.get("/v1/me").status_code == 401
