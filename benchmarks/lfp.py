"""Layer-wise Feedback Propagation: identity with scaled gradients, digits, spiking networks, cost of a step."""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.lfp_digits import ACTIVATIONS, runs, spiking, surrogate
from benchmarks.report import Report
from services.kit.torchvision_ops import mend_torchvision
from services.model.training import LFP, rewards

PEER = "lfprop 1.0.0, modules wrapped"


def vgg() -> nn.Sequential:
    """A VGG-type net for 32 x 32 pictures, with batch normalisation."""
    layers: list[nn.Module] = []
    width = 3
    for wide in (32, 64, 0, 128, 128, 0, 256, 256, 0):
        if wide:
            layers += [nn.Conv2d(width, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
            width = wide
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 16, 256), nn.ReLU(), nn.Linear(256, 10))


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0 as timm has it, drawn at random: only its cost counts here."""
    mend_torchvision()
    import timm

    return timm.create_model("tf_efficientnet_lite0", num_classes=10)


def identity_error(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Largest difference of feedback and -|w| dL/dw, relative to the largest entry of the tensor; float64."""
    model, x = copy.deepcopy(model).double(), x.double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lfp = LFP(model, floor=0, reduction="sum")
    torch.manual_seed(0)
    with lfp:
        out = model(x)
    found = lfp.feedback(out, rewards.softmax(out, y))
    torch.manual_seed(0)
    parts = dict(model.named_parameters())
    due = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), list(parts.values()))
    worst = 0.0
    for (name, part), gradient in zip(parts.items(), due, strict=True):
        exact = -part.detach().abs() * gradient
        size = float(exact.abs().max())
        if size > 1e-6:  # a bias before normalisation has gradient 0 but for rounding
            worst = max(worst, float((found[name] - exact).abs().max()) / size)
    return worst


def measure_identity(report: Report) -> None:
    torch.manual_seed(0)
    y = torch.tensor([0, 1, 2, 3])
    dropping = nn.Sequential(*vgg()[:-1], nn.Dropout(0.5), nn.Linear(256, 10))
    for name, model, size in (
        ("VGG type", vgg(), 32),
        ("with dropout", dropping, 32),
        ("EfficientNet-Lite0", efficientnet(), 64),
    ):
        if name == "EfficientNet-Lite0":
            model = with_relu(model)  # ReLU6 above 6 is not homogeneous
        error = identity_error(model, torch.randn(4, 3, size, size), y)
        report.line(
            metric=f"feedback against -|w| dL/dw, {name}", value=error, unit="relative", goal="<= 1e-9",
            ok=error <= 1e-9,
        )  # fmt: skip


def with_relu(model: nn.Module) -> nn.Module:
    """The model with ReLU in the place of ReLU6."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    return model


def gradient_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> None:
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def feedback_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    optimiser, lfp = torch.optim.SGD(model.parameters(), lr=1e-4), LFP(model)

    def step() -> None:
        with lfp:
            out = model(x)
        lfp.backward(out, rewards.softmax(out, y), stats=False)
        optimiser.step()
        optimiser.zero_grad()

    return step


def peer_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None] | None:
    """The reference package's step, or None where it cannot be imported."""
    mend_torchvision()
    if "transformers.utils.fx" not in sys.modules:  # its dependency wants a tracer that transformers no longer has
        gone = types.ModuleType("transformers.utils.fx")
        gone.HFTracer, gone.get_concrete_args = object, None  # type: ignore[attr-defined]
        sys.modules["transformers.utils.fx"] = gone
    try:
        from lfprop.propagation.propagator_lxt import LFPEpsilonComposite
    except ImportError:
        return None
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    composite = LFPEpsilonComposite()

    def step() -> None:
        with composite.context(model) as wrapped:
            given = x.clone().requires_grad_()
            out = wrapped(given)
            reward = (out * (F.one_hot(y, out.shape[1]) - out.softmax(1))).detach()
            torch.autograd.grad((out,), (given,), grad_outputs=(reward,))
        for part in model.parameters():
            if hasattr(part, "feedback"):
                part.grad = -part.feedback
        optimiser.step()
        optimiser.zero_grad()

    return step


