"""Fixtures of the whole suite: a data folder, a small real snapshot, a real server with its worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.servers import PostgreSql, Redis, free_port, start_postgresql, start_redis

CI = os.environ.get("CI") == "true"
CROPS = 110
LAYERS = ["blocks.5", "conv_head", "classifier"]


@dataclass(frozen=True)
class Installation:
    """A data folder and the command line on it."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("XSYS_")}
        return clean | {"XSYS_HOME": str(self.home), "XSYS_THREADS": "2"}

    def run(self, *words: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `xsys` with these words as a user would."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestration.cli", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            cwd=cwd,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"xsys {' '.join(words)} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *words: str) -> dict:
        """Run `xsys … --json` and read what it prints."""
        return json.loads(self.run(*words, "--json").stdout)


@dataclass(frozen=True)
class Server:
    """A running `xsys serve`."""

    url: str
    installation: Installation
    process: subprocess.Popen

    def login_link(self) -> str:
        """Make a fresh one-time link."""
        fragment = self.installation.json("login-link")["url"].split("/login", 1)[1]
        return f"{self.url}/login{fragment}"

    def token(self) -> str:
        """Make a fresh access token."""
        return self.installation.json("token", "create", "tests")["secret"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """A PostgreSQL cluster for the whole run; every test takes a database of its own."""
    with start_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis server for the whole run."""
    with start_redis() as server:
        yield server


@pytest.fixture(scope="session")
def explained(tmp_path_factory) -> Installation:
    """A data folder with a small demo dataset, EfficientNet-Lite0, and a snapshot named `small`, built for real."""
    from contracts.data import DatasetRegistration, DemoSource
    from contracts.model import ModelRegistration
    from contracts.snapshots import SnapshotRequest
    from orchestration.bootstrap import build
    from orchestration.cli.desk import Desk, Shared
    from orchestration.cli.progress import follow
    from orchestration.jobs.supervisor import ensure_worker
    from services.kit.settings import Settings

    installation = Installation(tmp_path_factory.mktemp("explained") / "home")
    settings = Settings(home=installation.home, threads=2)
    wiring = build(settings)
    me = wiring.governance.operator()
    lent = Shared(lambda: ensure_worker(settings))
    desk = Desk(
        me, wiring.data, wiring.model, wiring.explanation, wiring.jobs, wiring.governance, wiring.alignment,
        wiring.comparison,
        wiring.audit,
        wiring.atlas,
        wiring.sessions,
        watch=lambda job: (state for _, state in wiring.jobs.watch(me, job)), worker=lambda: lent,
    )  # fmt: skip
    with lent:
        source = DemoSource(crops=CROPS)
        follow(desk, wiring.jobs.register_dataset(me, DatasetRegistration(name="demo", source=source)), quiet=True)
        model = ModelRegistration(name="lite0", architecture="timm:tf_efficientnet_lite0")
        follow(desk, wiring.jobs.register_model(me, model), quiet=True)
        request = SnapshotRequest(model="lite0", dataset="demo", layers=LAYERS, name="small", k=10, shard=48)
        follow(desk, wiring.jobs.build_snapshot(me, request), quiet=True)
    wiring.close()
    return installation


@pytest.fixture(scope="session")
def served(explained) -> Iterator[Server]:
    """`xsys serve` on the explained folder, ready to answer."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", "serve", "--port", str(port)],
        env=explained.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield Server(url, explained, process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(url: str, process: subprocess.Popen, seconds: float = 60) -> None:
    """Wait for /readyz; a server that ends before is an error at once."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}")
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready after {seconds} s")
