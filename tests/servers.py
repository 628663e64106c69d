"""Real servers for tests; where one cannot be had a test is skipped, and in CI that is a failure."""

from __future__ import annotations

import os
import shutil

import pytest

from benchmarks.local_servers import PostgreSql, Redis, accepts, free_port, postgresql_binaries, wait_for

__all__ = ["PostgreSql", "Redis", "accepts", "free_port", "start_postgresql", "start_redis", "wait_for"]
CI = os.environ.get("CI") == "true"


def missing(what: str, package: str) -> None:
    """Skip where a server cannot be had; in CI that is a failure."""
    reason = f"{what} is not installed (Debian: apt-get install {package})"
    if CI:
        pytest.fail(reason)
    pytest.skip(reason)


def start_postgresql() -> PostgreSql:
    """Make a cluster (not yet started), or skip."""
    binaries = postgresql_binaries()
    if binaries is None:
        missing("PostgreSQL", "postgresql")
    return PostgreSql(binaries)


def start_redis(*, persistent: bool = True) -> Redis:
    """Make a Redis server (not yet started), or skip."""
    if shutil.which("redis-server") is None:
        missing("redis-server", "redis-server")
    return Redis(persistent)
