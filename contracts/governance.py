"""Who may do what: users, roles, workspaces, access tokens, and the log of what was done."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Protocol

from pydantic import Field

from contracts.audit_log import AuditLogEntry, AuditLogReport, Head
from contracts.base import Caller, Contract, Cursor, Limit, Name, Page, Right, operation
from contracts.errors import NotFound, XsysError
from contracts.lineage import Lineage, LineageKey, UnknownArtifact
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
from contracts.members import Role as Role

LOOKING = frozenset({Right.LOOK, Right.TOKENS})
# no token has these: one that leaks makes neither others nor accounts
LOGIN_ONLY = frozenset({Right.SERVER_PATHS, Right.TOKENS, Right.MEMBERS})
ROLES: dict[Role, frozenset[Right]] = {
    Role.VIEWER: LOOKING,
    Role.ANALYST: LOOKING | {Right.SEARCH, Right.ANNOTATE, Right.SUBMIT, Right.REGISTER, Right.STEER},
    Role.AUDITOR: LOOKING | {Right.SEARCH, Right.ANNOTATE, Right.SUBMIT, Right.SIGN_OFF, Right.AUDIT_LOG},
    Role.ADMIN: frozenset(Right) - {Right.SERVER_PATHS},
}
OPERATOR = frozenset(Right)  # whoever has the machine's command line


class QuotaExceeded(XsysError):
    """A workspace has as many unfinished jobs, or as many stored bytes, as it may have."""

    status = 429
    remedy = "Wait for jobs to end or cancel some; for more, an operator raises XSYS_QUOTA_JOBS or XSYS_QUOTA_BYTES."


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

    @operation("GET", "/members", right=Right.MEMBERS)
    def members(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[WorkspaceMember]:
        """List who belongs to the workspace, by name; those who are disabled as well."""
        ...

    @operation("PUT", "/members/{user}/role", right=Right.MEMBERS, refuses=(UnknownMember, LastAdmin))
    def change_role(self, caller: Caller, user: str, body: RoleChange) -> WorkspaceMember:
        """Give a member another role; it counts from their next request on."""
        ...

    @operation("POST", "/members/{user}/disable", right=Right.MEMBERS, refuses=(UnknownMember, LastAdmin))
    def disable_member(self, caller: Caller, user: str) -> WorkspaceMember:
        """Lock a member out: logins and live streams end, access tokens and open links are revoked."""
        ...

    @operation("POST", "/members/{user}/enable", right=Right.MEMBERS, refuses=(UnknownMember,))
    def enable_member(self, caller: Caller, user: str) -> WorkspaceMember:
        """Let a member in again. Revoked tokens stay revoked."""
        ...

    @operation("GET", "/members/{user}/tokens", right=Right.MEMBERS, refuses=(UnknownMember,))
    def member_tokens(self, caller: Caller, user: str) -> Page[Token]:
        """List a member's access tokens."""
        ...

    @operation("DELETE", "/members/{user}/tokens/{token}", right=Right.MEMBERS, refuses=(UnknownMember, UnknownToken))
    def revoke_member_token(self, caller: Caller, user: str, token: str) -> Removed:
        """End a member's access token at once."""
        ...

    @operation("GET", "/invitations", right=Right.MEMBERS)
    def invitations(self, caller: Caller) -> Page[Invitation]:
        """List the invitations that can still be accepted, newest first."""
        ...

    @operation("POST", "/invitations", right=Right.MEMBERS)
    def invite(self, caller: Caller, body: InvitationRequest) -> NewLink:
        """Make a one-time link with which somebody becomes a member; it is in this answer and nowhere else."""
        ...

    @operation("DELETE", "/invitations/{invitation}", right=Right.MEMBERS, refuses=(UnknownInvitation,))
    def revoke_invitation(self, caller: Caller, invitation: str) -> Removed:
        """Take an invitation back."""
        ...

    @operation("POST", "/password-resets", right=Right.MEMBERS, refuses=(UnknownMember,))
    def reset_password(self, caller: Caller, body: PasswordResetRequest) -> NewLink:
        """Make a one-time link with which a member chooses a new password; earlier ones end."""
        ...

    @operation("GET", "/audit-log", right=Right.AUDIT_LOG)
    def audit_log(
        self,
        caller: Caller,
        actor: Annotated[str | None, Field(max_length=80)] = None,
        action: Annotated[str | None, Field(max_length=80)] = None,
        since: datetime | None = None,
        limit: Limit = 50,
        cursor: Cursor | None = None,
    ) -> Page[AuditLogEntry]:
        """List what was done in the workspace, newest first: by whom (id or name), of which kind, since when."""
        ...

    @operation("GET", "/audit-log/verify", right=Right.AUDIT_LOG)
    def verify_audit_log(self, caller: Caller, head: Head | None = None) -> AuditLogReport:
        """Check the chain of hashes over the whole log, against a head that was kept elsewhere if one is given."""
        ...

    @operation("GET", "/lineage/{of}", right=Right.LOOK, refuses=(UnknownArtifact,))
    def lineage(self, caller: Caller, of: LineageKey) -> Lineage:
        """Show what an artifact was computed from, step by step, back to weights and pictures."""
        ...
