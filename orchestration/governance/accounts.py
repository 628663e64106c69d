"""What people do with their own account: accept an invitation, log in by password, choose another password."""

from __future__ import annotations

import secrets

from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError

from contracts.base import Caller
from contracts.errors import Unauthenticated
from contracts.members import LinkSpent, LoginRefused, NameTaken, Role, WrongPassword
from orchestration.governance import membership, repository
from orchestration.governance.audit_log import append
from orchestration.governance.logins import Logins, LoginSession
from orchestration.governance.members import INVITATION, RESET
from orchestration.governance.passwords import fits, hash_password
from orchestration.governance.repository import Member
from orchestration.governance.rows import MembershipRow, UserRow
from services.kit.logging import logger
from services.kit.tokens import is_token

log = logger(__name__)
SPENT = "the link was used before, has ended, or is not one of ours"


class Accounts(Logins):
    """Accounts with passwords."""

    def log_in_by_password(self, name: str, password: SecretStr) -> LoginSession:
        """Begin a login session.

        Raises
        ------
        LoginRefused : no such name, no password, a wrong one, or disabled; all take equally long.
        """
        with self._database.reading() as db:
            found = membership.member_named(db, name)
        right, now = fits(password, None if found is None else found.password), self._clock()
        refused = LoginRefused("name and password do not fit", field="password")
        if found is None:
            log.warning("login.refused")
            raise refused
        with self._database.writing() as db:
            current = membership.member_named(db, name)  # the password may have been changed in the meantime
            if right and current == found:
                member = Member(found.user, found.name, found.workspace, Role(found.role))
                return self._open(db, member, now, by="password")
            append(db, found.workspace, found.user, "login.refused", at=now)
        log.warning("login.refused", user=found.user)
        raise refused

    def accept_invitation(self, link: str, name: str, password: SecretStr) -> LoginSession:
        """Make the account of an invited person and log them in.

        Raises
        ------
        LinkSpent, NameTaken, WeakPassword : after the latter two the link can still be used.
        """
        digest, now, user = self._usable(link, INVITATION), self._clock(), f"u_{secrets.token_hex(8)}"
        taken = NameTaken("somebody has this name already", field="name")
        hashed = hash_password(password, name)
        try:
            with self._database.writing() as db:
                row = membership.spend(db, digest, now)
                if row is None or row.role is None:
                    raise LinkSpent(SPENT, field="link")
                if membership.name_taken(db, name):
                    raise taken
                db.add(UserRow(id=user, name=name, password=hashed, created_at=now))
                db.flush()
                db.add(MembershipRow(workspace=row.workspace, user=user, role=row.role))
                facts = {"invited_by": row.created_by, "role": row.role}
                append(db, row.workspace, user, "invitation.accepted", subject=row.id, at=now, **facts)
                return self._open(db, Member(user, name, row.workspace, Role(row.role)), now, by="invitation")
        except IntegrityError as error:  # two people took the name at once
            raise taken from error

    def choose_password(self, link: str, password: SecretStr) -> LoginSession:
        """Set the password of whom the reset link is for, end all other logins, and log them in."""
        digest, now = self._usable(link, RESET), self._clock()
        with self._database.reading() as db:
            name = membership.reset_for(db, digest)
        hashed = hash_password(password, name)
        with self._database.writing() as db:
            row = membership.spend(db, digest, now)
            found = None if row is None else repository.member(db, row.workspace, row.user or "")
            if row is None or found is None:
                raise LinkSpent(SPENT, field="link")
            membership.set_password(db, found.user, hashed)
            membership.end_logins(db, found.user)
            append(
                db, row.workspace, found.user, "password.reset", subject=found.user, at=now, offered_by=row.created_by
            )
            return self._open(db, found, now, by="password reset")

    def change_password(self, caller: Caller, current: SecretStr | None, password: SecretStr) -> LoginSession:
        """Change one's own password and end all logins but a new one. Who has none yet needs to know none.

        Raises
        ------
        WrongPassword, WeakPassword
        """
        with self._database.reading() as db:
            found = membership.member(db, caller.workspace, caller.user)
        if found is None:
            raise Unauthenticated("the user is not a member of this workspace any more")
        wrong = WrongPassword("this is not your current password", field="current")
        if found.password is not None and (current is None or not fits(current, found.password)):
            raise wrong
        hashed, now = hash_password(password, found.name), self._clock()
        with self._database.writing() as db:
            if membership.member(db, caller.workspace, caller.user) != found:
                raise wrong  # changed, demoted or disabled in the meantime
            membership.set_password(db, found.user, hashed)
            membership.end_logins(db, found.user)
            append(db, found.workspace, found.user, "password.changed", subject=found.user, at=now)
            member = Member(found.user, found.name, found.workspace, Role(found.role))
            return self._open(db, member, now, by="password change")

    def _usable(self, link: str, kind: str) -> str:
        digest = self._key.digest(link, kind)
        with self._database.reading() as db:
            if is_token(link, kind) and membership.has_link(db, digest, self._clock()):
                return digest
        raise LinkSpent(SPENT, field="link")
