"""Logging in by a one-time link, and what protects the login session."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from contracts.governance import Role
from orchestration.gateway.app import create_app

BASE = "http://127.0.0.1:8000"


@pytest.fixture
def link(world) -> str:
    path, _, secret = world.governance.login_link().partition("#")
    assert path == "/login"
    return secret


def test_a_link_logs_the_operator_in_as_admin_of_the_default_workspace(anonymous, link):
    identity = anonymous.post("/v1/login", json={"link": link}).json()["identity"]
    assert (identity["user"], identity["workspace"], identity["role"]) == ("operator", "default", "admin")
    assert anonymous.get("/v1/me").json() == identity


def test_a_link_works_once(anonymous, link):
    assert anonymous.post("/v1/login", json={"link": link}).status_code == 200
    answer = anonymous.post("/v1/login", json={"link": link})
    assert (answer.status_code, answer.json()["title"]) == (401, "LoginLinkSpent")


def test_a_link_ends_after_ten_minutes(anonymous, link, world):
    world.clock.advance(minutes=10)
    assert anonymous.post("/v1/login", json={"link": link}).json()["title"] == "LoginLinkSpent"


def test_a_link_with_a_typing_error_is_refused_and_the_right_one_still_works(anonymous, link):
    wrong = link[:-1] + ("a" if link[-1] != "a" else "b")
    assert anonymous.post("/v1/login", json={"link": wrong}).status_code == 401
    assert anonymous.post("/v1/login", json={"link": link}).status_code == 200


def test_the_login_cookie_is_out_of_scripts_reach_and_stays_on_our_site(anonymous, link):
    cookie = anonymous.post("/v1/login", json={"link": link}).headers["set-cookie"]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert cookie.startswith("xsys=xsses_")
    assert {"httponly", "samesite=lax", "path=/", "max-age=604800"} == parts


def test_under_https_the_cookie_is_secure_and_bound_to_the_host(app, link):
    client = TestClient(app, base_url="https://localhost")
    cookie = client.post("/v1/login", json={"link": link}).headers["set-cookie"]
    assert cookie.startswith("__Host-xsys=xsses_")
    assert "Secure" in cookie
    assert "Domain" not in cookie


def test_plain_http_from_elsewhere_cannot_log_in_and_does_not_spend_the_link(world, link):
    world.settings = world.settings.model_copy(update={"host": "0.0.0.0"})
    app = create_app(world)
    answer = TestClient(app, base_url="http://workstation:8000").post("/v1/login", json={"link": link})
    assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
    assert TestClient(app, base_url=BASE).post("/v1/login", json={"link": link}).status_code == 200


def test_a_session_planted_before_the_login_is_not_taken_over(anonymous, link):
    anonymous.cookies.set("xsys", "xsses_planted")
    assert "xsses_planted" not in anonymous.post("/v1/login", json={"link": link}).headers["set-cookie"]


def test_every_login_makes_a_new_session(anonymous, world):
    secrets = set()
    for _ in range(2):
        link = world.governance.login_link().partition("#")[2]
        secrets.add(anonymous.post("/v1/login", json={"link": link}).headers["set-cookie"].partition(";")[0])
    assert len(secrets) == 2


def test_logging_out_ends_the_session_on_the_server(logged_in):
    client = logged_in()
    stolen = dict(client.cookies)
    assert client.post("/v1/logout").json() == {"logged_out": True}
    client.cookies.update(stolen)
    assert client.get("/v1/me").status_code == 401


def test_a_login_ends_after_twelve_idle_hours(logged_in, world):
    client = logged_in()
    world.clock.advance(hours=11, minutes=59)
    assert client.get("/v1/me").status_code == 200
    world.clock.advance(hours=12)
    assert client.get("/v1/me").status_code == 401


def test_a_login_ends_after_seven_days_even_when_it_is_used(logged_in, world):
    client = logged_in()
    statuses = []
    for _ in range(15):
        world.clock.advance(hours=11.5)
        statuses.append(client.get("/v1/me").status_code)
    assert statuses == [200] * 14 + [401]


# --- requests forged by other sites ---------------------------------------------------------------
@pytest.mark.parametrize("token", [None, "", "0" * 64, "ü"], ids=["absent", "empty", "guessed", "not ascii"])
def test_a_change_with_a_cookie_needs_the_sessions_csrf_token(token, logged_in):
    client = logged_in(csrf=False)
    headers = {} if token is None else {"X-CSRF-Token": token.encode("latin-1")}
    answer = client.post("/v1/tokens", json={"name": "forged"}, headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (403, "CrossSiteRequest")
    assert client.get("/v1/tokens").json()["items"] == []


def test_the_csrf_token_of_another_session_is_refused(logged_in):
    first, second = logged_in(), logged_in(csrf=False)
    second.headers["X-CSRF-Token"] = first.headers["X-CSRF-Token"]
    assert second.post("/v1/tokens", json={"name": "forged"}).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:9999", "null", "https://127.0.0.1:8000"])
def test_a_change_that_another_origin_asks_for_is_refused(origin, logged_in):
    answer = logged_in().post("/v1/tokens", json={"name": "forged"}, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["field"]) == (403, "Origin")


def test_our_own_page_may_ask_for_changes(logged_in):
    answer = logged_in(Role.VIEWER).post("/v1/tokens", json={"name": "mine"}, headers={"Origin": BASE})
    assert answer.status_code == 200


def test_another_site_cannot_log_a_browser_in(anonymous, link):
    answer = anonymous.post("/v1/login", json={"link": link}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_form_cannot_log_in(anonymous, link):
    answer = anonymous.post("/v1/login", content=f'{{"link": "{link}"}}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1"])
def test_a_name_that_was_rebound_to_this_machine_is_refused(host, anonymous):
    answer = anonymous.get("/healthz", headers={"Host": host})
    assert (answer.status_code, answer.json()["title"]) == (421, "UnknownHost")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_loopback_names_are_answered(host, anonymous):
    assert anonymous.get("/healthz", headers={"Host": host}).json() == {"alive": True}
