"""Refusals on the wire: every error answer is problem+json with the class name as its title."""

from __future__ import annotations

import traceback
from typing import cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UploadTooLarge,
    XsysError,
)
from services.kit.logging import correlation_id, logger

log = logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:xsys:problem:"
RETRY_SECONDS = "1"
MOST_NAMED = 20


class Problem(BaseModel):
    """Why a request was refused, and what to do. Figures and names that decide are further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:xsys:problem:` and the title")
    title: str = Field(description="name of the refusal; clients branch on it")
    status: int
    detail: str = Field(description="what was refused, in one sentence")
    remedy: str = Field(description="what to do about it")
    field: str | None = Field(description="the field of the request that has to change")
    correlation_id: str = Field(description="finds the request in the log")


RESERVED = frozenset(Problem.model_fields)


class InternalError(XsysError):
    """Our own mistake. The detail never says more than that."""

    status = 500
    remedy = "Report it with the correlation id; the log has the cause."


class MethodNotAllowed(XsysError):
    status = 405
    remedy = "Use one of the verbs in `allowed`."


class UnsupportedRequest(XsysError):
    remedy = "The OpenAPI document at /v1/openapi.json says what can be asked."


BY_STATUS: dict[int, type[XsysError]] = {
    400: InvalidRequest,  # FastAPI's answer to a body that is no JSON or nested too deeply
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    413: UploadTooLarge,
    422: InvalidRequest,
    429: TooManyRequests,
    503: Unavailable,
}


def problem_of(error: XsysError) -> dict[str, JsonValue]:
    """Render a refusal as the members of a problem document."""
    title = type(error).__name__
    facts = {name: value for name, value in error.facts.items() if name not in RESERVED}
    return {
        "type": TYPE_PREFIX + title,
        "title": title,
        "status": error.status,
        "detail": error.detail,
        "remedy": error.remedy,
        "field": error.field,
        **facts,
        "correlation_id": correlation_id(),
    }


def problem_response(error: XsysError, headers: dict[str, str] | None = None) -> JSONResponse:
    """Answer with a refusal."""
    sent = dict(headers or {})
    retry = error.facts.get("retry_after")
    if isinstance(retry, int | float):
        sent.setdefault("Retry-After", str(max(1, round(retry))))
    elif error.status == 503:
        sent.setdefault("Retry-After", RETRY_SECONDS)
    if error.status == 401:
        sent.setdefault("WWW-Authenticate", "Bearer")
    return JSONResponse(problem_of(error), status_code=error.status, headers=sent, media_type=MEDIA_TYPE)


def install_problems(app: FastAPI) -> None:
    """Have the application answer every error with a problem document."""
    app.add_exception_handler(XsysError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _by_router)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeout, _database)
    app.add_exception_handler(Exception, _unexpected)


def _refused(_request: Request, error: Exception) -> JSONResponse:
    return problem_response(cast(XsysError, error))


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Name the wrong fields. What was sent is not echoed: NaN in an echo cannot be written as JSON."""
    errors = cast(RequestValidationError, error).errors()[:MOST_NAMED]
    wrong: list[JsonValue] = [{"field": _place(entry["loc"]), "reason": str(entry["msg"])} for entry in errors]
    first = wrong[0] if wrong else None
    field = str(first["field"]) if isinstance(first, dict) else None
    reasons = "; ".join(f"{entry['field']}: {entry['reason']}" for entry in wrong[:3] if isinstance(entry, dict))
    return problem_response(InvalidRequest(reasons or "the request is not valid", field=field, fields=wrong))


def _place(location: tuple[int | str, ...]) -> str:
    """Name a field as the client knows it: `terms.0.weight` and not `body.terms.0.weight`."""
    parts = [str(part) for part in location]
    if len(parts) > 1 and parts[0] in {"body", "query", "path", "header"}:
        parts = parts[1:]
    return ".".join(parts)[:200]


def _by_router(_request: Request, error: Exception) -> JSONResponse:
    refused = cast(HTTPException, error)
    headers = dict(refused.headers or {})
    if refused.status_code == 405:
        allowed: list[JsonValue] = [verb.strip() for verb in headers.get("allow", headers.get("Allow", "")).split(",")]
        return problem_response(MethodNotAllowed("this path does not take that verb", allowed=allowed), headers)
    if refused.status_code == 404:
        return problem_response(NotFound("there is nothing at this path"), headers)
    kind = BY_STATUS.get(refused.status_code, UnsupportedRequest)
    return problem_response(kind(str(refused.detail)), headers)


def _database(request: Request, error: Exception) -> JSONResponse:
    """A database that is locked, gone or restarting is worth another try; wrong SQL is our mistake."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if isinstance(error, OperationalError | PoolTimeout) or lost:
        log.warning("database.unavailable", kind=type(error).__name__)
        return problem_response(Unavailable("the database does not answer at the moment"))
    return _unexpected(request, error)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    trace = "".join(traceback.format_exception(error))  # without local variables: they may hold secrets
    log.error("request.failed", path=request.scope.get("path"), kind=type(error).__name__, trace=trace)
    return problem_response(InternalError("the server made a mistake"))


class TooLargeAsProblem:
    """Rewrite the plain-text 413 of the body limit, which does not pass through exception handlers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        rewriting = False

        async def rewrite(message: Message) -> None:
            nonlocal rewriting
            if message["type"] == "http.response.start" and message["status"] == 413:
                kinds = [value for name, value in message["headers"] if name.lower() == b"content-type"]
                rewriting = not any(kind.startswith(MEDIA_TYPE.encode()) for kind in kinds)
                if rewriting:
                    refusal = UploadTooLarge("the request body is larger than this operation takes")
                    await problem_response(refusal, {"Connection": "close"})(scope, receive, send)
            if not rewriting:
                await send(message)

        await self.app(scope, receive, rewrite)
