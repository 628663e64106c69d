"""How the files of the browser UI are delivered."""

import re

import pytest
from starlette.testclient import TestClient

from services.xui.server import xui_app


@pytest.fixture
def built(tmp_path) -> TestClient:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>start</title>")
    (static / "favicon.svg").write_text("<svg/>")
    (static / "assets" / "app-1a2b.js").write_text("start()")
    (tmp_path / "secret.txt").write_text("not for browsers")
    return TestClient(xui_app(static))


def test_the_root_is_the_start_page_and_is_asked_for_anew(built):
    answer = built.get("/")
    assert answer.text == "<!doctype html><title>start</title>"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("page", ["/login", "/s/small", "/s/small/c/blocks.5/3", "/jobs/j_1", "/datasets", "/assetsx"])
def test_a_page_that_only_the_router_knows_is_the_start_page(page, built):
    answer = built.get(page)
    assert (answer.status_code, answer.text) == (200, "<!doctype html><title>start</title>")
    assert answer.headers["cache-control"] == "no-cache"


def test_an_asset_may_be_kept_for_ever(built):
    answer = built.get("/assets/app-1a2b.js")
    assert answer.text == "start()"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("name", ["/assets/app-old.js", "/assets/", "/assets/x/y.css"])
def test_a_missing_asset_is_not_a_page(name, built):
    assert built.get(name).status_code == 404


def test_other_files_are_delivered_and_revalidated(built):
    answer = built.get("/favicon.svg")
    assert (answer.text, answer.headers["cache-control"]) == ("<svg/>", "no-cache")
    again = built.get("/favicon.svg", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/..%2fsecret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt"])
def test_files_outside_the_build_stay_hidden(path, built):
    assert "not for browsers" not in built.get(path).text


def test_the_files_cannot_be_changed(built):
    assert built.post("/", content=b"x").status_code == 405


def test_a_head_request_has_no_body(built):
    answer = built.head("/s/small")
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_committed_build_starts():
    client = TestClient(xui_app())
    script = re.search(r'src="(/assets/[^"]+\.js)"', client.get("/s/any").text)
    assert script is not None
    assert client.get(script[1]).status_code == 200
