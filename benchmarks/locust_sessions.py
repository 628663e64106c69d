"""A member of an analysis session under load: searches, looks, pins, writes, and follows the others all the time."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
import uuid
from pathlib import Path

import gevent
import requests
from locust import HttpUser, between, task

from benchmarks.locustfile import THINGS, WORDS

PEOPLE = json.loads(Path(os.environ["LOAD_PEOPLE"]).read_text())
NUMBERS = itertools.count()
CATCH_UP_SECONDS = 30.0


class Member(HttpUser):
    """Thinks for a second or two between requests."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        """Carry the access token, and follow."""
        person = PEOPLE[next(NUMBERS) % len(PEOPLE)]
        self.session, self.layer = person["session"], person["layer"]
        self.path = f"/v1/sessions/{self.session}"
        self.client.headers["Authorization"] = f"Bearer {person['token']}"
        self.seen: list[int] = []
        self.added: list[int] = []
        self.follower = gevent.spawn(self._follow)

    def on_stop(self) -> None:
        """Wait until what is there now has arrived, then compare."""
        events = requests.get(f"{self.host}{self.path}", headers=self.client.headers, timeout=60).json()["state"]["seq"]
        limit = time.monotonic() + CATCH_UP_SECONDS
        while (not self.seen or self.seen[-1] < events) and time.monotonic() < limit:
            gevent.sleep(0.2)
        self.follower.kill()
        expected = range(1, max([events, *self.seen]) + 1)
        lost = len(set(expected) - set(self.seen)) + len(set(self.added) - set(self.seen))
        doubled = len(self.seen) - len(set(self.seen)) + len(self.added) - len(set(self.added))
        found = {
            "session": self.session, "events": len(expected), "delivered": len(self.seen), "lost": lost,
            "doubled": doubled,
        }  # fmt: skip
        with Path(os.environ["LOAD_RESULT"]).open("a") as file:
            file.write(json.dumps(found) + "\n")

    def _follow(self) -> None:
        """Read the stream, and take it up again where it ended."""
        while True:
            try:
                with requests.get(
                    f"{self.host}{self.path}/events", stream=True, timeout=60, headers=self.client.headers,
                    params={"after": self.seen[-1] if self.seen else 0},
                ) as stream:  # fmt: skip
                    kind = ""
                    for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
                        name, _, value = (line or "").partition(": ")
                        if name == "event":
                            kind = value
                        elif name == "data" and kind == "event":
                            self.seen.append(json.loads(value)["seq"])
            except requests.RequestException:
                gevent.sleep(0.5)

    @task(4)
    def search(self) -> None:
        """Search, and record it."""
        query = {"terms": [{"kind": "text", "text": f"a {random.choice(WORDS)} {random.choice(THINGS)}"}], "k": 20}
        found = self._ask("POST", "/v1/snapshots/small/search", "search", json=query)
        hits = [hit["component"] for hit in (found or {}).get("hits", [])]
        self._act("act search", {"kind": "search", "query": query, "hits": hits})

    @task(4)
    def browse(self) -> None:
        """Turn pages of components and look at a picture."""
        self._ask(
            "GET", f"/v1/snapshots/small/components?sort={random.choice(('clarity', 'redundancy'))}", "components"
        )
        self._ask("GET", f"/v1/datasets/demo/samples/{random.randrange(60)}/thumbnail", "thumbnail")
        self._act("act view", {"kind": "view", "path": f"/s/small?q={random.choice(THINGS)}"})

    @task(2)
    def pin(self) -> None:
        """Keep a component, or take the last step back."""
        if random.random() < 0.25:
            self._act("act undo", {"kind": "undo"})
        else:
            self._act("act pin", {"kind": "pin", "layer": self.layer, "index": random.randrange(100)})

    @task(2)
    def write(self) -> None:
        """Write in a note that others write in as well."""
        session = self._ask("GET", self.path, "session")
        if session is None:
            return
        notes, line = session["state"]["notes"], f"{random.choice(WORDS)} {random.choice(THINGS)}"
        if len(notes) < 3:
            self._act("act note", {"kind": "note", "text": f"{line}\n"})
            return
        note = random.choice(notes)
        text = note["text"] if len(note["text"]) < 4000 else ""
        self._act("act note", {"kind": "note", "note": note["id"], "text": f"{text}{line}\n", "base": note["seq"]})

    @task(2)
    def look(self) -> None:
        """See the session and who is there."""
        self._ask("GET", self.path, "session")
        self._ask("PUT", f"{self.path}/presence", "presence", json={"path": "/s/small"})

    def _act(self, name: str, action: dict[str, object]) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        added = self._ask("POST", f"{self.path}/history", name, json={"action": action}, headers=headers)
        if added is not None:
            self.added.append(added["seq"])

    def _ask(self, verb: str, path: str, name: str, **body: object) -> dict | None:
        with self.client.request(verb, path, name=name, catch_response=True, **body) as answer:
            if answer.status_code < 500 and answer.status_code != 0:
                answer.success()
            is_json = answer.headers.get("content-type", "").startswith("application/json") if answer.headers else False
            return answer.json() if answer.status_code == 200 and is_json else None
