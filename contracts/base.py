"""What every contract is made of: the model base class, ids, rights, callers and the `@operation` mark."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, NewType, TypeVar

import numpy as np
from pydantic import AllowInfNan, BaseModel, ConfigDict, Field

from contracts.errors import XsysError

FiniteFloat = Annotated[float, AllowInfNan(False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,79}$")]
LayerName = Annotated[str, Field(min_length=1, max_length=200)]
Limit = Annotated[int, Field(ge=1, le=200)]
Cursor = Annotated[str, Field(max_length=512)]
Arrays = dict[str, np.ndarray]

ArtifactKey = NewType("ArtifactKey", str)
UserId = NewType("UserId", str)
WorkspaceId = NewType("WorkspaceId", str)


class Contract(BaseModel):
    """Base of every model that crosses a boundary: unknown fields are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Item = TypeVar("Item", bound=Contract)


class Page(Contract, Generic[Item]):
    """One page of a keyset listing. `next` is an opaque cursor; None ends the listing."""

    items: list[Item]
    next: Cursor | None = None


class Right(enum.StrEnum):
    """One permitted action. Roles are named sets of these (`contracts.governance.ROLES`)."""

    LOOK = "look"
    SEARCH = "search"
    ANNOTATE = "annotate"
    SUBMIT = "submit"
    REGISTER = "register"
    SERVER_PATHS = "server-paths"
    TOKENS = "tokens"
    STEER = "steer"
    SIGN_OFF = "sign-off"
    AUDIT_LOG = "audit-log"
    ADMINISTER = "administer"
    MEMBERS = "members"


class Caller(Contract):
    """On whose behalf a request runs. Made by the gateway after login; services decide on these rights."""

    user: UserId
    workspace: WorkspaceId
    rights: frozenset[Right]


@dataclass(frozen=True)
class Binary:
    """Bytes that go to the client as they are, such as a thumbnail."""

    body: bytes
    media_type: str
    etag: str | None = None


@dataclass(frozen=True)
class Operation:
    """How a method of a service protocol travels over HTTP."""

    verb: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    right: Right
    refuses: tuple[type[XsysError], ...]
    idempotent: bool
    max_body: int


Method = TypeVar("Method", bound=Callable[..., object])
OPERATION = "__xsys_operation__"


def operation(
    verb: Literal["GET", "POST", "PUT", "DELETE"],
    path: str,
    *,
    right: Right,
    refuses: tuple[type[XsysError], ...] = (),
    idempotent: bool | None = None,
    max_body: int = 1 << 20,
) -> Callable[[Method], Method]:
    """Mark a protocol method as an HTTP operation.

    Parameters named in `path` travel in the path. One parameter whose type is a `Contract` is the body of
    POST and PUT. `bytes` named `body` is the raw request body. Everything else is a query parameter with its
    default. The first parameter is always `caller`; it comes from the login and never from the client.

    Parameters
    ----------
    right : what the caller must be allowed to do; a route without a right cannot be declared.
    refuses : typed refusals that the operation may answer with, written into the OpenAPI document.
    idempotent : whether a client may repeat it after a lost reply. Default: GET, PUT and DELETE are.
    max_body : bytes; a larger request body is refused with 413.
    """
    safe = verb != "POST" if idempotent is None else idempotent
    mark = Operation(verb, path, right, refuses, safe, max_body)

    def attach(method: Method) -> Method:
        setattr(method, OPERATION, mark)
        return method

    return attach


def operations_of(protocol: type) -> dict[str, Operation]:
    """All operations that a service protocol declares, by method name, in order of declaration."""
    return {name: getattr(member, OPERATION) for name, member in vars(protocol).items() if hasattr(member, OPERATION)}
