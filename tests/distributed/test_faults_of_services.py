"""Services that are down, uninvited callers, and a job from end to end over the whole set."""

import io
import json
import time
import zipfile

import httpx
import numpy as np
import pytest
from PIL import Image

from contracts.base import Caller, Right
from services.kit.tokens import TokenKey, sign_service_token
from tests.conftest import wait_until_ready
from tests.distributed.conftest import KEY
from tests.distributed.test_same_answers import bearer

NOBODY = Caller(user="operator", workspace="default", rights=frozenset())
VIEWER = Caller(user="operator", workspace="default", rights=frozenset({Right.LOOK}))


@pytest.fixture(scope="module")
def client(fleet, token):
    with httpx.Client(base_url=f"{fleet.url}/v1", timeout=60, headers=bearer(token)) as made:
        yield made


def test_a_service_answers_nobody_without_a_token_for_it(fleet):
    url = fleet.environment["XSYS_DATA_URL"]
    key = TokenKey(KEY.encode())
    wrong = {
        "none": {},
        "made up": bearer("xsvc1.e30=.00"),
        "of another service": bearer(sign_service_token(key, VIEWER, "model")),
        "ended": bearer(sign_service_token(key, VIEWER, "data", now=time.time() - 600)),
        "of another key": bearer(sign_service_token(TokenKey(b"x" * 40), VIEWER, "data")),
    }
    answers = {why: httpx.get(f"{url}/datasets", headers=headers).status_code for why, headers in wrong.items()}
    assert answers == dict.fromkeys(wrong, 401)
    assert httpx.get(f"{url}/datasets", headers=bearer(sign_service_token(key, VIEWER, "data"))).status_code == 200
    assert httpx.get(f"{url}/datasets", headers=bearer(sign_service_token(key, NOBODY, "data"))).status_code == 403
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_while_one_service_is_down_the_others_answer_and_the_gateway_names_it(fleet, client):
    fleet.kill("explanation")
    try:
        assert client.get("/datasets/demo").status_code == 200
        refused = client.get("/snapshots/small")
        assert (refused.status_code, refused.json()["service"]) == (503, "explanation")
        assert refused.headers["retry-after"]
        for _ in range(6):
            client.get("/snapshots/small")
        began = time.monotonic()
        assert client.get("/snapshots/small").status_code == 503
        assert time.monotonic() - began < 1.0, "the open breaker answers at once"
        ready = httpx.get(f"{fleet.url}/readyz", timeout=30)
        checks = {check["name"]: check["ok"] for check in ready.json()["checks"]}
        assert ready.status_code == 200
        assert checks["explanation"] is False and checks["data"] is True
    finally:
        port = str(fleet.port("explanation"))
        process = fleet.start("explanation", "serve", "explanation", "--port", port)
        wait_until_ready(fleet.environment["XSYS_EXPLANATION_URL"], process)
    limit = time.monotonic() + 20
    while client.get("/snapshots/small").status_code != 200:
        assert time.monotonic() < limit
        time.sleep(0.2)


def test_an_upload_becomes_a_dataset_through_gateway_redis_and_worker(fleet, client):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(4):
            file = io.BytesIO()
            Image.fromarray(np.full((32, 32, 3), 60 * number, np.uint8)).save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
    upload = client.post(
        "/uploads", content=packed.getvalue(), headers={"Content-Type": "application/octet-stream"}
    ).json()["upload"]
    body = {"name": "sent", "source": {"kind": "upload", "upload": upload}}
    job = client.post("/datasets", json=body, headers={"Idempotency-Key": "once"}).json()
    assert client.post("/datasets", json=body, headers={"Idempotency-Key": "once"}).json()["id"] == job["id"]
    events = []
    with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        events = [line for line in stream.iter_lines() if line.startswith("event:")]
    assert events[-1] == "event: end"
    done = client.get(f"/jobs/{job['id']}").json()
    assert done["state"] == "done", done
    assert client.get("/datasets/sent").json()["ref"]["n"] == 4


def test_the_doctor_finds_the_whole_set_in_order(fleet):
    findings = json.loads(fleet.json("doctor", "--json"))["findings"]
    assert [finding["subject"] for finding in findings if not finding["ok"]] == []
    assert {"settings", "storage", "database", "broker", "worker", "services", "index"} <= {
        finding["subject"] for finding in findings
    }
