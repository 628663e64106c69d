"""Log events: JSON lines on standard error, correlated, without secrets."""

from __future__ import annotations

import json
import logging

import pytest

from services.kit.logging import configure_logging, correlated, correlation_id, logger


@pytest.fixture
def json_lines(capsys):
    configure_logging(json=True)
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    configure_logging(json=False, level=logging.WARNING)


def test_an_event_is_one_json_line_with_its_fields(json_lines):
    logger("here").info("part.published", part="p_1", seconds=0.5)
    (line,) = json_lines()
    assert (line["event"], line["part"], line["seconds"], line["level"]) == ("part.published", "p_1", 0.5, "info")
    assert line["source"] == "here"
    assert line["timestamp"].endswith("Z")


def test_events_of_one_request_share_a_correlation_id(json_lines):
    log = logger("here")
    with correlated("abcdef-123") as given:
        log.info("a.happened")
        log.info("b.happened")
    log.info("c.happened")
    assert given == "abcdef-123"
    assert [line.get("correlation_id") for line in json_lines()] == ["abcdef-123", "abcdef-123", None]
    assert correlation_id() == ""


@pytest.mark.parametrize("given", [None, "", "short", "with\nnewline-in-it", "x" * 65, "<script>alert</script>"])
def test_an_unusable_correlation_id_is_replaced(given):
    with correlated(given) as used:
        assert used != given
        assert used.isalnum()


@pytest.mark.parametrize("name", ["link_secret", "password", "token_key", "Authorization", "cookie", "csrf"])
def test_secrets_are_blanked_by_the_name_of_their_field(name, json_lines):
    logger("here").info("login.accepted", **{name: "hunter2"})
    (line,) = json_lines()
    assert line[name] == "(redacted)"


def test_user_text_cannot_forge_a_second_line(json_lines):
    logger("here").info("dataset.named", name='x"}\n{"event": "login.accepted"}')
    assert [line["event"] for line in json_lines()] == ["dataset.named"]


def test_nothing_goes_to_standard_output(capsys):
    logger("here").error("part.failed")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "part.failed" in captured.err


def test_a_traceback_shows_no_local_variables(capsys):
    hidden = "hunter2" * 2
    try:
        raise ValueError("wrong")
    except ValueError:
        logger("here").exception("part.failed")
    assert hidden not in capsys.readouterr().err
