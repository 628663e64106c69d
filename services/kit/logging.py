"""Log events: dotted names with fields, as JSON lines or for people, with the correlation id in each."""

from __future__ import annotations

import logging
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

CORRELATION = "correlation_id"
SECRET_FIELDS = re.compile(r"secret|password|token_key|authorization|cookie|csrf", re.IGNORECASE)
_ACCEPTABLE = re.compile(r"^[A-Za-z0-9-]{8,64}$")


def configure_logging(*, json: bool, level: int = logging.INFO) -> None:
    """Send log events to standard error: JSON lines for machines, aligned text for people."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)  # shows no local variables
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer() if json else plain
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
        structlog.processors.StackInfoRenderer(),
    ]
    if json:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; events are named `noun.what_happened`."""
    bound: FilteringBoundLogger = structlog.get_logger(source=name)
    return bound


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank every field whose name says that it is a secret."""
    for name in event:
        if SECRET_FIELDS.search(name):
            event[name] = "(redacted)"
    return event


@contextmanager
def correlated(given: str | None = None) -> Iterator[str]:
    """Bind a correlation id to every log event inside; an unusable given one is replaced."""
    correlation = given if given is not None and _ACCEPTABLE.match(given) else secrets.token_hex(8)
    with structlog.contextvars.bound_contextvars(**{CORRELATION: correlation}):
        yield correlation


def correlation_id() -> str:
    """Return the correlation id of what runs now; empty outside of a request or part."""
    return str(structlog.contextvars.get_contextvars().get(CORRELATION, ""))


if not structlog.is_configured():
    # structlog's own default writes to standard output, where answers go, and shows local variables in tracebacks
    configure_logging(json=False, level=logging.WARNING)
