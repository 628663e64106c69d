"""`python -m services.model.controlled MODEL --seed S --strength P`: train a small model of scenes."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from services.kit.settings import load_settings
from services.model.controlled.store import KINDS, Asked, package, trained

EVERY = 50


def main(arguments: list[str]) -> int:
    """Train or find each of the asked models, and print where it is."""
    parser = argparse.ArgumentParser(prog="python -m services.model.controlled", description=__doc__)
    parser.add_argument("models", nargs="+", choices=KINDS, metavar="MODEL", help="cnn, vit or clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=0.0, help="correlation of artefact and class in training")
    parser.add_argument(
        "--faint", type=float, default=0.0, help="share of training scenes with a hardly visible object"
    )
    parser.add_argument("--folder", type=Path, help="where weights are kept; default: controlled/ in the data folder")
    parser.add_argument("--threads", type=int, default=1, help="other numbers may change the last bits")
    parser.add_argument("--package", action="store_true", help="also put the model into the package (for its authors)")
    chosen = parser.parse_args(arguments)
    for name in ("strength", "faint"):
        if not 0 <= getattr(chosen, name) <= 1:
            parser.error(f"--{name} {getattr(chosen, name)} is not from 0 to 1")
    torch.set_num_threads(chosen.threads)
    torch.use_deterministic_algorithms(True)
    folder = chosen.folder or load_settings().home.absolute() / "controlled"
    for kind in chosen.models:
        asked = Asked(kind, chosen.seed, *((0.0, 0.0) if kind == "clip" else (chosen.strength, chosen.faint)))
        begun = time.perf_counter()

        def watch(number: int, loss: float, begun: float = begun, name: str = asked.name) -> None:
            if number % EVERY == 0:
                sys.stderr.write(f"{name}  step {number}  loss {loss:.3f}  {time.perf_counter() - begun:.0f} s\n")

        path = trained(asked, folder, watch)
        sys.stdout.write(f"{package(asked, path) if chosen.package else path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
