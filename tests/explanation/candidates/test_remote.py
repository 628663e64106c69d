"""The HTTP adapter against a real local server: pictures, prompt and key on the wire, and whatever goes wrong."""

import json
import socket
import time
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image

from contracts.labels import VisionModelUnavailable
from services.explanation.candidates.registry import VisionModels
from services.explanation.candidates.remote import LARGEST, OpenAiVision
from services.kit.settings import Settings
from tests.explanation.candidates.chat_server import chat_server

PICTURES = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (96, 96, 3), dtype=np.uint8)) for n in range(2)]


@pytest.fixture
def server():
    with chat_server(lambda prompt, pictures: f"{len(pictures)} pictures, {prompt}") as made:
        yield made


def vision(server, **changes) -> OpenAiVision:
    return OpenAiVision(server.url, **{"model": "tiny", "timeout": 5, "attempts": 3, "pause": 0.01, **changes})


def test_pictures_arrive_pixel_by_pixel_with_prompt_model_and_key(server):
    assert vision(server, key="secret").answer("what is shared?", PICTURES) == "2 pictures, what is shared?"
    ((body, prompt, urls, pictures, key),) = server.asked
    assert (body["model"], body["temperature"], prompt, key) == ("tiny", 0, "what is shared?", "Bearer secret")
    assert body["max_tokens"] == 128
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    for sent, come in zip(PICTURES, pictures, strict=True):
        assert np.array_equal(np.asarray(sent), np.asarray(come))


def test_without_a_key_none_is_sent(server):
    vision(server).answer("?", PICTURES)
    assert server.asked[0][-1] is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(server, status):
    server.reactions = [(status, "busy"), (status, "busy")]
    assert vision(server).answer("?", PICTURES) == "2 pictures, ?"
    assert len(server.asked) == 3


def test_tries_are_bounded(server):
    server.reactions = [(500, "broken")] * 9
    with pytest.raises(VisionModelUnavailable, match="the server answers 500, 3 tries") as refused:
        vision(server).answer("?", PICTURES)
    assert len(server.asked) == 3
    assert (refused.value.field, refused.value.facts) == ("candidates", {"model": "tiny"})


@pytest.mark.parametrize(
    "reaction",
    [
        (401, "{}"), (404, "no such model"), (200, "no json"), (200, "[]"), (200, '{"choices": []}'), (200, "null"),
        (200, json.dumps({"choices": [{"message": {"content": None}}]})), (200, "[" * 100_000),
        (200, json.dumps({"choices": [{"message": {"content": ["cat"]}}]})),
    ],
)  # fmt: skip
def test_a_refusal_or_another_form_is_not_tried_again(server, reaction):
    server.reactions = [reaction]
    with pytest.raises(VisionModelUnavailable):
        vision(server).answer("?", PICTURES)
    assert len(server.asked) == 1


def test_a_redirect_is_not_followed_anywhere(server):
    with chat_server(lambda *_: "elsewhere") as other:

        def redirect(handler):
            handler.send_response(307)
            handler.send_header("Location", f"{other.url}/chat/completions")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        server.reactions = [redirect]
        with pytest.raises(VisionModelUnavailable, match="307"):
            vision(server, key="secret").answer("?", PICTURES)
        assert other.asked == []


def test_a_server_that_says_nothing_times_out_after_its_tries(server):
    server.reactions = [lambda handler: time.sleep(1)] * 2
    began = time.monotonic()
    with pytest.raises(VisionModelUnavailable, match=r"no answer in 0\.2 s, 2 tries"):
        vision(server, timeout=0.2, attempts=2).answer("?", PICTURES)
    assert time.monotonic() - began < 5


def test_a_server_that_drips_its_answer_times_out_as_well(server):
    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(60):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    server.reactions = [drip]
    with pytest.raises(VisionModelUnavailable, match=r"no whole answer in 0\.3 s"):
        vision(server, timeout=0.3, attempts=1).answer("?", PICTURES)


def test_a_huge_answer_is_not_read_to_its_end(server):
    sent = 0

    def flood(handler):
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(4000):
                handler.wfile.write(b"x" * 65536)
                sent += 65536
        except OSError:
            return

    server.reactions = [flood]
    with pytest.raises(VisionModelUnavailable, match=f"more than {LARGEST:,} bytes"):
        vision(server).answer("?", PICTURES)
    time.sleep(0.2)
    assert sent < 4000 * 65536 / 4
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_a_typed_refusal():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(VisionModelUnavailable, match="ConnectError"):
        OpenAiVision(url, model="tiny", attempts=2, pause=0.01).answer("?", PICTURES)


def test_the_fingerprint_is_of_model_and_address():
    one = OpenAiVision("http://a/v1", model="m")
    assert one.fingerprint == OpenAiVision("http://a/v1/", model="m", key="k", attempts=1).fingerprint
    assert len({one.fingerprint, OpenAiVision("http://a/v1", model="n").fingerprint,
                OpenAiVision("http://b/v1", model="m").fingerprint}) == 3  # fmt: skip


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "XSYS_VLM_FOLDER or XSYS_VLM_URL is not set"),
        ({"vlm_url": "http://127.0.0.1:1/v1"}, "XSYS_VLM_MODEL is not set"),
        ({"vlm_model": "m"}, "XSYS_VLM_URL is not set"),
    ],
)
def test_the_refusal_names_the_setting_that_is_missing(tmp_path, given, missing):
    with pytest.raises(VisionModelUnavailable, match=missing):
        VisionModels(Settings(home=tmp_path, **given)).require()


def test_the_settings_decide_which_model_and_for_how_long(tmp_path, server):
    settings = Settings(
        home=tmp_path, vlm_url=server.url, vlm_model="m", vlm_key="secret", vlm_timeout=timedelta(seconds=1)
    )
    models = VisionModels(settings)
    assert models.require() is models.require()
    assert models.require().answer("?", PICTURES[:1]) == "1 pictures, ?"
    assert server.asked[0][-1] == "Bearer secret" and "secret" not in repr(settings)


def test_settings_that_name_two_models_or_wait_too_long_do_not_start(tmp_path):
    with pytest.raises(ValueError, match="one of them, not both"):
        Settings(home=tmp_path, vlm_folder=tmp_path, vlm_url="http://127.0.0.1:1/v1")
    with pytest.raises(ValueError, match="less than XSYS_STALL"):
        Settings(home=tmp_path, vlm_timeout=timedelta(minutes=2))
