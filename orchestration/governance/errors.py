"""Refusals of governance."""

from __future__ import annotations

from contracts.errors import Forbidden, Unauthenticated


class LoginLinkSpent(Unauthenticated):
    """Used before, ended, or never made: which of these is not told."""

    remedy = "Make a new link with `xsys login-link`; each works once, for ten minutes."


class CrossSiteRequest(Forbidden):
    """A change that was asked for with a login cookie, but not by our own page."""

    remedy = "Reload the page and try again; scripts should send an access token instead of a cookie."
