"""The browser UI of another process, delivered under the gateway's own origin: cookies and scripts need one origin."""

from __future__ import annotations

import httpx
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contracts.errors import Unavailable

PASSED_ON = ("accept", "if-none-match", "if-modified-since", "range")
PASSED_BACK = ("content-type", "cache-control", "etag", "last-modified", "content-range", "accept-ranges")
SECONDS = 10.0


class Relay:
    """An ASGI application that asks another for files. Cookies stay here."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False, transport=transport)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        asked = Headers(scope=scope)
        headers = {name: asked[name] for name in PASSED_ON if name in asked} | {"accept-encoding": "identity"}
        request = Request(scope)
        try:
            answer = await self._client.request(request.method, scope["path"], headers=headers)
        except httpx.TransportError as error:
            raise Unavailable(f"xui does not answer ({type(error).__name__})", service="xui") from error
        kept = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
        await Response(answer.content, status_code=answer.status_code, headers=kept)(scope, receive, send)
