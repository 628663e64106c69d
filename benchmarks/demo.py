"""The whole demo in a fresh data folder: wall time and memory from the command to the last search."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.report import Report

LIMIT_SECONDS = 180.0
LIMIT_GIB = 4.0


def run_demo(home: Path) -> tuple[float, float]:
    """Run `xsys demo --no-serve` and return (seconds, peak GiB of the process and its worker together)."""
    environment = os.environ | {"XSYS_HOME": str(home)}
    command = [sys.executable, "-m", "orchestration.cli", "demo", "--no-serve"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        family = psutil.Process(process.pid)
        while not ended.wait(0.1):
            try:
                peak = max(peak, sum(_resident(member) for member in (family, *family.children(recursive=True))))
            except psutil.NoSuchProcess:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - begun
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"the demo ended with {code}")
    return seconds, peak / 2**30


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def main() -> int:
    """Run the demo twice in one folder: built, then found done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: the demo is one run")
    parser.add_argument("--full", action="store_true")
    parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        seconds, gib = run_demo(Path(folder))
        again, _ = run_demo(Path(folder))
    report.line(metric="demo: first run", value=seconds, unit="s", goal="<= 180", ok=seconds <= LIMIT_SECONDS)
    report.line(metric="demo: peak memory", value=gib, unit="GiB", goal="<= 4", ok=gib <= LIMIT_GIB)
    report.line(metric="demo: second run", value=again, unit="s", goal="<= 30", ok=again <= 30)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
