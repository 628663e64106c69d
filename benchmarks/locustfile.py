"""A user of the load benchmark: looks at components and pictures, and searches now and then."""

from __future__ import annotations

import os
import random

from locust import HttpUser, between, task

WORDS = ("striped", "round", "dark", "shiny", "old", "wooden", "red", "distant", "soft", "wet")
THINGS = ("cat", "wheel", "tower", "cup", "leaf", "coin", "window", "rocket", "letter", "stone")


class Analyst(HttpUser):
    """Thinks for a second or two between requests."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        """Carry the access token."""
        self.client.headers["Authorization"] = f"Bearer {os.environ['LOAD_TOKEN']}"

    @task(3)
    def search(self) -> None:
        """Search by one of a hundred texts."""
        text = f"a {random.choice(WORDS)} {random.choice(THINGS)}"
        self._ask("POST", "/v1/snapshots/small/search", "search", json={"terms": [{"text": text}], "k": 20})

    @task(4)
    def browse(self) -> None:
        """Turn pages of components."""
        sort = random.choice(("component", "clarity", "redundancy"))
        self._ask("GET", f"/v1/snapshots/small/components?sort={sort}&limit=50", "components")

    @task(6)
    def look(self) -> None:
        """Look at a picture."""
        self._ask("GET", f"/v1/datasets/demo/samples/{random.randrange(60)}/thumbnail", "thumbnail")

    def _ask(self, verb: str, path: str, name: str, **body: object) -> None:
        with self.client.request(verb, path, name=name, catch_response=True, **body) as answer:
            if answer.status_code < 500 and answer.status_code != 0:
                answer.success()
