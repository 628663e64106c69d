"""Identities without HTTP: bootstrap, links under concurrency, what the database keeps."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest

from contracts.base import Caller, Right
from contracts.errors import Forbidden, Unauthenticated
from contracts.governance import LOGIN_ONLY, OPERATOR, ROLES, Role, TokenRequest, UnknownToken
from orchestration.governance.errors import LoginLinkSpent
from orchestration.governance.service import Governance
from orchestration.migrate import upgrade
from services.kit.db import Database
from services.kit.settings import Settings


@pytest.fixture
def database(tmp_path):
    url = Settings(home=tmp_path).resolved_database_url
    upgrade(url)
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def governance(database, tmp_path):
    return Governance(database, Settings(home=tmp_path))


def secret_of(link: str) -> str:
    return link.partition("#")[2]


def test_the_operator_exists_from_the_first_use_and_has_every_right(governance):
    caller = governance.operator()
    assert (caller.user, caller.workspace, caller.rights) == ("operator", "default", OPERATOR)
    identity = governance.me(caller)
    assert (identity.name, identity.role) == ("operator", Role.ADMIN)
    assert governance.operator() == caller


def test_processes_that_start_at_once_make_one_operator(database, tmp_path):
    barrier, callers = threading.Barrier(6), []

    def start() -> None:
        barrier.wait()
        callers.append(Governance(database, Settings(home=tmp_path)).operator())

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(callers) == 6
    assert len(set(callers)) == 1


def test_two_browsers_cannot_both_have_one_link(governance):
    secret, barrier, outcomes = secret_of(governance.login_link()), threading.Barrier(6), []

    def open_link() -> None:
        barrier.wait()
        try:
            governance.log_in(secret)
            outcomes.append("in")
        except LoginLinkSpent:
            outcomes.append("refused")

    threads = [threading.Thread(target=open_link) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] + ["refused"] * 5


def test_a_login_from_the_browser_cannot_name_server_paths(governance):
    session = governance.log_in(secret_of(governance.login_link()))
    assert session.caller.rights == ROLES[Role.ADMIN] == OPERATOR - {Right.SERVER_PATHS}


def test_a_change_of_role_counts_from_the_next_request_on(governance, database):
    user = governance.add_member("ann", Role.ADMIN)
    session = governance.log_in(secret_of(governance.login_link(user)))
    token = governance.create_token(session.caller, TokenRequest(name="wide")).secret
    with sqlite3.connect(database.engine.url.database) as db:
        db.execute("UPDATE membership SET role = 'viewer' WHERE user_id = ?", (user,))
    assert governance.caller_of_session(session.secret).caller.rights == ROLES[Role.VIEWER]
    assert governance.caller_of_token(token).rights == ROLES[Role.VIEWER] - LOGIN_ONLY


def test_no_secret_is_in_the_database(governance, database):
    link = secret_of(governance.login_link())
    session = governance.log_in(link)
    token = governance.create_token(session.caller, TokenRequest(name="t")).secret
    with sqlite3.connect(database.engine.url.database) as db:
        dump = "\n".join(db.iterdump())
    for secret in (link, session.secret, session.csrf, token):
        assert secret not in dump
        assert secret[6:40] not in dump


def test_a_database_moved_to_another_key_lets_nobody_in(governance, database, tmp_path):
    session = governance.log_in(secret_of(governance.login_link()))
    other = Governance(database, Settings(home=tmp_path, token_key="another key of at least 32 bytes!"))
    with pytest.raises(Unauthenticated):
        other.caller_of_session(session.secret)


def test_the_secrets_of_one_kind_do_not_open_another_door(governance):
    link = secret_of(governance.login_link())
    session = governance.log_in(link)
    with pytest.raises(Unauthenticated):
        governance.caller_of_token(session.secret)
    with pytest.raises(Unauthenticated):
        governance.caller_of_session(link)
    with pytest.raises(LoginLinkSpent):
        governance.log_in(session.secret)


def test_the_operators_token_has_no_right_to_server_paths(governance):
    made = governance.create_token(governance.operator(), TokenRequest(name="ci"))
    assert Right.SERVER_PATHS not in made.token.rights
    assert governance.caller_of_token(made.secret).rights == ROLES[Role.ADMIN] - LOGIN_ONLY


def test_tokens_are_listed_newest_first_with_their_last_use(database, tmp_path):
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    governance = Governance(database, Settings(home=tmp_path), clock=lambda: moment[0])
    caller = governance.operator()
    old = governance.create_token(caller, TokenRequest(name="old"))
    moment[0] += timedelta(hours=1)
    governance.create_token(caller, TokenRequest(name="new", days=1))
    governance.caller_of_token(old.secret)
    listed = governance.tokens(caller).items
    assert [(token.name, token.last_used_at) for token in listed] == [("new", None), ("old", moment[0])]
    assert listed[0].expires_at == moment[0] + timedelta(days=1)


def test_a_token_is_its_makers_alone_even_within_a_workspace(governance):
    made = governance.create_token(governance.operator(), TokenRequest(name="mine"))
    neighbour = Caller(user=governance.add_member("bob", Role.ADMIN), workspace="default", rights=ROLES[Role.ADMIN])
    same_user_elsewhere = Caller(user="operator", workspace="other", rights=OPERATOR)
    for caller in (neighbour, same_user_elsewhere):
        assert governance.tokens(caller).items == []
        with pytest.raises(UnknownToken):
            governance.revoke_token(caller, made.token.id)
    assert governance.caller_of_token(made.secret).user == "operator"


def test_rights_that_the_maker_lacks_are_refused_by_name(governance):
    viewer = Caller(user="operator", workspace="default", rights=frozenset({Right.LOOK}))
    with pytest.raises(Forbidden, match="submit"):
        governance.create_token(viewer, TokenRequest(name="t", rights=[Right.LOOK, Right.SUBMIT]))


def test_who_is_no_member_is_refused(governance):
    governance.operator()
    user = governance.add_member("eve", Role.VIEWER, "elsewhere")
    with pytest.raises(LoginLinkSpent):
        governance.log_in(secret_of(governance.login_link(user, "default")))


def test_logging_in_forgets_links_that_have_ended(database, tmp_path):
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    governance = Governance(database, Settings(home=tmp_path), clock=lambda: moment[0])
    for _ in range(3):
        governance.login_link()
        moment[0] += timedelta(minutes=11)
    governance.login_link()
    with sqlite3.connect(database.engine.url.database) as db:
        assert db.execute("SELECT count(*) FROM login_link").fetchone() == (1,)
