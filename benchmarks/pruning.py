"""Structured pruning of a transfer-trained EfficientNet-Lite0: what accuracy and time are left once channels are cut.

The packaged ImageNet weights are trained on generated scenes (six shapes). The share of channels that goes is chosen on
a validation split, after training on; the test scenes are drawn by another rule and are looked at once.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.report import Report
from contracts.data import ScenesSource
from contracts.training import Criterion, TrainingRequest
from services.kit.packaged import match_in_order, packaged_checkpoint, read_checkpoint
from services.kit.torchvision_ops import mend_torchvision
from services.model.controlled.pictures import Pictures, pictures_of, to_input
from services.model.training.pruning import scores
from services.model.training.session import Session, Split, result_of
from services.model.training.structured import choose_channels, cut_channels, groups_of

NAME, CLASSIFIER, LOSS, GOAL = "tf_efficientnet_lite0", "classifier", 0.02, 1.5
CRITERIA: tuple[Criterion, ...] = ("relevance", "magnitude", "random")


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Parameters
    ----------
    pictures, held_out : scenes to train on, and of each of validation and test; side : their pixels.
    epochs, after : of transfer, and of training on after a cut.
    amounts : shares of channels to cut at once, ascending, until one costs too much on the validation scenes.
    rounds : of each timing.
    """

    pictures: int
    held_out: int
    side: int
    epochs: int
    after: int
    amounts: tuple[float, ...]
    rounds: int


QUICK = Plan(pictures=320, held_out=100, side=64, epochs=1, after=1, amounts=(0.6,), rounds=7)
FULL = Plan(pictures=2400, held_out=1000, side=64, epochs=8, after=10, amounts=(0.3, 0.4, 0.5, 0.6), rounds=41)
TRANSFER_RATE, AFTER_RATE = 0.02, 0.05


def packaged_net(classes: int) -> nn.Module | None:
    """EfficientNet-Lite0 with ImageNet weights and a new head; None where no package brings them."""
    mend_torchvision()
    import timm

    path = packaged_checkpoint(NAME)
    if path is None:
        return None
    net = timm.create_model(NAME)
    net.load_state_dict(match_in_order(read_checkpoint(path), net))
    torch.manual_seed(0)
    net.reset_classifier(classes)
    return net


class Scenes:
    """Training and validation scenes as a training wants them, and test scenes beside."""

    def __init__(self, plan: Plan) -> None:
        def drawn(split: str, count: int) -> Pictures:
            return pictures_of(ScenesSource(n=count, seed=8, side=plan.side, split=split))  # type: ignore[arg-type]

        train, validation, self.test = (
            drawn("train", plan.pictures), drawn("validation", plan.held_out), drawn("test", plan.held_out),
        )  # fmt: skip
        self.pixels = np.concatenate([train.pixels, validation.pixels])
        self.classes = tuple(str(name) for name in range(train.labels.max() + 1))
        self.split = Split(
            np.arange(len(train)), np.arange(len(train), len(self.pixels)),
            np.concatenate([train.labels, validation.labels]), self.classes,
        )  # fmt: skip

    def pictures(self, rows: Sequence[int]) -> Tensor:
        """Inputs [B, 3, side, side]."""
        return to_input(self.pixels[list(rows)])

    def relevance_batches(self, most: int = 512) -> list[tuple[Tensor, Tensor]]:
        """Training pictures and their classes."""
        rows = np.random.default_rng(0).permutation(self.split.train)[:most]
        parts = np.split(rows, range(32, len(rows), 32))
        return [(self.pictures(some), torch.from_numpy(self.split.y[some])) for some in parts]

    @torch.inference_mode()
    def tested(self, model: nn.Module) -> float:
        """Share of the test scenes that is classified rightly."""
        model.eval()
        found = [model(to_input(self.test.pixels[at : at + 64])).argmax(1) for at in range(0, len(self.test), 64)]
        return float((torch.cat(found).numpy() == self.test.labels).mean())


def trained(model: nn.Module, scenes: Scenes, *, epochs: int, rate: float) -> tuple[nn.Module, float]:
    """Train a copy in the product's way; returns it with its validation accuracy."""
    asked = TrainingRequest(
        name="t", model="m", dataset="d", method="gradient", learning_rate=rate, epochs=epochs, batch=32
    )
    session = Session(copy.deepcopy(model), asked, scenes.split, scenes.pictures)
    checkpoint = session.epoch(0, None, lambda _: None)
    for number in range(1, epochs):
        checkpoint = session.epoch(number, checkpoint, lambda _: None)
    session.model.load_state_dict(result_of(checkpoint))
    return session.model.eval(), checkpoint.figures[-1].validation_accuracy