def interleaved(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, taken in turns after a warm-up of each."""
    for step in steps.values():
        step()
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            found[name].append(time.perf_counter() - begun)
    return found


def saved_bytes(step: Callable[[], None]) -> int:
    """Bytes of distinct storages that autograd keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(kept.values())


def measure_cost(report: Report, rounds: int) -> None:
    for name, make, shape in (
        ("VGG type", vgg, (64, 3, 32, 32)),
        ("EfficientNet-Lite0", efficientnet, (16, 3, 128, 128)),
    ):
        torch.manual_seed(0)
        model, x, y = make(), torch.randn(shape), torch.randint(10, shape[:1])
        steps = {
            "sgd": gradient_step(copy.deepcopy(model), x, y),
            "lfp": feedback_step(copy.deepcopy(model), x, y),
        }
        if name == "VGG type" and (peer := peer_step(copy.deepcopy(model), x, y)) is not None:
            steps["peer"] = peer
        seconds = interleaved(steps, rounds)
        ratios = sorted(ours / theirs for ours, theirs in zip(seconds["lfp"], seconds["sgd"], strict=True))
        middle = statistics.median(ratios)
        report.line(
            metric=f"LFP step / SGD step, time, {name}", value=middle, unit="x", goal="<= 1.5", ok=middle <= 1.5,
            peer="SGD step", peer_value=statistics.median(seconds["sgd"]), ratio=middle, n=rounds,
            interval=(ratios[0], ratios[-1]),
        )  # fmt: skip
        memory = saved_bytes(steps["lfp"]) / saved_bytes(steps["sgd"])
        report.line(
            metric=f"LFP step / SGD step, bytes kept for the backward pass, {name}", value=memory, unit="x",
            goal="<= 1.3", ok=memory <= 1.3, peer="SGD step", ratio=memory,
        )  # fmt: skip
        if "peer" in seconds:
            gain = statistics.median(b / a for a, b in zip(seconds["lfp"], seconds["peer"], strict=True))
            report.line(
                metric=f"LFP step against the reference package, {name}", value=gain, unit="x faster", goal=">= 2",
                ok=gain >= 2, peer=PEER, peer_value=statistics.median(seconds["peer"]), ratio=gain, n=rounds,
            )  # fmt: skip


def measure_digits(report: Report, seeds: int) -> None:
    torch.set_num_threads(1)  # the matrices are small
    lfp = runs(ACTIVATIONS["relu"], seeds, lr=0.03, feedback=True)
    sgd = runs(ACTIVATIONS["relu"], seeds, lr=0.3, feedback=False)
    gap, pruned = lfp.mean - sgd.mean, statistics.mean(lfp.pruned) - statistics.mean(sgd.pruned)
    share = {"unit": "share", "peer": "SGD", "n": seeds}
    report.line(metric="digits, ReLU: accuracy", value=lfp.mean, goal="within 0.005 of SGD", ok=gap >= -0.005,
                peer_value=sgd.mean, interval=(min(lfp.accuracy), max(lfp.accuracy)), **share)  # fmt: skip
    report.line(metric="digits, ReLU: accuracy with 95 % of the weights away", value=statistics.mean(lfp.pruned),
                goal="0.08 above SGD", ok=pruned >= 0.08, peer_value=statistics.mean(sgd.pruned),
                interval=(min(lfp.pruned), max(lfp.pruned)), **share)  # fmt: skip
    report.line(metric="digits, ReLU: Gini index of the weights", value=statistics.mean(lfp.gini), goal=">= 0.57",
                ok=statistics.mean(lfp.gini) >= 0.57, peer_value=statistics.mean(sgd.gini), **share)  # fmt: skip
    for name, lr, goal, epochs in (("step", 0.03, 0.96, 60), ("sigmoid", 0.1, 0.95, 40)):
        centred = runs(ACTIVATIONS[name], seeds, lr=lr, feedback=True, epochs=epochs)
        plain = runs(
            ACTIVATIONS[name], 1, lr=0.3 if name == "sigmoid" else lr, feedback=True, epochs=epochs, centre=False
        )
        report.line(
            metric=f"digits, {name} units, centred: accuracy", value=centred.mean, unit="share", goal=f">= {goal}",
            ok=centred.mean >= goal, peer="not centred, as the reference", peer_value=plain.mean, n=seeds,
            interval=(min(centred.accuracy), max(centred.accuracy)),
        )  # fmt: skip


def measure_spiking(report: Report, seeds: int) -> None:
    for reset in ("subtract", "zero"):
        ours = [spiking(seed, reset)[1]() for seed in range(seeds)]
        theirs = [surrogate(seed, reset)[1]() for seed in range(seeds)]
        mean, peer = statistics.mean(ours), statistics.mean(theirs)
        report.line(
            metric=f"spiking digits, reset {reset}: accuracy", value=mean, unit="share",
            goal=">= 0.97 and within 0.01 of the surrogate", ok=mean >= 0.97 and mean >= peer - 0.01,
            peer="snntorch, arctan surrogate gradient", peer_value=peer, n=seeds, interval=(min(ours), max(ours)),
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lfp", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, at most a minute")
    parser.add_argument("--full", action="store_true", help="five seeds, about five minutes")
    full = parser.parse_args().full
    report = Report()
    torch.set_num_threads(2)
    measure_identity(report)
    measure_cost(report, 9 if full else 3)
    measure_digits(report, 5 if full else 2)
    measure_spiking(report, 5 if full else 1)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
