"""Who may do what: users, roles, workspaces, access tokens."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Protocol

from pydantic import Field

from contracts.base import Caller, Contract, Name, Page, Right, operation
from contracts.errors import NotFound


class Role(enum.StrEnum):
    VIEWER = "viewer"
    ANALYST = "analyst"
    AUDITOR = "auditor"
    ADMIN = "admin"


LOOKING = frozenset({Right.LOOK, Right.TOKENS})
LOGIN_ONLY = frozenset({Right.SERVER_PATHS, Right.TOKENS})  # no token has these: one that leaks makes no others
ROLES: dict[Role, frozenset[Right]] = {
    Role.VIEWER: LOOKING,
    Role.ANALYST: LOOKING | {Right.SEARCH, Right.ANNOTATE, Right.SUBMIT, Right.REGISTER, Right.STEER},
    Role.AUDITOR: LOOKING | {Right.SEARCH, Right.ANNOTATE, Right.SUBMIT, Right.SIGN_OFF, Right.AUDIT_LOG},
    Role.ADMIN: frozenset(Right) - {Right.SERVER_PATHS},
}
OPERATOR = frozenset(Right)  # whoever has the machine's command line


class Identity(Contract):
    """Who the caller is, as the browser shows it."""

    user: str
    name: str
    workspace: str
    role: Role
    rights: list[Right]


class TokenRequest(Contract):
    """A personal access token: at most the caller's own rights, ending after `days`.

    Tokens are made and revoked by who is logged in; a token cannot.
    """

    name: Name
    rights: list[Right] | None = None
    days: Annotated[int, Field(ge=1, le=366)] = 90


class Token(Contract):
    """A token without its secret."""

    id: str
    name: str
    rights: list[Right]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None


class NewToken(Contract):
    """A token with its secret, shown once."""

    token: Token
    secret: str


class Removed(Contract):
    id: str


class UnknownToken(NotFound):
    remedy = "List your tokens with `xsys token list`."


class GovernanceService(Protocol):
    """What may be asked about identities. Router, client and OpenAPI come from this class."""

    @operation("GET", "/me", right=Right.LOOK)
    def me(self, caller: Caller) -> Identity:
        """Tell who is logged in, where, and with which rights."""
        ...

    @operation("GET", "/tokens", right=Right.LOOK)
    def tokens(self, caller: Caller) -> Page[Token]:
        """List the caller's access tokens."""
        ...

    @operation("POST", "/tokens", right=Right.TOKENS)
    def create_token(self, caller: Caller, body: TokenRequest) -> NewToken:
        """Make an access token; its secret is in this answer and nowhere else."""
        ...

    @operation("DELETE", "/tokens/{token}", right=Right.TOKENS, refuses=(UnknownToken,))
    def revoke_token(self, caller: Caller, token: str) -> Removed:
        """End an access token at once."""
        ...
