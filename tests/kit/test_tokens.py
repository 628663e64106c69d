"""Opaque tokens, keyed digests, the key file and service tokens."""

from __future__ import annotations

import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from contracts.base import Caller, Right
from contracts.errors import Unauthenticated
from services.kit.tokens import (
    ALPHABET,
    TokenKey,
    caller_of_service_token,
    is_token,
    load_token_key,
    make_token,
    sign_service_token,
)

KEY = TokenKey(b"k" * 32)
ALICE = Caller(user="u", workspace="w", rights=frozenset({Right.LOOK, Right.SEARCH}))


def test_a_token_has_256_bits_a_prefix_and_a_checksum():
    tokens = {make_token("xspat") for _ in range(200)}
    assert len(tokens) == 200
    assert {len(token) for token in tokens} == {len("xspat_") + 43 + 6}
    assert all(is_token(token, "xspat") and set(token[6:]) <= set(ALPHABET) for token in tokens)
    assert len({token[6:9] for token in tokens}) > 50  # the first digits vary too


@given(st.integers(min_value=6, max_value=54), st.sampled_from(ALPHABET))
def test_any_single_wrong_character_is_noticed(position, letter):
    token = make_token("xspat")
    altered = token[:position] + letter + token[position + 1 :]
    assert is_token(altered, "xspat") == (altered == token)


@given(st.text(max_size=80))
def test_no_text_makes_the_check_fail_otherwise_than_by_no(text):
    assert is_token(text, "xspat") is False
    assert is_token("xspat_" + text, "xspat") in {True, False}


def test_a_token_of_another_kind_is_none_of_this_kind():
    assert not is_token(make_token("xsses"), "xspat")
    assert not is_token("xspat_" + "é" * 49, "xspat")


def test_digests_depend_on_key_token_and_purpose():
    digests = {
        KEY.digest("a", "session"),
        KEY.digest("b", "session"),
        KEY.digest("a", "csrf"),
        TokenKey(b"x" * 32).digest("a", "session"),
    }
    assert len(digests) == 4
    assert KEY.matches("a", "csrf", KEY.digest("a", "csrf"))
    assert not KEY.matches("a", "csrf", "")


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="XSYS_TOKEN_KEY"):
        load_token_key(SecretStr("short"), None)


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    home = tmp_path / "home"
    first, second = load_token_key(None, home), load_token_key(None, home)
    assert first.digest("a", "p") == second.digest("a", "p")
    assert stat.S_IMODE((home / "token.key").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["token.key"]


def test_processes_that_start_at_once_share_one_key(tmp_path):
    barrier, digests = threading.Barrier(8), set()

    def start() -> None:
        barrier.wait()
        digests.add(load_token_key(None, tmp_path).digest("a", "p"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["token.key"]


def test_a_service_token_carries_the_user_the_workspace_and_the_rights():
    token = sign_service_token(KEY, ALICE, "data", now=1000.0)
    assert caller_of_service_token(KEY, token, "data", now=1060.0) == ALICE


@pytest.mark.parametrize(
    ("token", "audience", "now"),
    [
        (sign_service_token(KEY, ALICE, "data", now=1000.0), "data", 1060.1),
        (sign_service_token(KEY, ALICE, "data", now=1000.0), "model", 1000.0),
        (sign_service_token(TokenKey(b"x" * 32), ALICE, "data", now=1000.0), "data", 1000.0),
        ("", "data", 1000.0),
        ("xsvc1..", "data", 1000.0),
        ("xsvc1.e30=." + KEY.digest("e30=", "service"), "data", 1000.0),
        ("xsvc1.e30=.ü", "data", 1000.0),
        (sign_service_token(KEY, ALICE, "data", now=1000.0) + "0", "data", 1000.0),
    ],
    ids=["ended", "other audience", "other key", "empty", "no body", "no claim", "not ascii", "longer"],
)
def test_a_service_token_that_is_not_right_is_refused(token, audience, now):
    with pytest.raises(Unauthenticated):
        caller_of_service_token(KEY, token, audience, now=now)
