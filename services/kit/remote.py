"""From a service protocol to its client: made of the same declaration as the router, so the two cannot disagree."""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError
from safetensors import SafetensorError

from contracts.base import Arrays, Binary, Caller, operations_of
from contracts.errors import InvalidRequest, Unavailable, XsysError, refusal_named
from services.kit.arrays import unpack_arrays
from services.kit.breaker import Breaker
from services.kit.deadlines import HEADER, refuse_late, seconds_left
from services.kit.expose import Shape, shape_of
from services.kit.logging import correlation_id
from services.kit.problems import MEDIA_TYPE, RESERVED, Problem
from services.kit.tracing import TRACEPARENT, span, traceparent

Service = TypeVar("Service")
Credentials = Callable[[Caller], dict[str, str]]

CORRELATION_HEADER = "X-Correlation-ID"
UPLOAD_SECONDS = 60.0
LARGE_BODY = 32 << 20
RETRIES = 2
LONGEST_PAUSE = 0.25
PASSING = frozenset({502, 503, 504})


def remote(
    protocol: Callable[..., Service],
    client: httpx.Client,
    *,
    credentials: Credentials,
    seconds: float | None = None,
    retries: int = RETRIES,
    name: str | None = None,
    breaker: Breaker | None = None,
) -> Service:
    """Make an implementation of `protocol` that asks a server.

    Parameters
    ----------
    client : its `base_url` is where the service's router is mounted.
    credentials : the headers that prove on whose behalf a request is sent.
    seconds : deadline of an operation (default: the client's own timeout); one that may carry a large body has a
        minute at least.
    retries : repetitions after a lost connection or 502, 503, 504, of operations that may be repeated.
    name : how a refusal calls a server that does not answer (default: its host and port).
    breaker : shared by all operations on one server, so that a dead one is told at once (default: none).

    Raises
    ------
    The operations raise the refusals that the service raised, and `Unavailable` when it does not answer.
    """
    declared = cast(type, protocol)
    deadline = seconds if seconds is not None else client.timeout.read or UPLOAD_SECONDS
    link = _Link(client, credentials, deadline, retries, name, breaker)
    methods = {name: _method(shape_of(declared, name), link) for name in operations_of(declared)}
    made = type(f"Remote{declared.__name__}", (), methods)
    return cast(Service, made())


@dataclass(frozen=True)
class _Link:
    client: httpx.Client
    credentials: Credentials
    seconds: float
    retries: int
    name: str | None = None
    breaker: Breaker | None = None

    def silent(self, request: httpx.Request, reason: str) -> Unavailable:
        """Make the refusal that names the server."""
        name = self.name or request.url.netloc.decode()
        return Unavailable(f"{name} does not answer ({reason})", service=name)


def _method(shape: Shape, link: _Link) -> Callable[..., Any]:
    signature = inspect.Signature([inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *shape.parameters])
    answer = None if shape.answer in (Binary, Arrays) else TypeAdapter(shape.answer)

    def send(values: dict[str, Any]) -> httpx.Response:
        repeatable = shape.operation.idempotent or values.get("idempotency_key") is not None
        about = {"http.request.method": shape.operation.verb, "url.template": shape.operation.path}
        with span(f"{link.name or 'remote'} {shape.name}", kind="client", attributes=about) as attributes:
            request = _request(shape, link, values)
            response = _send(link, request, link.retries if repeatable else 0)
            attributes["http.response.status_code"] = response.status_code
        return response

    def ask(*given: Any, **named: Any) -> Any:
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        return _read(shape, answer, send({name: value for name, value in bound.arguments.items() if name != "self"}))

    def relay(**values: Any) -> bytes:
        """Ask for somebody who passes the answer on: its JSON, which the service made by this contract."""
        response = send(values)
        if response.status_code >= 400:
            raise _refusal(response)
        if response.headers.get("content-type") != "application/json":
            raise Unavailable(f"{shape.name}: the answer is not what the contract says; versions differ?")
        return response.content

    if answer is not None:
        ask.relay = relay  # type: ignore[attr-defined]
    ask.__name__ = ask.__qualname__ = shape.name
    ask.__doc__ = shape.summary
    return ask


