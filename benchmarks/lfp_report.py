"""The report on training by feedback: LFP, SGD, Adam and feedback alignment on four tasks, good or bad.

Every method gets the same number of learning rates, chosen on a validation part that training does not see; the chosen
one trains several nets of other seeds, and the test part is looked at once for each. `benchmarks.lfp_page` makes the
committed page of the lines.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch
from scipy.stats import t

from benchmarks.lfp import interleaved, saved_bytes
from benchmarks.lfp_digits import RATES as RATES_OF_LFP
from benchmarks.lfp_digits import spiking, surrogate
from benchmarks.lfp_tasks import AMOUNTS, RATES, Outcome, Task, Training, batches, outcome, tasks, validated
from benchmarks.report import Report
from services.model.training.pruning import masks_of, pruned, scores
from services.model.training.sparsity import gini, weights_of

SPIKING = {"LFP": spiking, "surrogate gradient": surrogate}
SPIKING_RATES = {  # Adam's, chosen on a validation part
    reset: {"LFP": RATES_OF_LFP[reset], "surrogate gradient": 3e-3} for reset in ("subtract", "zero")
}


def begin() -> None:
    """Each process has one thread: the nets are small and there are many of them."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # what is frozen without a floor, and Adam's factor: the report measures both


def spread(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean of a few runs, by Student's t."""
    if len(values) < 2:
        return values[0], values[0]
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.mean(values)
    return mean - half, mean + half


@dataclass(frozen=True)
class Ran:
    """The outcomes of a method on a task, one a seed, and the rate that they had."""

    method: str
    rate: float
    outcomes: list[Outcome]


def told(report: Report, task: str, runs: list[Ran], peer: str) -> None:
    """Lines of a task: what each method reaches, beside a peer."""
    beside = next(run for run in runs if run.method == peer)
    for run in runs:
        head = f"{task}, {run.method}, rate {run.rate:g}"
        rows = [
            ("accuracy", "share", lambda found: found.accuracy),
            ("Gini index of the weights", "0..1", lambda found: found.gini),
        ]
        if task.split(",")[0] != "spiking digits":
            rows.append(("weights with another sign than at the start", "share", lambda found: found.flips))
        for name, unit, of in rows:
            values, others = [of(found) for found in run.outcomes], [of(found) for found in beside.outcomes]
            report.line(
                metric=f"{head}: {name}", value=statistics.mean(values), unit=unit, peer=peer,
                peer_value=statistics.mean(others), n=len(values), interval=spread(values),
            )  # fmt: skip
        for criterion in run.outcomes[0].pruned:
            for amount in AMOUNTS:
                values = [found.pruned[criterion][amount] for found in run.outcomes]
                others = [found.pruned[criterion][amount] for found in beside.outcomes]
                report.line(
                    metric=f"{head}: accuracy, {amount:.0%} cut by {criterion}", value=statistics.mean(values),
                    unit="share", peer=peer, peer_value=statistics.mean(others), n=len(values), interval=spread(values),
                )  # fmt: skip


def spiking_outcome(method: str, reset: str, seed: int) -> Outcome:
    """Train a spiking net on digits and measure it; relevance is not defined over time, so it is not a criterion."""
    net, tested = SPIKING[method](seed, reset)
    reached, weights = tested(), weights_of(net)
    curves: dict[str, dict[float, float]] = {}
    for criterion in ("magnitude", "random"):
        worth = scores(net, criterion, seed=seed)
        curves[criterion] = {}
        for amount in AMOUNTS:
            with pruned(net, masks_of(worth, amount)):
                curves[criterion][amount] = tested()
    return Outcome(reached, sum(gini(part) for part in weights.values()) / len(weights), None, curves)


def cost(report: Report, task: Task, rounds: int) -> None:
    """Seconds and kept bytes of a step of every method, taken in turns in one process."""
    steps = {}
    for method in RATES:
        torch.manual_seed(0)
        x, y = next(batches(task.split()[0], task.batch))
        run = Training(method, task.net().to(task.device).train(), 1e-4, 0)
        steps[method] = lambda run=run, x=x, y=y: run.step(x, y)
    seconds = {name: statistics.median(taken) for name, taken in interleaved(steps, rounds).items()}
    kept = {name: saved_bytes(step) for name, step in steps.items()}
    for name in steps:
        report.line(
            metric=f"{task.name}, {name}: time of a step", value=1000 * seconds[name], unit="ms", peer="SGD",
            peer_value=1000 * seconds["SGD"], ratio=seconds[name] / seconds["SGD"], n=rounds,
        )  # fmt: skip
        report.line(
            metric=f"{task.name}, {name}: kept for the backward pass", value=kept[name] / 2**20, unit="MiB", peer="SGD",
            peer_value=kept["SGD"] / 2**20, ratio=kept[name] / kept["SGD"],
        )  # fmt: skip


def tuned(pool: ProcessPoolExecutor, wanted: list[Task], seeds: int) -> dict[tuple[str, str], float]:
    """For each task and method the rate with the best validation accuracy, mean of the seeds; the lowest such one."""
    asked = {
        (task.name, method, rate): [pool.submit(validated, task, method, rate, 100 + seed) for seed in range(seeds)]
        for task in wanted
        for method, rates in RATES.items()
        for rate in rates
    }
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for (task, method, rate), found in asked.items():
        mean = statistics.mean([one.result() for one in found])
        print(f"# {task}, {method}, rate {rate:g}: {mean:.3f} on validation", file=sys.stderr, flush=True)
        if (task, method) not in best or mean > best[task, method][1]:
            best[task, method] = (rate, mean)
    return {which: rate for which, (rate, _) in best.items()}


def study(report: Report, wanted: list[Task], *, seeds: int, tuning: int, processes: int, rounds: int) -> None:
    """All tasks; the costs come last, when nothing else runs, on two threads of the CPU."""
    device = wanted[0].device
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "a CPU"
    report.line(metric=f"trained on {where} with torch {torch.__version__}", value=seeds, unit="seeds")
    with ProcessPoolExecutor(processes, get_context("spawn"), begin) as pool:
        rates = tuned(pool, wanted, tuning)
        trained = {
            (task.name, method): [pool.submit(outcome, task, method, rates[task.name, method], n) for n in range(seeds)]
            for task in wanted
            for method in RATES
        }
        spikes = {
            (reset, method): [pool.submit(spiking_outcome, method, reset, n) for n in range(seeds)]
            for reset in SPIKING_RATES
            for method in SPIKING
        }
        for task in wanted:
            runs = [
                Ran(method, rates[task.name, method], [one.result() for one in trained[task.name, method]])
                for method in RATES
            ]
            told(report, task.name, runs, "SGD")
        for reset, rate in SPIKING_RATES.items():
            runs = [Ran(name, rate[name], [one.result() for one in spikes[reset, name]]) for name in SPIKING]
            told(report, f"spiking digits, reset {reset}", runs, "surrogate gradient")
    begin()
    torch.set_num_threads(2)
    for task in wanted:
        cost(report, replace(task, device="cpu"), rounds)


def main() -> int:
    """Nothing here has a goal: `benchmarks.lfp` has them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lfp_report", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="digits only, one seed and few epochs")
    parser.add_argument("--full", action="store_true", help="the default: five seeds; hours on two cores")
    parser.add_argument("--device", default="cpu", help="where nets are trained, such as cuda")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    report = Report()
    wanted = tasks(quick=asked.quick, device=asked.device)
    study(
        report, wanted[:1] if asked.quick else wanted, seeds=1 if asked.quick else 5, tuning=1 if asked.quick else 2,
        processes=asked.processes, rounds=3 if asked.quick else 15,
    )  # fmt: skip
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
