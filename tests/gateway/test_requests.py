"""What is wrong with a request is said as a problem document, whatever it is, and nothing is echoed or leaked."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.exc import OperationalError

from contracts.errors import REFUSALS
from contracts.governance import Role
from orchestration.gateway.shell import SECURITY_HEADERS
from services.kit.problems import MEDIA_TYPE

JSON = {"Content-Type": "application/json"}
MEMBERS = {"type", "title", "status", "detail", "remedy", "field", "correlation_id"}


def refused(answer, status: int, title: str) -> dict:
    problem = json.loads(answer.content)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert (problem["status"], problem["title"], problem["type"]) == (status, title, f"urn:xsys:problem:{title}")
    assert problem["correlation_id"] == answer.headers["x-correlation-id"]
    assert problem.keys() >= MEMBERS
    assert problem["remedy"]
    return problem


def test_a_refusal_has_its_remedy_its_field_and_its_facts(logged_in):
    problem = refused(logged_in().get("/v1/datasets/phots"), 404, "UnknownDataset")
    assert (problem["field"], problem["closest"]) == ("dataset", ["photos"])
    assert problem["remedy"] == REFUSALS["UnknownDataset"].remedy
    assert problem["detail"] == "no dataset `phots`"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_number_that_is_not_finite_is_the_users_mistake_and_not_ours(number, logged_in):
    body = f'{{"terms": [{{"kind": "text", "text": "cat", "weight": {number}}}]}}'
    answer = logged_in().post("/v1/snapshots/s/search", content=body, headers=JSON)
    assert refused(answer, 422, "InvalidRequest")["field"] == "terms.0.text.weight"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"name": "n", "days": 1e999}', "days"),
        ('{"name": "n", "days": ' + "9" * 4000 + "}", "days"),
        ('{"name": "n", "days": ' + "9" * 5000 + "}", None),
        ('{"name": "n", "days": 0}', "days"),
        ('{"name": "n", "hours": 3}', "hours"),
        ('{"name": "../../etc"}', "name"),
        ('{"name": "a\\u0000b"}', "name"),
        ('{"name": 3}', "name"),
        ("[]", "body"),
        ("", "body"),
        ('{"name": ', None),
        ("[" * 100_000, None),
        ('{"name": "\\ud800"}', "name"),
        ('{"name": "n", "rights": ["everything"]}', "rights.0"),
    ],
)
def test_a_body_that_is_not_what_the_contract_says_is_named_and_not_echoed(body, field, logged_in):
    answer = logged_in().post("/v1/tokens", content=body, headers=JSON)
    problem = refused(answer, 422, "InvalidRequest")
    if field is not None:
        assert problem["field"] == field
    assert len(answer.content) < 2000
    assert "input" not in problem.get("fields", [{}])[0]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets?limit=0",
        "/v1/datasets?limit=201",
        "/v1/datasets?limit=" + "9" * 5000,
        "/v1/datasets/d/samples/-1",
        "/v1/datasets/d/samples/2147483648",
        "/v1/datasets/d/samples/1.5",
        "/v1/snapshots/s/components/l/0?sign=0",
        "/v1/snapshots/s/components?sort=colour",
        "/v1/jobs/j_../events",
        "/v1/jobs/%00",
        "/v1/datasets?cursor=" + "c" * 513,
    ],
)
def test_a_parameter_out_of_its_range_is_refused(path, logged_in):
    refused(logged_in().get(path), 422, "InvalidRequest")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sign_can_be_written_in_an_address(sign, logged_in):
    assert logged_in().get(f"/v1/snapshots/s/components/l/0?sign={sign}").status_code == 404  # asked, nothing there


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v1/../healthz/x", "/v1/datasets/", "/metrics/x"])
def test_an_unknown_api_path_is_a_problem_document(path, anonymous):
    refused(anonymous.get(path), 404, "NotFound")


@pytest.mark.parametrize(("verb", "path"), [("DELETE", "/v1/me"), ("GET", "/v1/login"), ("PATCH", "/v1/datasets/d")])
def test_a_wrong_verb_is_a_problem_document(verb, path, logged_in):
    problem = refused(logged_in().request(verb, path), 405, "MethodNotAllowed")
    assert verb not in problem["allowed"]


def pieces(size: int):
    for _ in range(size // 65536 + 1):
        yield b" " * 65536


@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/uploads", "/v1/login"])
def test_a_body_that_is_too_large_is_refused_with_or_without_a_length(path, chunked, logged_in):
    body = pieces(3 << 20) if chunked else b" " * (3 << 20)
    kind = "application/octet-stream" if path == "/v1/uploads" else "application/json"
    refused(logged_in().post(path, content=body, headers={"Content-Type": kind}), 413, "UploadTooLarge")


def test_an_upload_within_the_limit_arrives_whole(logged_in):
    answer = logged_in().post("/v1/uploads", content=b"x" * (1 << 20), headers={"Content-Type": "application/zip"})
    assert refused(answer, 422, "UnsafeArchive")["detail"] == "1048576 bytes arrived"


def test_a_limit_that_an_upload_exceeds_is_named(logged_in):
    answer = logged_in().post("/v1/uploads", content=b"x" * ((1 << 20) + 1))
    assert refused(answer, 413, "UploadTooLarge")["limit"] == 1 << 20


def test_our_own_mistakes_are_500_and_tell_nothing(logged_in):
    answer = logged_in().get("/v1/datasets/broken")
    refused(answer, 500, "InternalError")
    assert "secret" not in answer.text


def test_a_locked_database_is_unavailable_and_says_when_to_come_back(logged_in, world, monkeypatch):
    client = logged_in()

    def locked(*_: object, **__: object) -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(world.governance, "tokens", locked)
    answer = client.get("/v1/tokens")
    refused(answer, 503, "Unavailable")
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["/v1/me", "/v1/nothing", "/v1/datasets/broken", "/healthz", "/"])
def test_no_answer_leaves_without_security_headers(path, logged_in):
    answer = logged_in().get(path)
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "script-src" not in answer.headers["content-security-policy"]  # default-src 'self': no inline script


def test_a_correlation_id_is_taken_over_if_it_is_harmless(anonymous):
    assert (
        anonymous.get("/healthz", headers={"X-Correlation-ID": "abc-12345"}).headers["x-correlation-id"] == "abc-12345"
    )
    answer = anonymous.get("/healthz", headers={"X-Correlation-ID": "a b\tc<script>"})
    assert answer.headers["x-correlation-id"].isalnum()


# --- pictures -----------------------------------------------------------------------------------
def test_a_picture_is_sent_once_and_confirmed_afterwards(logged_in):
    client = logged_in(Role.VIEWER)
    first = client.get("/v1/datasets/d/samples/0/thumbnail")
    assert (first.content, first.headers["content-type"], first.headers["etag"]) == (b"RIFF", "image/webp", '"tag-1"')
    assert first.headers["cache-control"] == "private, max-age=600"
    again = client.get("/v1/datasets/d/samples/0/thumbnail", headers={"If-None-Match": 'W/"other", "tag-1"'})
    assert (again.status_code, again.content) == (304, b"")
    changed = client.get("/v1/datasets/d/samples/0/thumbnail", headers={"If-None-Match": '"tag-0"'})
    assert changed.status_code == 200


# --- probes -------------------------------------------------------------------------------------
def test_ready_says_why_not(anonymous, world, tmp_path):
    assert anonymous.get("/readyz").json()["ready"] is True
    world.database.close()
    (tmp_path / "xsys.sqlite").unlink()
    (tmp_path / "xsys.sqlite-wal").unlink(missing_ok=True)
    (tmp_path / "xsys.sqlite-shm").unlink(missing_ok=True)
    (tmp_path / "xsys.sqlite").mkdir()
    answer = anonymous.get("/readyz")
    failed = {check["name"]: check["reason"] for check in answer.json()["checks"] if not check["ok"]}
    assert (answer.status_code, failed) == (503, {"database": "does not answer (OperationalError)"})


def test_metrics_count_by_route_template_and_not_by_what_was_asked(logged_in):
    client = logged_in()
    client.get("/v1/datasets/some-private-name")
    client.get("/some/unknown/path")
    shown = client.get("/metrics").text
    assert 'xsys_answers_total{route="/v1/datasets/{dataset}",status="404",verb="GET"} 1.0' in shown
    assert 'route="none"' in shown
    assert "private" not in shown
    assert "unknown/path" not in shown