def _request(shape: Shape, link: _Link, values: dict[str, Any]) -> httpx.Request:
    path, query, content = shape.operation.path, {}, None
    headers = dict(link.credentials(values["caller"]))
    for name, value in values.items():
        if name == "caller" or value is None:
            continue
        if shape.hints[name] is bytes:
            content, headers["Content-Type"] = value, "application/octet-stream"
        elif shape.is_body(name):
            content, headers["Content-Type"] = cast(BaseModel, value).model_dump_json(), "application/json"
        elif name == "idempotency_key":
            headers["Idempotency-Key"] = value
        elif name in shape.in_path:
            path = path.replace(f"{{{name}}}", _segment(name, str(value)))
        else:
            query[name] = str(value)
    large = shape.operation.max_body > LARGE_BODY
    seconds = max(link.seconds, UPLOAD_SECONDS) if large else link.seconds
    refuse_late()
    seconds = min(seconds, seconds_left() or seconds)
    headers[HEADER] = f"{seconds:.3f}"
    if correlation := correlation_id():
        headers[CORRELATION_HEADER] = correlation
    if parent := traceparent():
        headers[TRACEPARENT] = parent
    return link.client.build_request(
        shape.operation.verb, path, params=query, content=content, headers=headers, timeout=seconds
    )


def _segment(name: str, value: str) -> str:
    """Encode one path segment. What a server would take for more or less than one segment names another thing."""
    if "/" in value or value in {"", ".", ".."}:
        raise InvalidRequest(f"`{value}` cannot be sent as `{name}`", field=name)
    return quote(value, safe="")


def _send(link: _Link, request: httpx.Request, retries: int) -> httpx.Response:
    """Send, and again after what passes by itself. The pauses differ, or all clients would come back at once."""
    ends = time.monotonic() + float(request.headers[HEADER])
    for attempt in range(retries + 1):
        if link.breaker is not None and not link.breaker.lets_pass():
            raise link.silent(request, "it did not for a while; asked again in a moment")
        last = attempt == retries
        try:
            response = link.client.send(request)
        except httpx.TransportError as error:
            if link.breaker is not None:
                link.breaker.failed()
            if last or time.monotonic() >= ends:
                raise link.silent(request, type(error).__name__) from error
        else:
            if link.breaker is not None:
                link.breaker.answered()
            if last or response.status_code not in PASSING or time.monotonic() >= ends:
                return response
        time.sleep(random.uniform(0.0, LONGEST_PAUSE * (attempt + 1)))
        left = max(0.05, ends - time.monotonic())  # all attempts together have the time that one would have had
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), left)
        request.headers[HEADER] = f"{left:.3f}"
    raise AssertionError("unreachable: the last attempt returns or raises")


def _read(shape: Shape, answer: TypeAdapter[Any] | None, response: httpx.Response) -> Any:
    if response.status_code >= 400:
        raise _refusal(response)
    try:
        if shape.answer is Binary:
            etag = response.headers.get("etag")
            media_type = response.headers.get("content-type", "application/octet-stream")
            return Binary(response.content, media_type, None if etag is None else etag.strip('"'))
        if answer is None:
            return unpack_arrays(response.content)
        return answer.validate_json(response.content)
    except (ValidationError, SafetensorError) as error:
        raise Unavailable(f"{shape.name}: the answer is not what the contract says; versions differ?") from error


def _refusal(response: httpx.Response) -> XsysError:
    """Turn a problem document back into the exception that it was."""
    if not response.headers.get("content-type", "").startswith(MEDIA_TYPE):
        return Unavailable(f"the server answered {response.status_code} without a reason", status=response.status_code)
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return Unavailable(f"the server answered {response.status_code} without a reason", status=response.status_code)
    facts = {name: value for name, value in (problem.model_extra or {}).items() if name not in RESERVED}
    return refusal_named(problem.title)(problem.detail, field=problem.field, **facts)
