"""A vision-language model behind an OpenAI-compatible server."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Sequence
from typing import Literal

import httpx
from PIL import Image

from contracts.labels import VisionModelUnavailable
from services.explanation.candidates.port import LONGEST_ANSWER
from services.kit.keys import sha256_of

LARGEST = 256 << 10  # bytes of an answer: 128 tokens and their wrapping are far less
PAUSE, LONGEST_PAUSE = 0.5, 8.0
BUSY = 429
BROKEN = 500


class Passing(Exception):
    """No answer for a reason that may pass."""


class OpenAiVision:
    """Asks `URL/chat/completions` at temperature 0 with pictures as data URLs, as OpenAI, vLLM and llama.cpp take them.

    Parameters
    ----------
    url : up to and with the version, such as `http://127.0.0.1:8080/v1`; only ever from the operator's settings.
    timeout : seconds until one try is given up, however slowly its body comes.
    attempts : tries for one answer; no answer, 429 and 5xx are tried again after a growing pause.
    """

    adapter: Literal["openai"] = "openai"

    def __init__(
        self, url: str, *, model: str, key: str | None = None, timeout: float = 60.0, attempts: int = 3,
        pause: float = PAUSE,
    ) -> None:  # fmt: skip
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.name = model
        self.fingerprint = sha256_of({"adapter": self.adapter, "url": url.rstrip("/"), "model": model})
        self._timeout, self._attempts, self._pause = timeout, attempts, pause
        self._client = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout)

    def answer(self, prompt: str, pictures: Sequence[Image.Image]) -> str:
        """See VisionModel."""
        content: list[dict[str, object]] = [{"type": "text", "text": prompt}]
        content += [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
        asked = {
            "model": self.name, "messages": [{"role": "user", "content": content}], "temperature": 0,
            "max_tokens": LONGEST_ANSWER,
        }  # fmt: skip
        for attempt in range(1, self._attempts + 1):
            try:
                return self._said(self._post(asked))
            except Passing as error:
                if attempt == self._attempts:
                    raise self._refusal(f"{error}, {attempt} tries") from error
                time.sleep(min(self._pause * 2 ** (attempt - 1), LONGEST_PAUSE))
        raise AssertionError("the last try returns or raises")

    def _post(self, asked: dict[str, object]) -> bytes:
        """Send once and read at most so many bytes for at most so long."""
        until, body = time.monotonic() + self._timeout, bytearray()
        try:
            with self._client.stream("POST", "/chat/completions", json=asked) as reply:
                if reply.status_code == BUSY or reply.status_code >= BROKEN:
                    raise Passing(f"the server answers {reply.status_code}")
                if reply.status_code != httpx.codes.OK:
                    raise self._refusal(f"the server answers {reply.status_code}")
                for piece in reply.iter_bytes():
                    body += piece
                    if len(body) > LARGEST:
                        raise self._refusal(f"an answer of more than {LARGEST:,} bytes")
                    if time.monotonic() > until:
                        raise Passing(f"no whole answer in {self._timeout:g} s")
        except httpx.TimeoutException as error:
            raise Passing(f"no answer in {self._timeout:g} s") from error
        except httpx.TransportError as error:
            raise Passing(f"{type(error).__name__}: {str(error)[:120]}") from error
        except httpx.HTTPError as error:
            raise self._refusal(f"{type(error).__name__}: {str(error)[:120]}") from error
        return bytes(body)

    def _said(self, body: bytes) -> str:
        try:
            said = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise self._refusal(f"no chat completion: {type(error).__name__}") from error
        if not isinstance(said, str):
            raise self._refusal("no chat completion: its content is not text")
        return said

    def _refusal(self, detail: str) -> VisionModelUnavailable:
        return VisionModelUnavailable(detail, field="candidates", model=self.name)


def data_url(picture: Image.Image) -> str:
    """A picture within a URL, as PNG: nothing of a grid is lost on the way."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
