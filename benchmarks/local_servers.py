"""Servers of one's own: PostgreSQL and Redis on free loopback ports, in temporary folders, ended with the block."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

START_SECONDS = 40.0


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(answers: Callable[[], bool], process: subprocess.Popen, what: str) -> None:
    """Wait until a server answers; one that ends before is an error at once."""
    limit = time.monotonic() + START_SECONDS
    while not answers():
        if process.poll() is not None:
            raise AssertionError(f"{what} ended with {process.returncode}")
        if time.monotonic() > limit:
            raise AssertionError(f"{what} does not answer after {START_SECONDS} s")
        time.sleep(0.03)


def accepts(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def postgresql_binaries() -> Path | None:
    """Find the folder with `initdb` and `postgres`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def as_postgres(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root: then take the account that its package made."""
    if os.getuid() != 0:
        return command
    account = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", *command]


@dataclass
class PostgreSql:
    """A cluster of its own. `new_database` gives every test an empty one."""

    binaries: Path
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="xsys-postgresql-", dir="/tmp")))
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    def __enter__(self) -> Self:
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        initdb = [str(self.binaries / "initdb"), "-D", str(self.folder / "data"), "-U", "xsys", "--auth=trust"]
        subprocess.run(
            as_postgres([*initdb, "--no-sync", "--locale=C", "--encoding=UTF8"]),
            check=True, capture_output=True, cwd=self.folder,
        )  # fmt: skip
        self.start()
        return self

    def start(self) -> None:
        """Start, or start again, on the same port with the same data."""
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"]
        speed = ["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=200"]
        binary, data = str(self.binaries / "postgres"), str(self.folder / "data")
        self.process = subprocess.Popen(
            as_postgres([binary, "-D", data, "-p", str(self.port), *options, *speed]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder,
        )  # fmt: skip
        wait_for(self.answers, self.process, "PostgreSQL")

    def answers(self) -> bool:
        """Whether it takes connections."""
        import psycopg

        try:
            psycopg.connect(self.dsn("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Shut down at once: open connections are cut, as in a restart."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # fast shutdown
            self.process.wait(timeout=30)

    def dsn(self, database: str) -> str:
        """Address of a database for psycopg."""
        return f"postgresql://xsys@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its SQLAlchemy URL."""
        import psycopg

        name = f"t_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://xsys@127.0.0.1:{self.port}/{name}"

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Redis:
    """A Redis server of its own, append-only or forgetful."""

    persistent: bool = True
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="xsys-redis-", dir="/tmp")))
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None
    given: int = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start, or start again, on the same port; persistent data come back."""
        kept = ["--appendonly", "yes", "--appendfsync", "everysec"] if self.persistent else ["--appendonly", "no"]
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
             "--save", "", "--databases", "512", "--maxmemory-policy", "noeviction", *kept],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda: accepts(self.port), self.process, "Redis")

    def kill(self) -> None:
        """End without warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def url(self, number: int = 0) -> str:
        """Address of one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def new_database(self) -> str:
        """Address of a database that no other test was given."""
        self.given += 1
        return self.url(self.given)

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
