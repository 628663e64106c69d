"""From a service protocol to HTTP: the router that FastAPI validates and documents is made from the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin, get_type_hints

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.params import Depends as DependsMark
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator

from contracts.base import Arrays, Binary, Caller, Operation, Right, operations_of
from contracts.errors import (
    Forbidden,
    InvalidRequest,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UploadTooLarge,
    XsysError,
)
from services.kit import problems
from services.kit.arrays import MEDIA_TYPE as ARRAYS
from services.kit.arrays import pack_arrays

ALWAYS: tuple[type[XsysError], ...] = (Unauthenticated, Forbidden, InvalidRequest, TooManyRequests, Unavailable)
PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
RAW_BODY = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
KEPT_FOR = "private, max-age=600"


class Decision(Protocol):
    """A dependency that lets a caller pass who has `right`, and refuses everyone else."""

    @property
    def right(self) -> Right:
        """What the caller must be allowed to do."""
        ...

    def __call__(self, request: Request) -> Caller:
        """Return the caller, or raise `Unauthenticated` or `Forbidden`."""
        ...


Access = Callable[[Right], Decision]


def expose(protocol: type, implementation: object, *, access: Access, max_body: int | None = None) -> APIRouter:
    """Make the router of a service protocol.

    Parameters
    ----------
    implementation : answers the calls; None makes a router that can only be documented.
    access : makes the dependency that turns a request into a `Caller` with the operation's right.
    max_body : bytes; lowers the limit of operations that take raw bodies.
    """
    service = service_name(protocol)
    router = APIRouter(tags=[service])
    for name, mark in operations_of(protocol).items():
        shape = shape_of(protocol, name)
        raw = "body" in shape.hints and shape.hints["body"] is bytes
        router.add_api_route(
            mark.path,
            _endpoint(shape, implementation, access, min(mark.max_body, max_body or mark.max_body)),
            methods=[mark.verb],
            operation_id=f"{service}_{name}",
            summary=shape.summary,
            description=shape.description,
            response_model=None if shape.answer in (Binary, Arrays) else shape.answer,
            response_class=Response if shape.answer in (Binary, Arrays) else JSONResponse,
            responses=_documented(mark, shape),
            openapi_extra={"x-right": str(mark.right)} | ({"requestBody": RAW_BODY} if raw else {}),
            max_body_size=mark.max_body,
        )
    return router


def decision_of(route: APIRoute) -> Right | None:
    """Return the right that a route asks for, read from its signature; None if nobody decided."""
    for parameter in inspect.signature(route.endpoint, eval_str=True).parameters.values():
        for mark in getattr(parameter.annotation, "__metadata__", ()):
            right = getattr(mark.dependency, "right", None) if isinstance(mark, DependsMark) else None
            if isinstance(right, Right):
                return right
    return None


def service_name(protocol: type) -> str:
    """Return how a service is called on the wire: as the module that declares it (`contracts.data` is `data`)."""
    return protocol.__module__.rpartition(".")[2]


@dataclass(frozen=True)
class Shape:
    """A protocol method taken apart: parameters with resolved types, answer, documentation."""

    name: str
    operation: Operation
    parameters: tuple[inspect.Parameter, ...]
    hints: dict[str, Any]
    answer: Any
    summary: str
    description: str

    @property
    def in_path(self) -> frozenset[str]:
        """Parameters that travel in the path."""
        return frozenset(name for name in self.hints if f"{{{name}}}" in self.operation.path)

    def is_body(self, name: str) -> bool:
        """Whether the parameter is the JSON body."""
        hint = self.hints[name]
        return name != "caller" and inspect.isclass(hint) and issubclass(hint, BaseModel)


def shape_of(protocol: type, name: str) -> Shape:
    """Take a protocol method apart. Router and client are both made from this, so they cannot disagree."""
    method = getattr(protocol, name)
    hints = get_type_hints(method, include_extras=True)
    answer = hints.pop("return")
    parameters = tuple(p for p in inspect.signature(method).parameters.values() if p.name != "self")
    summary, _, description = inspect.cleandoc(method.__doc__ or name).partition("\n")
    mark = operations_of(protocol)[name]
    return Shape(name, mark, parameters, hints, answer, summary.rstrip("."), description.strip())


def _endpoint(shape: Shape, implementation: object, access: Access, limit: int) -> Callable[..., Any]:
    """Make a plain function with the signature that FastAPI reads."""
    parameters = [_parameter(shape, parameter, access, limit) for parameter in shape.parameters]

    def call(values: dict[str, Any]) -> Any:
        return getattr(implementation, shape.name)(**values)

    if shape.answer is Binary:
        etag = Annotated[str | None, Header(include_in_schema=False)]
        parameters.append(_keyword("if_none_match", etag, None))

        def endpoint(**values: Any) -> Any:
            known = values.pop("if_none_match")
            return _binary_response(call(values), known)
    elif shape.answer == Arrays:

        def endpoint(**values: Any) -> Any:
            return Response(pack_arrays(call(values)), media_type=ARRAYS)
    else:
        # what a client of another process answers was made and checked there; reading it to write it again costs most
        # of what a gateway adds to a call
        relay = getattr(getattr(implementation, shape.name, None), "relay", None)

        def endpoint(**values: Any) -> Any:
            return call(values) if relay is None else Response(relay(**values), media_type="application/json")

    endpoint.__name__ = endpoint.__qualname__ = shape.name
    endpoint.__doc__ = shape.summary
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return endpoint


def _parameter(shape: Shape, parameter: inspect.Parameter, access: Access, limit: int) -> inspect.Parameter:
    name, hint = parameter.name, shape.hints[parameter.name]
    if name == "caller":
        return _keyword(name, Annotated[Caller, Depends(access(shape.operation.right))], parameter.empty)
    if hint is bytes:
        return _keyword(name, Annotated[bytes, Depends(_raw_body(limit))], parameter.empty)
    if shape.is_body(name):
        return _keyword(name, Annotated[hint, Body()], parameter.default)
    if name == "idempotency_key":
        return _keyword(name, Annotated[hint, Header(alias="Idempotency-Key")], parameter.default)
    where = Path() if name in shape.in_path else Query()
    return _keyword(name, Annotated[_from_text(hint), where], parameter.default)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _from_text(hint: Any) -> Any:
    """Let a choice of numbers be written in a URL: pydantic takes `"1"` for an int, but not for `Literal[1]`."""
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices and all(isinstance(choice, int) for choice in choices):
        by_text = {str(choice): choice for choice in choices}
        return Annotated[hint, BeforeValidator(lambda text: by_text.get(text, text))]
    return hint


def _raw_body(limit: int) -> Callable[[Request], Any]:
    async def read(request: Request) -> bytes:
        """Receive the body piece by piece and stop at the limit."""
        refusal = UploadTooLarge(f"the upload is larger than {limit:,} bytes", field="body", limit=limit)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise refusal
        received = bytearray()
        async for piece in request.stream():
            received += piece
            if len(received) > limit:
                raise refusal
        return bytes(received)

    return read


def _binary_response(binary: Binary, known: str | None) -> Response:
    headers = {"Cache-Control": KEPT_FOR, "Content-Disposition": "inline"}
    if binary.etag is not None:
        headers["ETag"] = f'"{binary.etag}"'
        if known is not None and _same_tag(known, binary.etag):
            return Response(status_code=304, headers=headers)
    return Response(binary.body, media_type=binary.media_type, headers=headers)


def _same_tag(known: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in known.split(",")}
    return etag in tags or "*" in tags


def documented_refusals(*refusals: type[XsysError]) -> dict[int | str, dict[str, Any]]:
    """Describe for OpenAPI what an operation may refuse with, beside what every operation may."""
    by_status: dict[int, set[str]] = {}
    for refusal in (*ALWAYS, *refusals):
        by_status.setdefault(refusal.status, set()).add(refusal.__name__)
    content = {problems.MEDIA_TYPE: {"schema": PROBLEM_REF}}
    documented: dict[int | str, dict[str, Any]] = {
        status: {"description": ", ".join(sorted(names)), "content": content}
        for status, names in sorted(by_status.items())
    }
    return documented | {"default": {"description": "Any other refusal", "content": content}}


def _documented(mark: Operation, shape: Shape) -> dict[int | str, dict[str, Any]]:
    too_large = (UploadTooLarge,) if mark.verb in {"POST", "PUT"} else ()
    documented = documented_refusals(*mark.refuses, *too_large)
    binary = {"schema": {"type": "string", "format": "binary"}}
    if shape.answer is Binary:
        documented[200] = {"description": "The bytes", "content": {"image/*": binary}}
        documented[304] = {"description": "Unchanged since the ETag in If-None-Match"}
    if shape.answer == Arrays:
        documented[200] = {"description": "Arrays as safetensors", "content": {ARRAYS: binary}}
    return documented
