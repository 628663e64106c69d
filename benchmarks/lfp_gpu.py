"""Feedback on a GPU: the identity, what a step costs, mixed precision, and that no step waits for the device."""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.lfp import efficientnet, identity_error, vgg
from benchmarks.report import Report
from services.model.training import LFP, rewards

NETS = {"VGG type": (vgg, (256, 3, 32, 32)), "EfficientNet-Lite0": (efficientnet, (64, 3, 224, 224))}
Step = Callable[[], None]


def precision(name: str) -> AbstractContextManager[object]:
    """Forward in bfloat16 where that is exact enough, or in float32."""
    return torch.autocast("cuda", torch.bfloat16) if name == "bfloat16" else nullcontext()


def steps(make: Callable[[], nn.Module], x: Tensor, y: Tensor, how: str) -> dict[str, Step]:
    """A step of SGD and one of LFP, each on a net of its own."""
    torch.manual_seed(0)
    model = make().cuda()
    nets = {"sgd": model, "lfp": copy.deepcopy(model)}
    optimisers = {name: torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9) for name, net in nets.items()}
    lfp = LFP(nets["lfp"])

    def sgd() -> None:
        with precision(how):
            loss = F.cross_entropy(nets["sgd"](x), y)
        loss.backward()
        finish("sgd")

    def feedback() -> None:
        with precision(how), lfp:
            out = nets["lfp"](x)
        lfp.backward(out.float(), rewards.softmax(out.float(), y), stats=False)
        finish("lfp")

    def finish(name: str) -> None:
        nn.utils.clip_grad_norm_(nets[name].parameters(), 3.0)
        optimisers[name].step()
        optimisers[name].zero_grad()

    return {"sgd": sgd, "lfp": feedback}


def milliseconds(runs: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Times of each step in turn, with the device idle before and after."""
    for run in runs.values():
        for _ in range(5):
            run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            torch.cuda.synchronize()
            begun = time.perf_counter()
            run()
            torch.cuda.synchronize()
            found[name].append(1000 * (time.perf_counter() - begun))
    return found


def peak(run: Step) -> int:
    """Bytes that a step takes beyond what was there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def waits(run: Step) -> int:
    """1 if a step makes the host wait for the device, as a copy through numpy does; else 0."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError as error:
        print(f"# {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return 0


def alignment(make: Callable[[], nn.Module], x: Tensor, y: Tensor) -> dict[str, float]:
    """Cosine, over all parameters, of what bfloat16 and float32 give, for LFP and for gradients."""
    torch.manual_seed(0)
    model = make().cuda()
    lfp = LFP(model)
    names = [name for name, _ in model.named_parameters()]

    def found(how: str) -> dict[str, list[Tensor]]:
        with precision(how), lfp:
            out = model(x).float()
        fed = lfp.feedback(out, rewards.softmax(out, y))
        with precision(how):
            loss = F.cross_entropy(model(x).float(), y)
        return {
            "lfp": [fed[name].float() for name in names],
            "sgd": list(torch.autograd.grad(loss, list(model.parameters()))),
        }

    exact, rough = found("float32"), found("bfloat16")
    return {
        way: float(F.cosine_similarity(flat(exact[way]), flat(rough[way]), dim=0)) for way in ("lfp", "sgd")
    }  # fmt: skip


def flat(parts: list[Tensor]) -> Tensor:
    """All of them as one vector."""
    return torch.cat([part.flatten() for part in parts])


def study(report: Report, rounds: int) -> None:
    """Every net in both precisions."""
    device = torch.cuda.get_device_name()
    for name, (make, shape) in NETS.items():
        torch.manual_seed(0)
        x, y = torch.randn(shape).cuda(), torch.randint(10, shape[:1]).cuda()
        if name == "VGG type":
            error = identity_error(make().cuda(), x[:8], y[:8])
            report.line(
                metric=f"{device}: feedback against -|w| dL/dw, {name}", value=error, unit="relative", goal="<= 1e-9",
                ok=error <= 1e-9,
            )  # fmt: skip
        for how in ("float32", "bfloat16"):
            runs = steps(make, x, y, how)
            taken = milliseconds(runs, rounds)
            ratio = statistics.median(a / b for a, b in zip(taken["lfp"], taken["sgd"], strict=True))
            head = f"{device}: LFP step / SGD step, {name}, {how}"
            report.line(
                metric=f"{head}, time", value=ratio, unit="x", goal="<= 1.5", ok=ratio <= 1.5, peer="SGD step, ms",
                peer_value=statistics.median(taken["sgd"]), ratio=ratio, n=rounds,
            )  # fmt: skip
            memory = {way: peak(run) for way, run in runs.items()}
            ratio = memory["lfp"] / memory["sgd"]
            report.line(
                metric=f"{head}, peak memory", value=ratio, unit="x", goal="<= 1.3", ok=ratio <= 1.3,
                peer="SGD step, MiB", peer_value=memory["sgd"] / 2**20, ratio=ratio,
            )  # fmt: skip
            stalls = waits(runs["lfp"])
            report.line(
                metric=f"{device}: LFP step waits for the device, {name}, {how}", value=stalls, unit="0 or 1",
                goal="0", ok=stalls == 0, peer="SGD step", peer_value=waits(runs["sgd"]),
            )  # fmt: skip
        cosine = alignment(make, x, y)
        report.line(
            metric=f"{device}: cosine of bfloat16's and float32's feedback, {name}", value=cosine["lfp"], unit="cosine",
            peer="gradients", peer_value=cosine["sgd"],
        )  # fmt: skip


def main() -> int:
    """Exit with 1 if a goal is missed, 0 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lfp_gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true", help="the default")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("# no CUDA device here: nothing is measured", file=sys.stderr)
        return 0
    warnings.simplefilter("ignore")
    report = Report()
    study(report, 5 if asked.quick else 41)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
