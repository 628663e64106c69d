"""What the gateway adds to a service call, and fifty users searching and browsing for minutes.

The first is measured on processes of their own (data service, gateway) on PostgreSQL and Redis, the same request sent
alternately to the service and through the gateway. The second drives `xsys serve` on a small snapshot with Locust.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
import psutil

from benchmarks.local_servers import PostgreSql, Redis, free_port, postgresql_binaries
from benchmarks.report import Report
from orchestration.migrate import upgrade
from services.kit.tokens import TokenKey, sign_service_token

KEY = "0123456789abcdefghijklmnopqrstuvwxyz"
USERS = 50
LOCUST = Path(__file__).parent / "locustfile.py"


@contextmanager
def serving(environment: dict[str, str], url: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `xsys serve …` until the block ends; it is entered when `/readyz` says yes."""
    command = [sys.executable, "-m", "orchestration.cli", "serve", *words]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 90
        while not _ready(url):
            if process.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"xsys serve {' '.join(words)} does not become ready")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def xsys(environment: dict[str, str], *words: str) -> str:
    """Run a command and return what it prints."""
    command = [sys.executable, "-m", "orchestration.cli", *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def added_milliseconds(folder: Path, rounds: int) -> tuple[float, float]:
    """Return (p50 through the gateway minus p50 at the service, p50 at the service), in milliseconds."""
    binaries = postgresql_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with PostgreSql(binaries) as postgresql, Redis() as redis:
        database, here, there = postgresql.new_database(), free_port(), free_port()
        upgrade(database)
        environment = _clean() | {
            "XSYS_HOME": str(folder), "XSYS_DATABASE_URL": database, "XSYS_BROKER_URL": redis.new_database(),
            "XSYS_TOKEN_KEY": KEY, "XSYS_THREADS": "1", "XSYS_DATA_URL": f"http://127.0.0.1:{here}",
        }  # fmt: skip
        service, gateway = f"http://127.0.0.1:{here}", f"http://127.0.0.1:{there}"
        with (
            serving(environment, service, "data", "--port", str(here)),
            serving(environment, gateway, "gateway", "--port", str(there)),
            httpx.Client(trust_env=False) as client,
        ):
            token = json.loads(xsys(environment, "token", "create", "benchmark", "--json"))["secret"]
            caller = _operator()
            seconds: dict[str, list[float]] = {"service": [], "gateway": []}
            for _ in range(rounds):
                signed = sign_service_token(TokenKey(KEY.encode()), caller, "data")
                for name, url, secret in (
                    ("service", f"{service}/datasets", signed),
                    ("gateway", f"{gateway}/v1/datasets", token),
                ):
                    began = time.perf_counter()
                    client.get(url, headers={"Authorization": f"Bearer {secret}"}).raise_for_status()
                    seconds[name].append(time.perf_counter() - began)
    alone = median(seconds["service"][rounds // 10 :])
    return 1000 * (median(seconds["gateway"][rounds // 10 :]) - alone), 1000 * alone


def _operator():  # type: ignore[no-untyped-def]
    from contracts.base import Caller, Right

    return Caller(user="operator", workspace="default", rights=frozenset(Right))


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("XSYS_")}


def load(folder: Path, *, seconds: int, crops: int) -> dict[str, float]:
    """Let fifty users browse and search a small snapshot; return requests, 5xx, p95 and growth of memory."""
    from benchmarks.search import built

    wiring, _ = built(folder, crops)
    wiring.close()
    port = free_port()
    environment, url = _clean() | {"XSYS_HOME": str(folder)}, f"http://127.0.0.1:{port}"
    with serving(environment, url, "--port", str(port), "--no-worker") as process:
        token = json.loads(xsys(environment, "token", "create", "load", "--json"))["secret"]
        command = [sys.executable, "-m", "locust", "-f", str(LOCUST), "--headless", "--json", "--host", url]
        command += ["--users", str(USERS), "--spawn-rate", "25", "--only-summary"]
        drive = environment | {"LOAD_TOKEN": token}
        subprocess.run([*command, "-t", f"{max(10, seconds // 6)}s"], env=drive, capture_output=True)  # warm
        before = psutil.Process(process.pid).memory_info().rss
        done = subprocess.run([*command, "-t", f"{seconds}s"], env=drive, capture_output=True, text=True)
        after = psutil.Process(process.pid).memory_info().rss
    return {**figures_of(done.stdout), "growth": after / before - 1}


def figures_of(output: str) -> dict[str, float]:
    """Read requests, failures and p95 in milliseconds from what Locust prints with `--json`."""
    entries = json.loads(output[output.index("[") :])
    times: dict[float, int] = {}
    for entry in entries:
        for milliseconds, count in entry["response_times"].items():
            times[float(milliseconds)] = times.get(float(milliseconds), 0) + count
    total, seen, p95 = sum(times.values()), 0, 0.0
    for milliseconds in sorted(times):
        seen += times[milliseconds]
        if seen >= 0.95 * total:
            p95 = milliseconds
            break
    failures = sum(entry["num_failures"] for entry in entries)
    return {"requests": total, "failures": failures, "p95": p95}


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="12 s of load instead of 3 minutes")
    parser.add_argument("--full", action="store_true", help="the default")
    parser.add_argument("--only", choices=("added", "load"), help="one of the two measurements")
    chosen = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.only != "load":
            rounds = 200 if chosen.quick else 2000
            added, alone = added_milliseconds(Path(folder) / "added", rounds)
            report.line(
                metric="gateway.added_p50", value=added, unit="ms", goal="<= 5 ms", ok=added <= 5,
                peer="the service alone", peer_value=alone, n=rounds,
            )  # fmt: skip
        if chosen.only != "added":
            seconds = 12 if chosen.quick else 180
            seen = load(Path(folder) / "load", seconds=seconds, crops=24 if chosen.quick else 256)
            n = int(seen["requests"])
            report.line(metric="gateway.load_rate", value=n / seconds, unit="requests/s", n=n)
            report.line(
                metric="gateway.load_5xx", value=seen["failures"], unit="answers", goal="= 0", ok=seen["failures"] == 0
            )
            report.line(
                metric="gateway.load_p95", value=seen["p95"], unit="ms", goal="<= 300 ms", ok=seen["p95"] <= 300, n=n
            )
            flat = abs(seen["growth"]) <= 0.05
            report.line(
                metric="gateway.load_memory_growth", value=seen["growth"], unit="share", goal="within 5 %", ok=flat
            )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
