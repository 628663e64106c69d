"""Delivers the committed build of the browser UI; the gateway adds the security headers."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

STATIC = Path(__file__).parent / "static"
START_PAGE = "index.html"
ASSETS = "assets"
IMMUTABLE = "public, max-age=31536000, immutable"  # names of assets hold a hash of their content
REVALIDATED = "no-cache"


class BuiltUi(StaticFiles):
    """Files of the build; every other path is a page that the start page's router knows."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with the file, the start page, or 404 for an asset that is not there.

        A missing asset must not become a page: a browser would run it as a script.
        """
        is_asset = path.split(os.sep, 1)[0] == ASSETS
        try:
            response = await super().get_response(path, scope)
        except HTTPException as refused:
            if refused.status_code != 404 or is_asset:
                raise
            response = await super().get_response(START_PAGE, scope)
        response.headers["Cache-Control"] = IMMUTABLE if is_asset else REVALIDATED
        return response


def xui_app(static: Path = STATIC) -> ASGIApp:
    """Make the ASGI app of the UI."""
    return Starlette(routes=[Mount("/", BuiltUi(directory=static, check_dir=False))])
