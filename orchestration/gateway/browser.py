"""What a browser asks for beside the API: the UI's files, and a plain page that lists the operations."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

router = APIRouter(include_in_schema=False)

ASSETS = "/assets/"  # a missing script must not become a page: the browser would try to run it
API_PATHS = ("/v1", "/healthz", "/readyz", "/metrics")


class BrowserUi:
    """Deliver the UI for every path that is not the API's; unknown pages get the start page, which has the router."""

    def __init__(self, xui: ASGIApp | None) -> None:
        self.xui = xui

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        path = str(scope["path"])
        if self.xui is None or path.startswith(tuple(f"{start}/" for start in API_PATHS)) or path in API_PATHS:
            raise HTTPException(404)
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        if await self._deliver(scope, receive, send):
            return
        start_page = {**scope, "path": "/", "raw_path": b"/"}
        if path.startswith(ASSETS) or not await self._deliver(start_page, receive, send):
            raise HTTPException(404)

    async def _deliver(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Deliver a file; False, with nothing sent, if there is none."""
        missing = False

        async def unless_missing(message: Message) -> None:
            nonlocal missing
            if message["type"] == "http.response.start":
                missing = message["status"] == 404
            if not missing:
                await send(message)

        try:
            await self.xui(scope, receive, unless_missing)  # type: ignore[misc]
        except HTTPException as refused:
            if refused.status_code != 404:
                raise
            return False
        return not missing


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> HTMLResponse:
    """List all operations; without scripts, so that it works offline and under our content policy."""
    document: dict[str, Any] = request.app.openapi()
    rows = "".join(
        f"<tr><td>{escape(verb.upper())}</td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(operation['summary'])}</td><td>{escape(operation.get('x-right', 'none'))}</td></tr>"
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    )
    return HTMLResponse(
        "<!doctype html><html lang='en'><title>xsys API</title><h1>xsys API</h1>"
        "<p>Machine-readable: <a href='/v1/openapi.json'>/v1/openapi.json</a>. "
        "Scripts send <code>Authorization: Bearer TOKEN</code>.</p>"
        "<table><thead><tr><th>verb</th><th>path</th><th>what it does</th><th>right</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></html>"
    )
