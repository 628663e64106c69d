"""Write `docs/measured.md` and the README's headlines from committed results, so that no figure is typed by hand."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "measured.md"
RESULTS = ROOT / "benchmarks" / "results"
BETWEEN = re.compile(r"(<!-- figures: .*? -->\n).*?(<!-- /figures -->)", re.DOTALL)
NAMED = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)(-(?P<name>[a-z-]+))?")
GPU = "-gpu"
HEADLINES = {
    "demo: first run": "the demo from nothing to answers",
    "retrieval: mean of five objects": "examples of the components found for five objects that show them",
    "collection speed, fp32": "collecting examples of every component",
    "search: cached text, 102,400 components, p95 through HTTP": "search among 102,400 components through HTTP, p95",
    "audit.cnn-1.auroc": "audit: components that detect an artefact, told from the others (AUROC)",
    "vit, rank_accuracy, gain over the best peer": "attribution of ViTs: rank accuracy above the best peer",
    "digits, ReLU: accuracy with 95 % of the weights away": "trained by feedback, 95 % of the weights away: accuracy",
    "pruning.accuracy_lost, 60% of the channels cut by relevance": "60 % of channels cut by relevance: accuracy lost",
    "pruning.speed_up, 16 pictures of 224 px, 1 threads": "… and its speed",
}
HEAD = """# Measured figures

Written by `python -m benchmarks.figures` from `benchmarks/results/`; every line names its goal, ✗ one that was missed.
Lines without a goal are in the files alone. Unless a heading says otherwise: 2 CPU cores, no GPU.
"""


def newest_results() -> dict[str, Path]:
    """The last full run of each name; single benchmarks have theirs behind the date, all together have none."""
    newest: dict[str, Path] = {}
    for path in sorted(RESULTS.glob("????-??-??*.jsonl")):
        found = NAMED.fullmatch(path.stem)
        if found is not None and found["name"] != "quick":
            newest[found["name"] or ""] = path
    return newest


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file that have a goal."""
    lines = (json.loads(line) for line in path.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("goal") is not None]


def number(value: object) -> str:
    """A figure with three significant digits."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table: figure, value, goal, peer."""
    lines = ["| figure | value | goal | peer |", "|---|---|---|---|"]
    for row in rows:
        peer = row.get("peer")
        beside = "–" if not peer else f"{peer}: {number(row.get('peer_value'))}"
        mark = "" if row.get("ok") else " ✗"
        lines.append(f"| {row['metric']} | {number(row['value'])} {row['unit']}{mark} | {row['goal']} | {beside} |")
    return "\n".join(lines) + "\n"


def page(newest: dict[str, Path]) -> str:
    """All figures that have a goal, the newest of each benchmark."""
    parts = [HEAD]
    for name, path in newest.items():
        if rows := rows_of(path):
            where = ", on the GPU that the lines name" if name.endswith(GPU) else ""
            title = (
                f"{name.replace('-', ' ')}, {path.stem[:10]}" if name else f"All together, {path.stem} (`make bench`)"
            )
            parts.append(f"## {title}{where}\n\n{table(rows)}")
    return "\n".join(parts)


def headlines(newest: dict[str, Path]) -> str:
    """The few that the README shows, each from the newest run that has it."""
    found = {row["metric"]: row for name, path in newest.items() if not name.endswith(GPU) for row in rows_of(path)}
    told = "On 2 CPU cores without a GPU. [All figures](docs/measured.md), with those that fall short."
    shown = [{**found[metric], "metric": words} for metric, words in HEADLINES.items()]
    return f"{told}\n\n{table(shown)}"


def main() -> int:
    """Write both, or with --check say whether they are current."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    newest = newest_results()
    text = README.read_text()
    current = BETWEEN.sub(lambda found: found[1] + headlines(newest) + found[2], text)
    whole = page(newest)
    if chosen.check:
        return 0 if (current, whole) == (text, PAGE.read_text()) else 1
    README.write_text(current)
    PAGE.write_text(whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
