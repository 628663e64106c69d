"""Analysis sessions: who is let in, what each may do, and what is kept from others. On SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from contracts.errors import Conflict, UnknownSnapshot
from contracts.explanation import SearchQuery, TextTerm
from contracts.session_events import EventDraft, View
from contracts.sessions import (
    Access,
    BranchRequest,
    JoinRequest,
    LinkRequest,
    Place,
    ReadOnlySession,
    SessionRequest,
    UnknownAnalysisSession,
    UnknownShareLink,
)
from tests.sessions.conftest import pin

CATS = SearchQuery(terms=[TextTerm(text="a cat")])
A_NOTE = "n_0123456789abcdef"


def everything_that_names_a_session(sessions, caller, session):
    yield lambda: sessions.session(caller, session)
    yield lambda: sessions.state_at(caller, session, 0)
    yield lambda: sessions.history(caller, session)
    yield lambda: sessions.act(caller, session, EventDraft(action=View(path="/")))
    yield lambda: sessions.branch(caller, session, BranchRequest(name="b"))
    yield lambda: sessions.links(caller, session)
    yield lambda: sessions.share(caller, session, LinkRequest())
    yield lambda: sessions.revoke_link(caller, session, "k_0123456789abcdef")
    yield lambda: sessions.remove_member(caller, session, caller.user)
    yield lambda: sessions.appear(caller, session, Place(path="/"))
    yield lambda: sessions.still_here(caller, session)
    yield lambda: sessions.report(caller, session)


@pytest.mark.parametrize("workspace", ["default", "other"])
def test_who_is_no_member_is_told_that_there_is_no_such_session(sessions, session, person, workspace):
    stranger = person("mallory", workspace=workspace)
    for ask in everything_that_names_a_session(sessions, stranger, session):
        with pytest.raises(UnknownAnalysisSession):
            ask()
    assert sessions.sessions(stranger).items == []


def test_who_may_only_view_sees_everything_and_changes_nothing(sessions, session, joined, act):
    bob = joined("bob", Access.VIEW)
    assert sessions.session(bob, session).access is Access.VIEW
    for change in (
        lambda: act(pin(1), by=bob),
        lambda: sessions.share(bob, session, LinkRequest()),
        lambda: sessions.links(bob, session),
        lambda: sessions.remove_member(bob, session, "somebody"),
    ):
        with pytest.raises(ReadOnlySession):
            change()


def test_a_link_works_for_many_in_its_workspace_until_it_is_revoked_or_ends(sessions, session, alice, person, clock):
    made = sessions.share(alice, session, LinkRequest(days=2))
    assert made.path == f"/sessions/join#{made.secret}"
    assert [sessions.join(person(name), JoinRequest(link=made.secret)).id for name in ("bob", "carol")] == [session] * 2
    with pytest.raises(UnknownShareLink):
        sessions.join(person("mallory", workspace="other"), JoinRequest(link=made.secret))
    with pytest.raises(UnknownShareLink):
        sessions.join(person("eve"), JoinRequest(link=made.secret[:-1]))
    clock.advance(days=2)
    with pytest.raises(UnknownShareLink):
        sessions.join(person("late"), JoinRequest(link=made.secret))
    again = sessions.share(alice, session, LinkRequest())
    assert [link.id for link in sessions.links(alice, session).items] == [again.link.id]
    sessions.revoke_link(alice, session, again.link.id)
    with pytest.raises(UnknownShareLink):
        sessions.join(person("dave"), JoinRequest(link=again.secret))
    with pytest.raises(UnknownShareLink):
        sessions.revoke_link(alice, session, again.link.id)


def test_a_link_raises_access_and_never_lowers_it(sessions, session, alice, joined):
    bob = joined("bob", Access.VIEW)
    to_edit = sessions.share(alice, session, LinkRequest(access=Access.EDIT)).secret
    to_view = sessions.share(alice, session, LinkRequest(access=Access.VIEW)).secret
    assert sessions.join(bob, JoinRequest(link=to_edit)).access is Access.EDIT
    assert sessions.join(bob, JoinRequest(link=to_view)).access is Access.EDIT
    assert sessions.join(alice, JoinRequest(link=to_view)).access is Access.OWNER


def test_secrets_of_links_are_kept_as_digests(sessions, session, alice, database):
    from sqlalchemy import select

    from orchestration.sessions.rows import ShareLinkRow

    secret = sessions.share(alice, session, LinkRequest()).secret
    with database.reading() as db:
        assert secret not in db.scalars(select(ShareLinkRow.digest)).one()


def test_a_member_who_was_taken_out_sees_nothing_any_more(sessions, session, alice, joined):
    bob = joined("bob")
    sessions.appear(bob, session, Place(path="/s/one"))
    sessions.remove_member(alice, session, bob.user)
    with pytest.raises(UnknownAnalysisSession):
        sessions.session(bob, session)
    assert sessions.head(session).present.viewers == []
    with pytest.raises(Conflict):
        sessions.remove_member(alice, session, alice.user)


def test_a_session_on_a_foreign_snapshot_cannot_begin(sessions, person):
    with pytest.raises(UnknownSnapshot):
        sessions.begin(person("mallory", workspace="other"), SessionRequest(name="x", snapshot="one"))


# --- lists, presence, exports ---------------------------------------------------------------------
