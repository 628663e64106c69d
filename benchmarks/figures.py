"""Write the README's table of figures from the last committed results, so that no figure is typed by hand."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BETWEEN = re.compile(r"(<!-- figures: .*? -->\n).*?(<!-- /figures -->)", re.DOTALL)


def newest_results() -> Path | None:
    """The last full run that is there; single benchmarks have a name behind the date."""
    runs = sorted((ROOT / "benchmarks" / "results").glob("????-??-??.jsonl"))
    return runs[-1] if runs else None


def number(value: object) -> str:
    """A figure with three significant digits."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(results: Path) -> str:
    """The results as a Markdown table: figure, value, goal, peer."""
    rows = [json.loads(line) for line in results.read_text().splitlines() if line.startswith("{")]
    lines = [
        f"Measured on 2 CPU cores without a GPU, {results.stem} (`make bench`); ✗ marks a goal that was missed.",
        "",
        "| figure | value | goal | peer |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if row.get("goal") is None:
            continue
        peer = row.get("peer")
        beside = "–" if not peer else f"{peer}: {number(row.get('peer_value'))}"
        mark = "" if row.get("ok") else " ✗"
        lines.append(f"| {row['metric']} | {number(row['value'])} {row['unit']}{mark} | {row['goal']} | {beside} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the table, or with --check say whether it is current."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    results = newest_results()
    if results is None:
        return 0
    text = README.read_text()
    current = BETWEEN.sub(lambda found: found[1] + table(results) + found[2], text)
    if chosen.check:
        return 0 if current == text else 1
    README.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main())
