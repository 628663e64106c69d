"""A worker is killed at random moments of a real build; what comes out has the same bytes as an undisturbed run."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import CROPS, LAYERS, Installation

SEED = 20261123
KILLS = 3


def artifacts(installation: Installation) -> dict[str, str]:
    """Every artifact's key and the hash of its bytes."""
    with sqlite3.connect(installation.home / "xsys.sqlite") as db:
        return dict(db.execute("SELECT key, blob FROM artifact"))


def behind(installation: Installation) -> set[str]:
    """The keys of what the only snapshot answers from and of everything that was computed on the way."""
    with sqlite3.connect(installation.home / "xsys.sqlite") as db:
        inputs: dict[str, set[str]] = {}
        for key, input_ in db.execute("SELECT key, input FROM lineage"):
            inputs.setdefault(key, set()).add(input_)
        found: set[str] = set()
        ((published,),) = db.execute("SELECT artifacts FROM snapshot").fetchall()
        open_ = set(json.loads(published).values())
        while open_:
            found |= open_
            open_ = {input_ for key in open_ for input_ in inputs.get(key, ())} - found
    return found


def attempts(installation: Installation) -> list[tuple[str, int]]:
    """State and attempts of every part of the newest job."""
    with sqlite3.connect(installation.home / "xsys.sqlite") as db:
        return list(
            db.execute(
                "SELECT part.state, part.attempt FROM part JOIN stage ON stage.id = part.stage"
                " JOIN job ON job.id = stage.job WHERE job.kind = 'snapshot'"
            )
        )


def worker_of(process: subprocess.Popen) -> psutil.Process | None:
    """The worker child of a command, found among the command's own children."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
        return next((child for child in family if "orchestration.jobs.worker" in " ".join(child.cmdline())), None)
    except psutil.NoSuchProcess:
        return None


@pytest.mark.slow
def test_a_build_whose_worker_is_killed_three_times_ends_with_the_same_bytes(explained, tmp_path):
    import shutil

    disturbed = Installation(tmp_path / "home")
    shutil.copytree(explained.home, disturbed.home)
    with sqlite3.connect(disturbed.home / "xsys.sqlite") as db:  # as if the snapshot had never been asked for
        keep = {
            key for (key,) in db.execute("SELECT key FROM artifact WHERE kind LIKE 'manifest%' OR kind LIKE 'ingest%'")
        }
        keep |= {key for (key,) in db.execute("SELECT key FROM artifact WHERE kind LIKE 'register-model%'")}
        before = dict(db.execute("SELECT key, blob FROM artifact"))
        db.executemany("DELETE FROM artifact WHERE key = ?", [(key,) for key in before if key not in keep])
        db.execute("DELETE FROM snapshot")
        db.execute("DELETE FROM part")
        db.execute("DELETE FROM stage")
        db.execute("DELETE FROM job")
    environment = disturbed.environment | {
        "XSYS_ATTEMPTS": "5",  # all kills may strike one slow part
        "XSYS_HEARTBEAT": "PT0.3S",
        "XSYS_LEASE": "PT1S",
        "XSYS_REAPER_PERIOD": "PT0.5S",
    }
    layers = [word for layer in LAYERS for word in ("--layer", layer)]
    command = ["snapshot", "build", "--model", "lite0", "--dataset", "demo", "--k", "10", "--shard", "48", *layers]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    draw = random.Random(SEED)
    killed: set[int] = set()
    limit = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < limit:
        worker = worker_of(process)
        if len(killed) < KILLS and worker is not None and worker.pid not in killed:
            time.sleep(draw.uniform(1.0, 6.0))
            if worker.is_running() and process.poll() is None:
                os.kill(worker.pid, signal.SIGKILL)
                killed.add(worker.pid)
        time.sleep(0.05)
    assert process.wait(timeout=60) == 0, process.stderr.read()[-2000:]
    assert len(killed) == KILLS
    undisturbed = artifacts(explained)
    rebuilt = artifacts(disturbed)
    needed = behind(disturbed) & set(undisturbed)  # other tests may have computed more in the shared folder
    assert len(needed - keep) > len(needed & keep)
    assert {key: rebuilt[key] for key in needed} == {key: undisturbed[key] for key in needed}
    parts = attempts(disturbed)
    assert {state for state, _ in parts} == {"done"}
    assert sum(attempt - 1 for _, attempt in parts if attempt > 1) <= KILLS, "a finished part was done again"
    assert disturbed.json("dataset", "show", "demo")["ref"]["n"] == CROPS