def latencies(models: Sequence[nn.Module], batch: Tensor, rounds: int) -> list[float]:
    """Median seconds of a forward pass of each, taken in turn."""
    taken: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for number in range(rounds + 2):  # the first rounds warm up
            for model, times in zip(models, taken, strict=True):
                begun = time.perf_counter()
                model(batch)
                if number > 1:
                    times.append(time.perf_counter() - begun)
    return [statistics.median(times) for times in taken]


@dataclass(frozen=True)
class Smaller:
    """A net with a share of its channels cut, trained on behind, with its accuracy on the validation scenes."""

    amount: float
    model: nn.Module
    accuracy: float


def cut(start: nn.Module, amount: float, scenes: Scenes, criterion: Criterion, plan: Plan) -> Smaller:
    """Cut a share of all channels by a criterion, and train on."""
    worth = scores(start, criterion, scenes.relevance_batches() if criterion == "relevance" else None)
    example = scenes.pictures([0])
    groups = groups_of(start, example, worth, [CLASSIFIER])
    smaller = cut_channels(start, example, choose_channels(groups, amount)).model
    trained_on, accuracy = trained(smaller, scenes, epochs=plan.after, rate=AFTER_RATE)
    print(f"# {criterion}, {amount:.0%} cut: {accuracy:.3f}", file=sys.stderr, flush=True)
    return Smaller(amount, trained_on, accuracy)


def study(report: Report, plan: Plan) -> None:
    """Transfer, cut as far as the validation scenes allow, and measure on the test scenes."""
    net = packaged_net(6)
    if net is None:
        raise SystemExit(f"no installed package brings weights of {NAME}")
    scenes = Scenes(plan)
    start, before = trained(net, scenes, epochs=plan.epochs, rate=TRANSFER_RATE)
    whole, most = trained(start, scenes, epochs=plan.after, rate=AFTER_RATE)  # as long as what is cut
    print(f"# transfer: {before:.3f} on validation scenes, {most:.3f} trained on", file=sys.stderr, flush=True)
    chosen = cut(start, plan.amounts[0], scenes, "relevance", plan)
    for amount in plan.amounts[1:]:
        found = cut(start, amount, scenes, "relevance", plan)
        if found.accuracy < most - LOSS:
            break
        chosen = found
    tested = scenes.tested(whole)
    others = [cut(start, chosen.amount, scenes, name, plan) for name in CRITERIA[1:]]
    for name, each in zip(CRITERIA, (chosen, *others), strict=True):
        accuracy = scenes.tested(each.model)
        goal = name == "relevance" and plan is FULL  # an epoch does not bring accuracy back
        report.line(
            metric=f"pruning.accuracy_lost, {each.amount:.0%} of the channels cut by {name}", value=tested - accuracy,
            unit="share of test scenes", goal=f"<= {LOSS}" if goal else None,
            ok=tested - accuracy <= LOSS if goal else None, peer="the whole net, trained as long", peer_value=tested,
            n=plan.held_out,
        )  # fmt: skip
    sizes = [sum(part.numel() for part in model.parameters()) for model in (whole, chosen.model)]
    report.line(
        metric="pruning.parameters", value=sizes[1], unit="parameters", peer="the whole net", peer_value=sizes[0],
        ratio=sizes[0] / sizes[1],
    )  # fmt: skip
    threads = torch.get_num_threads()
    for count in (1, threads):
        torch.set_num_threads(count)
        for size, side in ((1, 224), (16, 224), (16, plan.side)):
            batch = torch.randn(size, 3, side, side, generator=torch.Generator().manual_seed(0))
            slow, fast = latencies((whole, chosen.model), batch, plan.rounds)
            report.line(
                metric=f"pruning.speed_up, {size} pictures of {side} px, {count} threads", value=slow / fast, unit="x",
                goal=f">= {GOAL} x the whole net", ok=slow / fast >= GOAL, peer="the whole net", peer_value=1000 * slow,
                ratio=slow / fast, n=plan.rounds,
            )  # fmt: skip


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one share and an epoch: speed only")
    parser.add_argument("--full", action="store_true", help="the default")
    report = Report()
    study(report, QUICK if parser.parse_args().quick else FULL)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
