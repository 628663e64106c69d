"""A server thread that speaks the chat-completions protocol: it decodes the pictures that it is sent."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

Say = Callable[[str, list[Image.Image]], str]


def completion(text: str) -> str:
    """The body of an answer, as servers give it."""
    return json.dumps({"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": text}}]})


class Chat(BaseHTTPRequestHandler):
    """Answers each request by the server's next reaction, or by what `say` makes of prompt and pictures."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        (message,) = body["messages"]
        prompt = " ".join(one["text"] for one in message["content"] if one["type"] == "text")
        urls = [one["image_url"]["url"] for one in message["content"] if one["type"] == "image_url"]
        pictures = [Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))) for url in urls]
        self.server.asked.append((body, prompt, urls, pictures, self.headers.get("Authorization")))
        reaction = self.server.reactions.pop(0) if self.server.reactions else None
        if callable(reaction):
            reaction(self)
        else:
            status, answer = reaction or (200, completion(self.server.say(prompt, pictures)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def chat_server(say: Say) -> Iterator[ThreadingHTTPServer]:
    """Serve in a thread; `asked` keeps what came, `reactions` come before what is said."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    made.daemon_threads = True
    made.asked, made.reactions, made.say = [], [], say
    made.url = f"http://127.0.0.1:{made.server_port}/v1"
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
