"""Fifty people in five analysis sessions at once: searching, looking, pinning, writing, and following live.

Locust drives `xsys serve` on a small snapshot. Everybody follows their session's events over SSE all the time; at the
end each follower must have seen the events 1 to n of the session once each, and what was added must be among them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.gateway import USERS, _clean, figures_of, serving
from benchmarks.local_servers import free_port
from benchmarks.report import Report

LOCUST = Path(__file__).parent / "locust_sessions.py"
SESSIONS = 5
STOP_SECONDS = 60


def prepare(folder: Path, crops: int) -> list[dict[str, str]]:
    """Build the snapshot, make the people, let them join; return a token and a session for each."""
    from benchmarks.search import LAYER, built
    from contracts.base import Caller, WorkspaceId
    from contracts.governance import ROLES, Role, TokenRequest
    from contracts.sessions import Access, JoinRequest, LinkRequest, SessionRequest

    wiring, _ = built(folder, crops)
    me = wiring.governance.operator()
    links = []
    for number in range(SESSIONS):
        session = wiring.sessions.begin(me, SessionRequest(name=f"load {number}", snapshot="small")).id
        links.append((session, wiring.sessions.share(me, session, LinkRequest(access=Access.EDIT)).secret))
    people = []
    for number in range(USERS):
        user = wiring.governance.add_member(f"person {number:02d}", Role.ANALYST)
        caller = Caller(user=user, workspace=WorkspaceId(me.workspace), rights=ROLES[Role.ANALYST])
        session, link = links[number % SESSIONS]
        wiring.sessions.join(caller, JoinRequest(link=link))
        token = wiring.governance.create_token(caller, TokenRequest(name="load")).secret
        people.append({"token": token, "session": session, "layer": LAYER})
    wiring.close()
    return people


def drive(folder: Path, *, seconds: int, crops: int) -> dict[str, float]:
    """Let them work; return requests, 5xx, p95, events, and how many were lost or doubled on the way to a follower."""
    people = prepare(folder / "home", crops)
    port = free_port()
    environment, url = _clean() | {"XSYS_HOME": str(folder / "home")}, f"http://127.0.0.1:{port}"
    given, result = folder / "people.json", folder / "followed.jsonl"
    given.write_text(json.dumps(people))
    command = [sys.executable, "-m", "locust", "-f", str(LOCUST), "--headless", "--json", "--host", url]
    command += ["--users", str(USERS), "--spawn-rate", "25", "--only-summary", "--stop-timeout", str(STOP_SECONDS)]
    loaded = environment | {"LOAD_PEOPLE": str(given), "LOAD_RESULT": str(result)}
    with serving(environment, url, "--port", str(port), "--no-worker"):
        done = subprocess.run([*command, "-t", f"{seconds}s"], env=loaded, capture_output=True, text=True)
    followed = [json.loads(line) for line in result.read_text().splitlines()]
    return {
        **figures_of(done.stdout),
        "followers": len(followed),
        "events": sum({one["session"]: one["events"] for one in followed}.values()),
        "delivered": sum(one["delivered"] for one in followed),
        "lost": sum(one["lost"] for one in followed),
        "doubled": sum(one["doubled"] for one in followed),
    }


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 s of load instead of 5 minutes")
    parser.add_argument("--full", action="store_true", help="the default")
    chosen = parser.parse_args()
    report = Report()
    seconds = 40 if chosen.quick else 300
    with tempfile.TemporaryDirectory() as folder:
        seen = drive(Path(folder), seconds=seconds, crops=64 if chosen.quick else 256)
    n = int(seen["requests"])
    report.line(metric="sessions.rate", value=n / seconds, unit="requests/s", n=n)
    report.line(
        metric="sessions.5xx", value=seen["failures"], unit="answers", goal="= 0", ok=seen["failures"] == 0, n=n
    )
    report.line(metric="sessions.p95", value=seen["p95"], unit="ms", goal="<= 500 ms", ok=seen["p95"] <= 500, n=n)
    followers = int(seen["followers"])
    report.line(metric="sessions.followers", value=followers, unit="streams", goal=f"= {USERS}", ok=followers == USERS)
    delivered = int(seen["delivered"])
    report.line(metric="sessions.events", value=seen["events"], unit="events", n=delivered)
    for wrong in ("lost", "doubled"):
        report.line(
            metric=f"sessions.events_{wrong}", value=seen[wrong], unit="events", goal="= 0", ok=seen[wrong] == 0,
            n=delivered,
        )  # fmt: skip
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
