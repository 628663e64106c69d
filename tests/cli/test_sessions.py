"""`xsys session` on a data folder."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from orchestration.cli.app import Where, app, register_commands
from orchestration.cli.desk import local_desk
from tests.sessions.conftest import PlantedExplanation


@pytest.fixture
def xsys(tmp_path, monkeypatch):
    """Run a command at a desk whose snapshots are planted; return what it prints."""
    monkeypatch.setenv("XSYS_HOME", str(tmp_path))
    register_commands()
    at = local_desk()
    at.sessions._explanation = PlantedExplanation()
    at.sessions._replayer = replace(at.sessions._replayer, explanation=PlantedExplanation())
    monkeypatch.setattr(Where, "desk", lambda self: at)

    def run(*words: str) -> str:
        ran = CliRunner().invoke(app, ["session", *words], catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    return run


def test_a_session_is_begun_filled_shown_and_exported(xsys, tmp_path):
    session = xsys("begin", "one", "stripes").strip()
    xsys("pin", session, "blocks.1", "3")
    xsys("note", session, "striped fur")
    assert "took back event 2" in xsys("undo", session)
    xsys("note", session, "whiskers")
    shown = xsys("show", session)
    assert "pinned blocks.1 · 3" in shown
    assert "striped fur (undone)" in shown
    assert json.loads(xsys("show", session, "--json"))["state"]["notes"][0]["text"] == "whiskers"
    (line,) = json.loads(xsys("list", "--json"))["items"]
    assert (line["id"], line["pins"], line["notes"], line["events"]) == (session, 1, 1, 4)
    assert "stripes" in xsys("list")
    for name, start in (("report.html", "<!doctype html>"), ("again.py", '"""Repeats'), ("events.json", "{")):
        xsys("export", session, "-o", str(tmp_path / name))
        assert (tmp_path / name).read_text().startswith(start)
    assert len(json.loads(xsys("export", session, "--json"))["items"]) == 4


def test_a_session_is_shared_joined_and_branched(xsys):
    session = xsys("begin", "one", "stripes").strip()
    link = xsys("share", session, "--edit").strip()
    assert link.startswith("/sessions/join#xsshare_")
    assert xsys("join", link).strip() == session
    branch = xsys("branch", session, "mine", "--at", "0").strip()
    assert json.loads(xsys("show", branch, "--json"))["parent"] == session


def test_what_was_recorded_is_replayed(xsys):
    session = xsys("begin", "one", "stripes").strip()
    xsys("pin", session, "blocks.1", "3")
    xsys("note", session, "striped fur")
    assert "1 as recorded, 0 differ, 0 refused, 1 hold no answer" in xsys("replay", session)
    pin, note = json.loads(xsys("replay", session, "--json"))["items"]
    assert (pin["verdict"], note["verdict"]) == ("same", "nothing")
