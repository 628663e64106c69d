"""A text as it is written: one event whenever it grew, and an end to the writing when nobody listens."""

import asyncio
import json

import pytest

from contracts.base import Caller
from contracts.errors import UnknownModel
from contracts.governance import Role
from contracts.language import GenerationState, TextRow
from orchestration.gateway import generations
from orchestration.gateway.events import Streams
from tests.gateway.conftest import Nothing
from tests.gateway.test_events import events_in

PATH = "/v1/models/m_1/generations/events"
ID = "g_0123456789abcdef"


class Writer(Nothing):
    """Writes one letter between every other two looks."""

    def __init__(self, text="abc", breaks_at=None):
        super().__init__()
        self.text, self.breaks_at, self.closed, self.looks = text, breaks_at, [], 0

    def open_generation(self, caller, model, query):
        self.asked.append(("open_generation", caller))
        if model != "m_1":
            raise UnknownModel(f"there is no model {model}", field="model")
        return self._state(0)

    def generation(self, caller, generation, after):
        if after == self.breaks_at:
            raise UnknownModel("it is gone")
        self.looks += 1
        if self.looks % 2:  # nothing new yet
            return self._state(after)
        return self._state(after + 1)

    def close_generation(self, caller, generation):
        self.closed.append(generation)
        return self._state(0)

    def _state(self, version):
        row = TextRow(arm="unsteered", seed=0, text=self.text[:version], tokens=version)
        return GenerationState(id=ID, version=version, ended=version == len(self.text), rows=[row])


@pytest.fixture
def ask(logged_in, world):
    def asking(writer, path=PATH, role=Role.ADMIN, **query):
        world.model = writer
        return logged_in(role).post(path, json={"prompt": "x", **query})

    return asking


def test_every_growth_of_the_text_is_an_event_and_the_end_is_told(ask):
    writer = Writer()
    events = events_in(ask(writer).text)
    assert [(event["event"], event.get("id")) for event in events] == [
        ("text", "0"), ("text", "1"), ("text", "2"), ("text", "3"), ("end", None),
    ]  # fmt: skip
    states = [GenerationState.model_validate_json(event["data"]) for event in events[:-1]]
    assert [state.rows[0].text for state in states] == ["", "a", "ab", "abc"]
    assert json.loads(events[-1]["data"]) == {"generation": ID}
    assert writer.closed == []


def test_a_refusal_before_the_stream_is_a_problem_and_one_in_it_is_an_event(ask):
    assert ask(Writer(), PATH.replace("m_1", "m_2")).json()["title"] == "UnknownModel"
    assert ask(Writer(), max_tokens=0).json()["title"] == "InvalidRequest"
    writer = Writer(breaks_at=1)
    events = events_in(ask(writer).text)
    assert [event["event"] for event in events] == ["text", "text", "refused"]
    assert json.loads(events[-1]["data"])["title"] == "UnknownModel"
    assert writer.closed == [ID]


def test_who_is_disabled_while_it_is_written_reads_no_more_and_the_writing_stops(logged_in, world):
    class Disabling(Writer):
        def generation(self, caller, generation, after):
            world.lock_out(caller.user)
            return super().generation(caller, generation, after)

    world.model = writer = Disabling("abc")
    client = logged_in(Role.ADMIN)
    client.app.state.streams.check_seconds = 0.0
    events = events_in(client.post(PATH, json={"prompt": "x"}).text)
    assert json.loads(events[-1]["data"])["title"] == "Unauthenticated"
    assert writer.closed == [ID]


def test_who_stops_listening_stops_the_writing():
    writer, streams = Writer("a" * 100), Streams()
    caller = Caller(user="u", workspace="w", rights=frozenset())

    async def held():
        return None

    opened = generations.Opened(writer._state(0), caller, writer, streams, held)

    async def leave():
        stream = generations.events(caller, opened)
        assert (await anext(stream)).id == "0"
        assert (await anext(stream)).id == "1"
        assert streams.open == {"u": 1}
        await stream.aclose()

    asyncio.run(leave())
    assert writer.closed == [ID] and not streams.open
