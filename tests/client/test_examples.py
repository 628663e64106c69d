"""The examples of the client's page, and the script that an analysis session exports, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


@pytest.fixture
def environment(served, monkeypatch, tmp_path):
    monkeypatch.setenv("XSYS_SERVER", served.url)
    monkeypatch.setenv("XSYS_TOKEN", served.token())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run_one_after_another_and_show_pictures(environment):
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(compile(example, "docs/client.md", "exec"), names)
    for name in ("hits", "card", "why"):
        assert "data:image/" in names[name]._repr_html_()
    assert "<table>" in names["what_if"]._repr_html_()
    assert "clocks in the last layer" in names["session"]._repr_html_()
    assert "data:image/webp" in (environment / "report.html").read_text()


def test_an_exported_script_asks_again_and_finds_the_same(environment):
    from contracts.explanation import SearchQuery, TextTerm
    from contracts.session_events import Search, Steer
    from contracts.steering import SteeringRequest
    from xsys_client import connect

    xsys = connect()
    snapshot = xsys.snapshot("small")
    session = xsys.begin(snapshot.id, "to be repeated")
    query = SearchQuery(terms=[TextTerm(text="a maze")], k=5)
    hits = xsys.search(snapshot.id, query)
    session.act(Search(query=query, hits=[hit.component for hit in hits], lineage=hits.lineage))
    session.pin(hits[0].component.layer, hits[0].component.index)
    session.note('"""\nimport os')
    asked = SteeringRequest.model_validate({
        "sample": {"dataset": snapshot.dataset.id, "index": 0},
        "interventions": [{"target": {"kind": "component", "layer": "conv_head", "index": 3}, "change": "ablate"}],
    })  # fmt: skip
    steered = xsys.steer(snapshot.model.id, asked)
    session.act(Steer(model=snapshot.model.id, request=asked, flipped=steered.flipped))
    script = session.export(environment / "again.py", "python")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "3 answers as recorded, 0 differ"), done.stdout + done.stderr

    script.write_text(script.read_text().replace("a maze", "a clock"))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "event 1 differs" in done.stdout
