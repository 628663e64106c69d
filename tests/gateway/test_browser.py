"""The UI's files are delivered beside the API, and unknown pages get the start page."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from starlette.staticfiles import StaticFiles

from orchestration.gateway.app import create_app

BASE = "http://127.0.0.1:8000"


@pytest.fixture
def browser(world, tmp_path) -> TestClient:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>start</title>")
    (static / "assets" / "app.js").write_text("start()")
    world.xui = StaticFiles(directory=static, html=True)
    return TestClient(create_app(world), base_url=BASE, raise_server_exceptions=False)


def test_files_are_delivered(browser):
    assert browser.get("/assets/app.js").text == "start()"
    assert "start" in browser.get("/").text


@pytest.mark.parametrize("path", ["/login", "/snapshots/s_1/components/blocks.1/3", "/v2/x", "/..%2f..%2fetc/passwd"])
def test_a_page_that_only_the_browser_knows_gets_the_start_page(path, browser):
    answer = browser.get(path)
    assert (answer.status_code, answer.text) == (200, "<!doctype html><title>start</title>")
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/v1/login/x", "/v1", "/v1/", "/readyz/x"])
def test_an_unknown_api_path_never_gets_a_page(path, browser):
    answer = browser.get(path)
    assert (answer.status_code, answer.json()["title"]) == (404, "NotFound")


def test_a_missing_script_is_missing(browser):
    assert browser.get("/assets/old.js").json()["title"] == "NotFound"


def test_pages_cannot_be_written(browser):
    assert browser.post("/login").json()["title"] == "MethodNotAllowed"


def test_without_a_ui_the_api_still_answers(anonymous):
    assert anonymous.get("/").json()["title"] == "NotFound"
    assert anonymous.get("/healthz").status_code == 200
