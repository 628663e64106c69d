"""Attribution metrics beside Quantus 0.6.0, live: equality where it is right, the right value where not, and speed."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.report import Report
from services.kit.torchvision_ops import mend_torchvision
from services.model.attribution import evaluation as ours

PEER = "quantus 0.6.0"
SIDE = 32
Floats = np.ndarray
QUIET = {"display_progressbar": False, "disable_warnings": True}
AS_GIVEN = {**QUIET, "normalise": False, "abs": False}


def reference() -> ModuleType:
    """Quantus imports torchvision, which lacks its compiled operators beside a CPU build of torch."""
    mend_torchvision()
    try:
        import quantus
    except ImportError as error:
        raise SystemExit(f"make bench installs quantus without its dependencies ({error})") from error
    return quantus


class Never(nn.Module):
    """Localisation and complexity ask no model; Quantus wants one all the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :2]


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def pairs(quantus: ModuleType, maps: torch.Tensor, masks: torch.Tensor) -> dict[str, tuple[Callable[[], Any], Any]]:
    """Ours and theirs, by metric; maps positive, without ties, masks never empty: where Quantus is right."""
    return {
        "pointing game": (lambda: ours.pointing_game(maps, masks), quantus.PointingGame(**AS_GIVEN)),
        "relevance mass accuracy": (lambda: ours.mass_accuracy(maps, masks), quantus.RelevanceMassAccuracy(**AS_GIVEN)),
        "relevance rank accuracy": (lambda: ours.rank_accuracy(maps, masks), quantus.RelevanceRankAccuracy(**AS_GIVEN)),
        "attribution localisation": (
            lambda: ours.attribution_localisation(maps, masks),
            quantus.AttributionLocalisation(**{**AS_GIVEN, "positive_attributions": True}),
        ),
        "top-k intersection": (
            lambda: ours.top_k_intersection(maps, masks, k=50), quantus.TopKIntersection(k=50, **AS_GIVEN),
        ),
        "AUC": (lambda: ours.auc(maps, masks), quantus.AUC(**AS_GIVEN)),
        "sparseness": (lambda: ours.gini(maps), quantus.Sparseness(**{**AS_GIVEN, "abs": True})),
        "complexity": (lambda: ours.entropy(maps), quantus.Complexity(**{**AS_GIVEN, "abs": True})),
    }  # fmt: skip


def asked(metric: Any, maps: torch.Tensor, masks: torch.Tensor) -> list[float]:
    """Ask Quantus."""
    n = len(maps)
    with contextlib.redirect_stdout(sys.stderr):  # it prints warnings
        return metric(
            model=Never(), x_batch=np.zeros((n, 1, *maps.shape[1:]), np.float32), y_batch=np.zeros(n, dtype=int),
            a_batch=maps.unsqueeze(1).numpy(), s_batch=masks.unsqueeze(1).numpy().astype(int), channel_first=True,
        )  # fmt: skip


def equality_and_speed(report: Report, quantus: ModuleType, *, samples: int, rounds: int) -> None:
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(samples, SIDE, SIDE, generator=draw)
    masks = torch.rand(samples, SIDE, SIDE, generator=draw) < 0.2
    with contextlib.redirect_stdout(sys.stderr):
        compared = pairs(quantus, maps, masks)
    for name, (mine, metric) in compared.items():
        theirs = np.asarray(asked(metric, maps, masks), dtype=np.float64)
        apart = float(np.abs(mine().numpy() - theirs).max())
        report.line(
            metric=f"{name}, largest difference", value=apart, unit="1", goal="<= 1e-5", ok=apart <= 1e-5, peer=PEER,
            n=samples,
        )  # fmt: skip
        timed = [(seconds(mine), seconds(lambda m=metric: asked(m, maps, masks))) for _ in range(rounds)]
        report.line(
            metric=f"{name}, {samples} maps of {SIDE} x {SIDE}", value=statistics.median(a for a, _ in timed), unit="s",
            peer=PEER, peer_value=statistics.median(b for _, b in timed),
            ratio=statistics.median(b / a for a, b in timed), n=rounds,
        )  # fmt: skip


def traps(report: Report, quantus: ModuleType) -> None:
    """Cases where the package is wrong: our value is known by hand, the package's is printed beside it."""
    ramp = torch.linspace(0, 1, 64).view(1, 8, 8)
    constant = torch.cat([torch.full((1, 8, 8), 0.5), ramp])  # Quantus refuses a batch of constant maps alone
    corner = torch.zeros(2, 8, 8, dtype=torch.bool)
    corner[:, :2, :4] = True
    cases = (
        ("pointing game of a constant map, mask 8 of 64", ours.pointing_game(constant, corner), 0.125, {}),
        ("pointing game with an empty mask", ours.pointing_game(constant, corner & False), float("nan"), {}),
    )
    for (name, mine, right, extra), mask in zip(cases, (corner, corner & False), strict=True):
        theirs = float(np.asarray(asked(quantus.PointingGame(**AS_GIVEN, **extra), constant, mask), dtype=float)[0])
        value = float(mine[0])
        ok = np.isnan(value) if np.isnan(right) else value == right
        shown = "undefined" if np.isnan(right) else f"{right}"
        report.line(
            metric=f"{name} (right: {shown}; -1 stands for undefined)", value=-1.0 if np.isnan(value) else value,
            unit="1", goal=shown, ok=bool(ok), peer=PEER, peer_value=theirs,
        )  # fmt: skip
    spread = torch.cat([constant, constant])
    mask = torch.cat([corner, corner])
    value = float(ours.attribution_localisation(spread, mask, weighted=True)[0])
    with contextlib.redirect_stdout(sys.stderr):
        metric = quantus.AttributionLocalisation(**{**AS_GIVEN, "weighted": True})
    report.line(
        metric="weighted attribution localisation of even evidence, batch of 4", value=value, unit="1", goal="1",
        ok=value == 1, peer=PEER, peer_value=float(asked(metric, spread, mask)[0]),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution_metrics", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    quick = parser.parse_args().quick
    report, quantus = Report(), reference()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        equality_and_speed(report, quantus, samples=64 if quick else 512, rounds=3)
        traps(report, quantus)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
