"""What admins do with the members of their workspace, each act with its entry in the audit log."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from contracts.base import Caller, Page
from contracts.errors import InvalidRequest
from contracts.governance import Removed, Role
from contracts.members import (
    Invitation,
    InvitationRequest,
    LastAdmin,
    NewLink,
    PasswordResetRequest,
    RoleChange,
    UnknownInvitation,
    UnknownMember,
    WorkspaceMember,
)
from orchestration.governance import membership
from orchestration.governance.audit_log import append, hold
from orchestration.governance.logins import Logins
from orchestration.governance.membership import MemberRow
from orchestration.governance.rows import AccountLinkRow
from services.kit.cursors import decode_cursor, encode_cursor
from services.kit.db import ReadSession
from services.kit.logging import logger
from services.kit.tokens import make_token

log = logger(__name__)

INVITATION, RESET = "xsinvite", "xsreset"
RESET_LIFE = timedelta(days=1)


class Members(Logins):
    """Members, invitations, password resets."""

    def members(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[WorkspaceMember]:
        """List who belongs to the workspace, by name; those who are disabled as well."""
        after = "" if cursor is None else decode_cursor(cursor, length=1)[0]
        if not isinstance(after, str):
            raise InvalidRequest("this cursor belongs to another listing", field="cursor")
        with self._database.reading() as db:
            found = membership.members(db, caller.workspace, after=after, limit=limit + 1)
        items = [_shown(row) for row in found[:limit]]
        return Page(items=items, next=encode_cursor([items[-1].name]) if len(found) > limit else None)

    def change_role(self, caller: Caller, user: str, body: RoleChange) -> WorkspaceMember:
        """Give a member another role; it counts from their next request on."""
        with self._database.writing() as db:
            hold(db, caller.workspace)  # two admins who demote each other come one after the other
            found = self._known(db, caller, user)
            if body.role is not Role.ADMIN:
                self._keep_an_admin(db, caller, found)
            membership.set_role(db, caller.workspace, user, body.role)
            facts = {"before": found.role, "after": str(body.role)}
            append(db, caller.workspace, caller.user, "member.role_changed", subject=user, at=self._clock(), **facts)
            changed = self._known(db, caller, user)
        log.info("member.role_changed", user=user, role=str(body.role), by=caller.user)
        return _shown(changed)

    def disable_member(self, caller: Caller, user: str) -> WorkspaceMember:
        """Lock a member out: logins and live streams end, access tokens and open links are revoked."""
        now = self._clock()
        with self._database.writing() as db:
            hold(db, caller.workspace)
            self._keep_an_admin(db, caller, self._known(db, caller, user))
            membership.disable(db, user, now)
            append(db, caller.workspace, caller.user, "member.disabled", subject=user, at=now)
            changed = self._known(db, caller, user)
        log.info("user.disabled", user=user, by=caller.user)
        return _shown(changed)

    def enable_member(self, caller: Caller, user: str) -> WorkspaceMember:
        """Let a member in again. Revoked tokens stay revoked."""
        with self._database.writing() as db:
            hold(db, caller.workspace)
            self._known(db, caller, user)
            membership.enable(db, user)
            append(db, caller.workspace, caller.user, "member.enabled", subject=user, at=self._clock())
            changed = self._known(db, caller, user)
        log.info("user.enabled", user=user, by=caller.user)
        return _shown(changed)

    def invitations(self, caller: Caller) -> Page[Invitation]:
        """List the invitations that can still be accepted, newest first."""
        with self._database.reading() as db:
            found = membership.open_invitations(db, caller.workspace, self._clock())
        return Page(items=[_invitation(row) for row in found])

    def invite(self, caller: Caller, body: InvitationRequest) -> NewLink:
        """Make a one-time link with which somebody becomes a member; it is in this answer and nowhere else."""
        return self._link(caller, "/invite", INVITATION, timedelta(days=body.days), role=body.role)

    def revoke_invitation(self, caller: Caller, invitation: str) -> Removed:
        """Take an invitation back."""
        with self._database.writing() as db:
            if not membership.revoke_invitation(db, caller.workspace, invitation):
                raise UnknownInvitation("there is no such open invitation", field="invitation")
            append(db, caller.workspace, caller.user, "invitation.revoked", subject=invitation, at=self._clock())
        return Removed(id=invitation)

    def reset_password(self, caller: Caller, body: PasswordResetRequest) -> NewLink:
        """Make a one-time link with which a member chooses a new password; earlier ones end."""
        return self._link(caller, "/reset", RESET, RESET_LIFE, user=body.user)

    def _link(
        self,
        caller: Caller,
        page: str,
        kind: str,
        life: timedelta,
        *,
        role: Role | None = None,
        user: str | None = None,
    ) -> NewLink:
        """Make a link. The secret is in the fragment, which browsers do not send: no log has it."""
        self._ensure_default()
        secret, now = make_token(kind), self._clock()
        row = AccountLinkRow(
            id=f"l_{secrets.token_hex(8)}",
            digest=self._key.digest(secret, kind),
            workspace=caller.workspace,
            role=role,
            user=user,
            created_by=caller.user,
            created_at=now,
            expires_at=now + life,
        )
        with self._database.writing() as db:
            if user is not None:
                self._known(db, caller, user)
                membership.end_resets(db, user)
            db.add(row)
            if role is not None:
                append(db, caller.workspace, caller.user, "invitation.created", subject=row.id, at=now, role=str(role))
            else:
                append(db, caller.workspace, caller.user, "password.reset_offered", subject=user or "", at=now)
        log.info("link.created", link=row.id, page=page, by=caller.user)
        return NewLink(id=row.id, path=f"{page}#{secret}", expires_at=row.expires_at)

    def _known(self, db: ReadSession, caller: Caller, user: str) -> MemberRow:
        found = membership.member(db, caller.workspace, user)
        if found is None:
            raise UnknownMember("no such member in this workspace", field="user")
        return found

    def _keep_an_admin(self, db: ReadSession, caller: Caller, member: MemberRow) -> None:
        if member.role == Role.ADMIN and not membership.other_admins(db, caller.workspace, member.user):
            raise LastAdmin(f"{member.name} is the only admin who is not disabled", field="user")


def _shown(row: MemberRow) -> WorkspaceMember:
    return WorkspaceMember(
        user=row.user,
        name=row.name,
        role=Role(row.role),
        has_password=row.password is not None,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
    )


def _invitation(row: AccountLinkRow) -> Invitation:
    times: dict[str, datetime] = {"created_at": row.created_at, "expires_at": row.expires_at}
    return Invitation(id=row.id, role=Role(row.role or ""), created_by=row.created_by, **times)
