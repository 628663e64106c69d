"""A language model that phrases labels, for those who have one: a port, and a client of OpenAI-compatible servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import httpx

from contracts.atlas import LabellerUnavailable
from services.kit.settings import Settings

LONGEST, SHOWN, TIMEOUT = 60, 10, 60.0
ASK = (
    "Each line is a passage; the part between << and >> is where one feature of a network is active. Answer with a "
    "phrase of at most six words that says what these parts have in common, and nothing else."
)


class Labeller(Protocol):
    """What the label stage asks of a language model."""

    def phrase(self, passages: Sequence[str]) -> str | None:
        """A short phrase for passages in which one latent is active (`<<…>>`), None without an answer."""
        ...


class OpenAiLabeller:
    """Asks `URL/chat/completions` at temperature 0, as OpenAI, vLLM, llama.cpp and Ollama offer it.

    Parameters
    ----------
    url : up to and with the version, such as `http://127.0.0.1:8080/v1`.
    """

    def __init__(self, url: str, *, model: str, key: str | None = None) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.model = model
        self.client = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT)

    def phrase(self, passages: Sequence[str]) -> str | None:
        """Ask once.

        Raises
        ------
        LabellerUnavailable : no answer, an error, or an answer of another form.
        """
        lines = "\n".join(" ".join(one.split()) for one in passages[:SHOWN])
        messages = [{"role": "system", "content": ASK}, {"role": "user", "content": lines}]
        asked = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": 32}
        try:
            answer = self.client.post("/chat/completions", json=asked)
            answer.raise_for_status()
            said = answer.json()["choices"][0]["message"]["content"]
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise LabellerUnavailable(f"{type(error).__name__}: {str(error)[:120]}", model=self.model) from error
        words = " ".join(str(said).split()).strip(" .\"'“”")[:LONGEST]
        return words or None


def labeller_of(settings: Settings) -> OpenAiLabeller | None:
    """Return the labeller that the settings name, if they name one."""
    if settings.labeller_url is None or settings.labeller_model is None:
        return None
    key = settings.labeller_key
    return OpenAiLabeller(
        settings.labeller_url, model=settings.labeller_model, key=None if key is None else key.get_secret_value()
    )
