"""Members, invitations, passwords, and the log of what was done to them."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from contracts.base import Caller
from contracts.errors import Unauthenticated
from contracts.governance import ROLES, Role, TokenRequest
from contracts.members import (
    InvitationRequest,
    LastAdmin,
    LinkSpent,
    LoginRefused,
    NameTaken,
    PasswordResetRequest,
    RoleChange,
    UnknownMember,
    WeakPassword,
    WrongPassword,
)
from orchestration.governance.audit_log import append
from orchestration.governance.service import Governance
from orchestration.migrate import upgrade
from services.kit.db import Database
from services.kit.settings import Settings

GOOD = SecretStr("correct horse battery")
OTHER = SecretStr("another long passphrase")


class Clock:
    now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    if request.param == "sqlite":
        made = Settings(home=tmp_path).resolved_database_url
    else:
        made = request.getfixturevalue("postgresql").new_database()
    upgrade(made)
    return made


@pytest.fixture
def database(url):
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def governance(database, tmp_path, clock):
    return Governance(database, Settings(home=tmp_path), clock=clock)


@pytest.fixture
def admin(governance) -> Caller:
    return governance.operator()


def invited(governance, admin, role=Role.ANALYST, name="ann"):
    link = governance.invite(admin, InvitationRequest(role=role)).path.partition("#")[2]
    return governance.accept_invitation(link, name, GOOD)


def actions(governance, admin):
    return [entry.action for entry in reversed(governance.audit_log(admin, limit=200).items)]


def test_an_invited_person_gets_the_role_and_logs_in_by_password(governance, admin):
    session = invited(governance, admin)
    assert session.caller.rights == ROLES[Role.ANALYST]
    assert governance.caller_of_session(session.secret).caller == session.caller
    assert governance.log_in_by_password("ann", GOOD).caller == session.caller
    for name, password in (("ann", OTHER), ("nobody", GOOD), ("operator", GOOD)):
        with pytest.raises(LoginRefused):
            governance.log_in_by_password(name, password)
    assert actions(governance, admin)[:3] == ["invitation.created", "invitation.accepted", "login.accepted"]
    assert governance.verify_audit_log(admin).intact


def test_an_invitation_works_once_and_ends(governance, admin, clock):
    link = governance.invite(admin, InvitationRequest(role=Role.VIEWER, days=1)).path.partition("#")[2]
    with pytest.raises(WeakPassword):
        governance.accept_invitation(link, "bob", SecretStr("aaaaaaaaaaaaaa"))
    with pytest.raises(NameTaken):
        governance.accept_invitation(link, "operator", GOOD)
    governance.accept_invitation(link, "bob", GOOD)  # neither refusal spent it
    late = governance.invite(admin, InvitationRequest(role=Role.VIEWER, days=1)).path.partition("#")[2]
    clock.now += timedelta(days=1)
    for spent in (link, late, "guess"):
        with pytest.raises(LinkSpent):
            governance.accept_invitation(spent, "carl", GOOD)
    assert governance.invitations(admin).items == []


def test_the_links_of_an_admin_who_was_demoted_or_disabled_open_nothing(governance, admin):
    ann = invited(governance, admin, Role.ADMIN).caller
    links = [governance.invite(ann, InvitationRequest(role=Role.ADMIN)).path.partition("#")[2] for _ in range(2)]
    governance.change_role(admin, ann.user, RoleChange(role=Role.VIEWER))
    with pytest.raises(LinkSpent):
        governance.accept_invitation(links[0], "eve", GOOD)
    governance.disable_member(admin, ann.user)
    governance.enable_member(admin, ann.user)
    governance.change_role(admin, ann.user, RoleChange(role=Role.ADMIN))
    with pytest.raises(LinkSpent):
        governance.accept_invitation(links[1], "eve", GOOD)


def test_a_disabled_member_loses_logins_and_tokens_for_good(governance, admin):
    session = invited(governance, admin)
    token = governance.create_token(session.caller, TokenRequest(name="mine")).secret
    assert governance.disable_member(admin, session.caller.user).disabled_at is not None
    with pytest.raises(LoginRefused):
        governance.log_in_by_password("ann", GOOD)
    governance.enable_member(admin, session.caller.user)
    with pytest.raises(Unauthenticated):
        governance.caller_of_session(session.secret)
    with pytest.raises(Unauthenticated):
        governance.caller_of_token(token)
    assert governance.log_in_by_password("ann", GOOD).caller.user == session.caller.user


def test_the_last_admin_stays(governance, admin):
    with pytest.raises(LastAdmin):
        governance.disable_member(admin, "operator")
    with pytest.raises(LastAdmin):
        governance.change_role(admin, "operator", RoleChange(role=Role.VIEWER))
    invited(governance, admin, Role.ADMIN)
    governance.change_role(admin, "operator", RoleChange(role=Role.VIEWER))


def test_two_admins_who_demote_each_other_at_once_leave_one(governance, admin):
    ann = invited(governance, admin, Role.ADMIN).caller
    barrier, refused = threading.Barrier(2), []

    def demote(caller: Caller, user: str) -> None:
        barrier.wait()
        try:
            governance.change_role(caller, user, RoleChange(role=Role.VIEWER))
        except LastAdmin:
            refused.append(user)

    threads = [threading.Thread(target=demote, args=pair) for pair in ((admin, ann.user), (ann, "operator"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert [m.role for m in governance.members(admin).items].count(Role.ADMIN) == 1


def test_a_reset_link_sets_the_password_once_and_ends_other_logins(governance, admin):
    session = invited(governance, admin)
    user = PasswordResetRequest(user=session.caller.user)
    first, second = (governance.reset_password(admin, user).path.partition("#")[2] for _ in range(2))
    with pytest.raises(LinkSpent):
        governance.choose_password(first, OTHER)  # the later one took its place
    governance.choose_password(second, OTHER)
    with pytest.raises(LinkSpent):
        governance.choose_password(second, GOOD)
    with pytest.raises(Unauthenticated):
        governance.caller_of_session(session.secret)
    with pytest.raises(LoginRefused):
        governance.log_in_by_password("ann", GOOD)
    assert governance.log_in_by_password("ann", OTHER).caller.user == session.caller.user


def test_a_password_that_is_nearly_the_name_is_refused_wherever_it_is_chosen(governance, admin):
    session, weak = invited(governance, admin, name="ann of the lake"), SecretStr("Ann of the lake1")
    with pytest.raises(WeakPassword):
        governance.change_password(session.caller, GOOD, weak)
    reset = PasswordResetRequest(user=session.caller.user)
    link = governance.reset_password(admin, reset).path.partition("#")[2]
    with pytest.raises(WeakPassword):
        governance.choose_password(link, weak)
    governance.choose_password(link, OTHER)  # the refusal did not spend it


def test_changing_ones_password_needs_the_current_one(governance, admin):
    session = invited(governance, admin)
    for current in (None, OTHER):
        with pytest.raises(WrongPassword):
            governance.change_password(session.caller, current, OTHER)
    changed = governance.change_password(session.caller, GOOD, OTHER)
    assert governance.caller_of_session(changed.secret).caller == session.caller
    with pytest.raises(Unauthenticated):
        governance.caller_of_session(session.secret)


def test_members_of_another_workspace_are_not_found(governance, admin):
    foreign = governance.add_member("far", Role.ADMIN, "elsewhere")
    for ask in (
        lambda: governance.disable_member(admin, foreign),
        lambda: governance.enable_member(admin, foreign),
        lambda: governance.change_role(admin, foreign, RoleChange(role=Role.VIEWER)),
        lambda: governance.reset_password(admin, PasswordResetRequest(user=foreign)),
        lambda: governance.member_tokens(admin, foreign),
        lambda: governance.revoke_member_token(admin, foreign, "t_1"),
    ):
        with pytest.raises(UnknownMember):
            ask()
    assert [member.name for member in governance.members(admin).items] == ["operator"]


# --- the chain ----------------------------------------------------------------------------------
def written(governance, admin, database, count=6):
    for number in range(count):
        with database.writing() as db:
            append(db, "default", "operator", "test.done", subject=f"s{number}", at=governance._clock(), number=number)
    report = governance.verify_audit_log(admin)
    assert (report.intact, report.entries) == (True, count)
    return report.head


def tamper(database, *statements: str) -> None:
    with database.writing() as db:
        for statement in statements:
            db.execute(text(statement))


@pytest.mark.parametrize(
    ("statements", "seq", "reason"),
    [
        (["UPDATE audit_entry SET subject = 't2' WHERE seq = 3"], 3, "changed"),
        (["UPDATE audit_entry SET facts = '{' WHERE seq = 3"], 3, "changed"),
        (["UPDATE audit_entry SET at = 'x' WHERE seq = 3"], 3, "changed"),
        (["UPDATE audit_entry SET hash = 'x' WHERE seq = 3"], 3, "changed"),
        (["UPDATE audit_entry SET previous = 'x' WHERE seq = 3"], 3, "changed"),
        (["DELETE FROM audit_entry WHERE seq = 1"], 1, "removed"),
        (["DELETE FROM audit_entry WHERE seq IN (3, 4)"], 3, "removed"),
        (["DELETE FROM audit_entry WHERE seq = 3", "UPDATE audit_entry SET seq = 3 WHERE seq = 4"], 3, "removed"),
        (["DELETE FROM audit_entry WHERE seq > 4"], 5, "removed"),
        (
            [
                "UPDATE audit_entry SET seq = 99 WHERE seq = 3",
                "UPDATE audit_entry SET seq = 3 WHERE seq = 4",
                "UPDATE audit_entry SET seq = 4 WHERE seq = 99",
            ],
            3,
            "reordered",
        ),
        (["UPDATE audit_chain SET seq = 5"], 6, "changed"),
    ],
)
def test_the_first_tampered_entry_is_named_with_what_was_done(governance, admin, database, statements, seq, reason):
    written(governance, admin, database)
    tamper(database, *statements)
    report = governance.verify_audit_log(admin)
    assert not report.intact
    assert (report.broken.seq, report.broken.reason) == (seq, reason)
    governance.audit_log(admin)  # a log that was tampered with can still be read


@pytest.mark.parametrize("column", ["subject", "facts", "actor", "hash", "at"])
def test_bytes_that_are_no_text_are_found_as_a_change(governance, admin, database, column):
    written(governance, admin, database)
    if not database.sqlite:
        with pytest.raises(DBAPIError, match="invalid byte sequence"):
            tamper(database, f"UPDATE audit_entry SET {column} = convert_from('\\xff41', 'UTF8') WHERE seq = 3")
        return
    tamper(database, f"UPDATE audit_entry SET {column} = CAST(x'ff41' AS TEXT) WHERE seq = 3")
    report = governance.verify_audit_log(admin)
    assert (report.broken.seq, report.broken.reason) == (3, "changed")
    shown = governance.audit_log(admin).items
    assert len(shown) == report.entries
    assert [entry.seq for entry in shown if "\\xffA" in entry.model_dump_json().replace("\\\\", "\\")] == [3]


def test_a_cut_or_rewritten_end_shows_only_against_a_head_that_was_kept(governance, admin, database):
    head = written(governance, admin, database)
    tamper(
        database,
        "DELETE FROM audit_entry WHERE seq > 4",
        "UPDATE audit_chain SET seq = 4, hash = (SELECT hash FROM audit_entry WHERE seq = 4)",
    )
    assert governance.verify_audit_log(admin).intact
    report = governance.verify_audit_log(admin, head=head)
    assert (report.broken.seq, report.broken.reason) == (5, "removed")
    for _ in range(3):
        governance.invite(admin, InvitationRequest(role=Role.VIEWER))
    assert governance.verify_audit_log(admin).intact
    report = governance.verify_audit_log(admin, head=head)
    assert (report.broken.seq, report.broken.reason) == (6, "rewritten")


def test_writers_on_many_connections_make_one_chain(url, database, governance, admin, tmp_path):
    databases = [database, Database(url), Database(url)]  # as three gateways
    barrier = threading.Barrier(12)

    def write(number: int) -> None:
        barrier.wait()
        for turn in range(5):
            with databases[number % 3].writing() as db:
                append(db, "default", "operator", "test.done", subject=f"{number}.{turn}", at=datetime.now(UTC))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for opened in databases[1:]:
        opened.close()
    report = governance.verify_audit_log(admin)
    assert (report.intact, report.entries) == (True, 60)
    assert len({entry.subject for entry in governance.audit_log(admin, limit=200).items}) == 60


def test_an_act_that_is_rolled_back_leaves_no_entry(governance, admin, database):
    with pytest.raises(RuntimeError), database.writing() as db:
        append(db, "default", "operator", "test.done", at=datetime.now(UTC))
        raise RuntimeError
    assert governance.audit_log(admin).items == []
    assert governance.verify_audit_log(admin).intact


def test_the_log_is_paged_and_filtered_and_each_workspaces_own(governance, admin, clock):
    session = invited(governance, admin)
    clock.now += timedelta(hours=1)
    governance.disable_member(admin, session.caller.user)
    assert [e.action for e in governance.audit_log(admin, since=clock.now).items] == ["member.disabled"]
    assert {e.actor_name for e in governance.audit_log(admin, actor="ann").items} == {"ann"}
    assert len(governance.audit_log(admin, action="login.accepted").items) == 1
    first = governance.audit_log(admin, limit=3)
    second = governance.audit_log(admin, limit=3, cursor=first.next)
    assert [e.seq for e in first.items + second.items] == [4, 3, 2, 1]
    elsewhere = Caller(user="x", workspace="other", rights=admin.rights)
    assert governance.audit_log(elsewhere).items == []


def test_no_password_or_link_is_in_the_database(tmp_path):
    settings = Settings(home=tmp_path)
    upgrade(settings.resolved_database_url)
    database = Database(settings.resolved_database_url)
    governance = Governance(database, settings)
    admin = governance.operator()
    link = governance.invite(admin, InvitationRequest(role=Role.VIEWER)).path.partition("#")[2]
    session = invited(governance, admin)
    with sqlite3.connect(database.engine.url.database) as db:
        dump = "\n".join(db.iterdump())
    database.close()
    for secret in (link, session.secret, GOOD.get_secret_value()):
        assert secret not in dump
