"""A service behind the gateway, as an application of its own: the same routes, entered with a service token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request

from contracts.base import Caller, Right
from contracts.errors import Forbidden, Unauthenticated
from orchestration.gateway.schema import as_document
from services.kit.deadlines import refuse_late
from services.kit.expose import Access, expose, service_name
from services.kit.problems import install_problems
from services.kit.tokens import TokenKey, caller_of_service_token, sign_service_token


@dataclass(frozen=True)
class ServiceRequire:
    """A dependency: the user on whose behalf another service asks. It decides on the user's rights."""

    right: Right
    key: TokenKey | None
    audience: str
    clock: Callable[[], float] = time.time

    def __call__(self, request: Request) -> Caller:
        """Return the caller, or refuse."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self.key is None:
            raise Unauthenticated("a service token is missing")
        caller = caller_of_service_token(self.key, token.strip(), self.audience, now=self.clock())
        if self.right not in caller.rights:
            raise Forbidden(f"this needs the right `{self.right}`", right=str(self.right))
        refuse_late()
        return caller


def service_access(key: TokenKey | None, audience: str, clock: Callable[[], float] = time.time) -> Access:
    """Make the access decisions of a service that is called `audience` in tokens."""
    return lambda right: ServiceRequire(right, key, audience, clock)


def service_credentials(
    key: TokenKey, audience: str, clock: Callable[[], float] = time.time
) -> Callable[[Caller], dict[str, str]]:
    """Make the headers with which a client enters such a service.

    `clock` gives seconds since the epoch. Both sides take the database's: machines' clocks may be minutes apart.
    """

    def credentials(caller: Caller) -> dict[str, str]:
        return {"Authorization": f"Bearer {sign_service_token(key, caller, audience, now=clock())}"}

    return credentials


class InternalService(FastAPI):
    """FastAPI with our documents."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, the same that is committed."""
        if self.openapi_schema is None:
            self.openapi_schema = as_document(super().openapi())
        return self.openapi_schema


def internal_app(protocol: type, implementation: object, key: TokenKey | None) -> FastAPI:
    """Make the application of one service. None for implementation and key: only to be documented."""
    audience = service_name(protocol)
    app = InternalService(
        title=f"xsys {audience}",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        max_body_size=1 << 20,
    )
    install_problems(app)
    app.include_router(expose(protocol, implementation, access=service_access(key, audience)))
    return app
