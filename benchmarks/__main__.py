"""Run all benchmarks one after the other and keep their lines in `benchmarks/results/<date>.jsonl`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

NAMES = (
    "collection",
    "metrics",
    "search",
    "retrieval",
    "demo",
    "controlled",
    "attribution",
    "attribution_search",
    "batching",
    "scaling",
    "scale_out",
    "gateway",
    "sessions",
    "faults",
    "attribution_metrics",
    "labels",
    "label_accuracy",
    "audit",
    "concept_alignment",
    "lfp",
    "pruning",
    "component_graphs",
    "language",
    "atlas",
    "steering",
)
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Exit with 1 if any goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most a minute each")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}{'-quick' if chosen.quick else ''}.jsonl"
    missed = []
    with target.open("w") as file:
        for name in chosen.only:
            print(f"== {name}", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", f"benchmarks.{name}", "--quick" if chosen.quick else "--full"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout or ():
                    print(line, end="", flush=True)
                    file.write(line)
            if process.returncode:
                missed.append(name)
    print(f"written to {target}" + (f"; goals missed in {', '.join(missed)}" if missed else ""), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
