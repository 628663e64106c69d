"""Identities: who is asking, with which rights, what they may be given, and what was done."""

from __future__ import annotations

import secrets
from datetime import timedelta

from contracts.base import Caller, Page, Right
from contracts.errors import Forbidden, Unauthenticated
from contracts.governance import LOGIN_ONLY, Identity, NewToken, Removed, Token, TokenRequest, UnknownToken
from orchestration.governance import repository
from orchestration.governance.accounts import Accounts
from orchestration.governance.audit_log import AuditLog, append
from orchestration.governance.lineage import Lineages
from orchestration.governance.logins import TOKEN
from orchestration.governance.members import Members
from orchestration.governance.rows import AccessTokenRow
from services.kit.logging import logger
from services.kit.tokens import make_token

log = logger(__name__)


class Governance(Members, Accounts, AuditLog, Lineages):
    """Implements `contracts.governance.GovernanceService`, and everything about logging in."""

    def me(self, caller: Caller) -> Identity:
        """Tell who is logged in, where, and with which rights."""
        with self._database.reading() as db:
            found = repository.member(db, caller.workspace, caller.user)
        if found is None:
            raise Unauthenticated("the user is not a member of this workspace any more")
        return Identity(
            user=found.user,
            name=found.name,
            workspace=found.workspace,
            role=found.role,
            rights=sorted(caller.rights),
        )

    def tokens(self, caller: Caller) -> Page[Token]:
        """List the caller's access tokens."""
        with self._database.reading() as db:
            return Page(items=[_shown(row) for row in repository.tokens_of(db, caller.workspace, caller.user)])

    def create_token(self, caller: Caller, body: TokenRequest) -> NewToken:
        """Make an access token; its secret is in this answer and nowhere else."""
        wanted = frozenset(body.rights) if body.rights is not None else caller.rights - LOGIN_ONLY
        if beyond := wanted - (caller.rights - {Right.TOKENS}):
            missing = ", ".join(sorted(beyond))
            raise Forbidden(f"a token cannot have rights that its maker lacks, nor `tokens`: {missing}", field="rights")
        now, secret = self._clock(), make_token(TOKEN)
        row = AccessTokenRow(
            id=f"t_{secrets.token_hex(8)}",
            digest=self._key.digest(secret, TOKEN),
            workspace=caller.workspace,
            user=caller.user,
            name=body.name,
            rights=sorted(wanted),
            created_at=now,
            expires_at=now + timedelta(days=body.days),
        )
        with self._database.writing() as db:
            db.add(row)
            rights = [str(right) for right in sorted(wanted)]
            append(db, caller.workspace, caller.user, "token.created", subject=row.id, at=now, rights=[*rights])
        log.info("token.created", token=row.id, user=caller.user, rights=row.rights)
        return NewToken(token=_shown(row), secret=secret)

    def revoke_token(self, caller: Caller, token: str) -> Removed:
        """End an access token at once."""
        self._revoke(caller, caller.user, token)
        return Removed(id=token)

    def member_tokens(self, caller: Caller, user: str) -> Page[Token]:
        """List a member's access tokens."""
        with self._database.reading() as db:
            self._known(db, caller, user)
            return Page(items=[_shown(row) for row in repository.tokens_of(db, caller.workspace, user)])

    def revoke_member_token(self, caller: Caller, user: str, token: str) -> Removed:
        """End a member's access token at once."""
        with self._database.reading() as db:
            self._known(db, caller, user)
        self._revoke(caller, user, token)
        return Removed(id=token)

    def _revoke(self, caller: Caller, user: str, token: str) -> None:
        now = self._clock()
        with self._database.writing() as db:
            if not repository.revoke(db, caller.workspace, user, token, now):
                raise UnknownToken("there is no such token", field="token")
            append(db, caller.workspace, caller.user, "token.revoked", subject=token, at=now, user=user)
        log.info("token.revoked", token=token, user=user, by=caller.user)


def _shown(row: AccessTokenRow) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        rights=[Right(right) for right in row.rights],
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
