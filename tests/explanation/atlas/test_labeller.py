"""The client of OpenAI-compatible servers against a real local one: what is asked, and what goes wrong."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from contracts.atlas import LabellerUnavailable
from services.explanation.atlas.labeller import OpenAiLabeller, labeller_of
from services.kit.settings import Settings

PASSAGES = ["they put the <<bread>> under\nthe oven", "every <<bread>> needs butter"]


class Answers(BaseHTTPRequestHandler):
    """Answers as the server was told to, and keeps what it was asked."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        status, answer = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.asked, made.url = [], f"http://127.0.0.1:{made.server_port}/v1"
    made.answer = 200, json.dumps({"choices": [{"message": {"content": ' "Bread and\n baking." '}}]})
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_passages_are_sent_on_one_line_each_and_the_phrase_is_trimmed(server):
    labeller = OpenAiLabeller(server.url, model="tiny", key="secret")
    assert labeller.phrase(PASSAGES) == "Bread and baking"
    ((path, key, body),) = server.asked
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert (body["model"], body["temperature"]) == ("tiny", 0)
    assert body["messages"][1]["content"].splitlines() == [
        "they put the <<bread>> under the oven",
        "every <<bread>> needs butter",
    ]


def test_an_empty_answer_is_no_label(server):
    server.answer = 200, json.dumps({"choices": [{"message": {"content": " . "}}]})
    assert OpenAiLabeller(server.url, model="tiny").phrase(PASSAGES) is None


@pytest.mark.parametrize("answer", [(500, "broken"), (200, "no json"), (200, '{"choices": []}'), (401, "{}")])
def test_anything_but_an_answer_is_a_typed_refusal(server, answer):
    server.answer = answer
    with pytest.raises(LabellerUnavailable):
        OpenAiLabeller(server.url, model="tiny").phrase(PASSAGES)


def test_a_server_that_is_not_there_is_a_typed_refusal(server):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(LabellerUnavailable):
        OpenAiLabeller(url, model="tiny").phrase(PASSAGES)


def test_the_labeller_is_that_of_the_settings_or_none(tmp_path):
    assert labeller_of(Settings(home=tmp_path)) is None
    found = labeller_of(Settings(home=tmp_path, labeller_url="http://127.0.0.1:1/v1", labeller_model="m"))
    assert found.model == "m"
