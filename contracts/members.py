"""Members of a workspace, invitations, password resets: what is asked and answered."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated

from pydantic import Field, SecretStr

from contracts.base import Contract
from contracts.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated

SHORTEST_PASSWORD = 12
Password = Annotated[SecretStr, Field(min_length=SHORTEST_PASSWORD, max_length=200)]


class Role(enum.StrEnum):
    VIEWER = "viewer"
    ANALYST = "analyst"
    AUDITOR = "auditor"
    ADMIN = "admin"


class WorkspaceMember(Contract):
    """Somebody who belongs to the workspace."""

    user: str
    name: str
    role: Role
    has_password: bool
    created_at: datetime
    disabled_at: datetime | None = None


class RoleChange(Contract):
    role: Role


class InvitationRequest(Contract):
    """An invitation that can be accepted once, within `days`."""

    role: Role
    days: Annotated[int, Field(ge=1, le=30)] = 7


class Invitation(Contract):
    """An invitation without its secret."""

    id: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime


class PasswordResetRequest(Contract):
    user: Annotated[str, Field(min_length=1, max_length=80)]


class NewLink(Contract):
    """A one-time link, shown once. What stands behind `#` in `path` is secret and never sent as part of an address."""

    id: str
    path: str
    expires_at: datetime


class UnknownMember(NotFound):
    remedy = "List the members with `xsys user list`."


class UnknownInvitation(NotFound):
    remedy = "List the open invitations with `xsys user invitations`."


class LastAdmin(Conflict):
    """Without an admin nobody could invite, disable or reset any more."""

    remedy = "Make somebody else an admin first."


class NameTaken(Conflict):
    remedy = "Choose another name."


class LinkSpent(Unauthenticated):
    """Used before, ended, revoked, or never made: which of these is not told."""

    remedy = "Ask an admin of the workspace for a new link; each works once."


class LoginRefused(Unauthenticated):
    """Which of name and password is wrong is not told."""

    remedy = "Check name and password; an admin can make a link that resets the password."


class WrongPassword(Forbidden):
    remedy = "Give the password that you log in with; an admin can make a link that resets it."


class WeakPassword(InvalidRequest):
    remedy = f"Take {SHORTEST_PASSWORD} characters or more that are neither your name nor one character repeated."
