"""Offline work of pruning: which channels can go, the cut, and registering the smaller model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from contracts.model import ModelRef, ModelRegistration
from contracts.training import PruningCurve, PruningRequest, PruningStep, TrainingRequest
from services.kit.arrays import facts_of, load_arrays
from services.kit.stages import StageFunction, Work
from services.model.errors import UncutError
from services.model.planning_pruning import criteria_of, shares_of, trial_role
from services.model.service import Models

if TYPE_CHECKING:
    from torch import Tensor, nn

    from services.model.training.session import Split
    from services.model.training.structured import Cut, Group

Publish = Callable[..., None]
BATCH = 32
TOLERANCE = 1e-4  # of the largest logit, between the cut model and the one rebuilt from its widths


def pruning_stages(models: Models, publish: Publish) -> tuple[StageFunction, ...]:
    """The stages of pruning; the epochs of training after it are those of any training."""
    return (
        StageFunction("score-channels", 1, lambda work: score_channels(work, models)),
        StageFunction("try-cuts", 1, lambda work: try_cut(work, models)),
        StageFunction("prune-channels", 1, lambda work: prune_channels(work, models)),
        StageFunction("register-pruned", 1, lambda work: register_pruned(work, models, publish)),
    )


@dataclass(frozen=True)
class Trial:
    """A model whose channels are to be cut, and the pictures that judge.

    Parameters
    ----------
    data : rows by class; `data.y` are outputs of the model.
    pictures : preprocessed inputs [B, 3, H, W] of sample indices.
    """

    model: nn.Module
    data: Split
    pictures: Callable[[Sequence[int]], Tensor]
    keep: tuple[str, ...]

    @property
    def example(self) -> Tensor:
        """[1, 3, H, W], the first picture."""
        return self.pictures([0])

    def batches(self, most: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Training pictures and their outputs, drawn at random without repetition."""
        import torch

        rows = np.random.default_rng(seed).permutation(self.data.train)[:most]
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            yield self.pictures(some.tolist()), torch.from_numpy(self.data.y[some])

    def groups(self, criterion: str, request: PruningRequest) -> list[Group]:
        """Groups of channels with what each is worth by a criterion."""
        from services.model.training.pruning import scores
        from services.model.training.structured import groups_of

        data = self.batches(request.pictures, request.seed) if "relevance" in criterion else None
        found = scores(self.model, criterion, data, seed=request.seed)
        return groups_of(self.model, self.example, found, self.keep)

    def step(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        removed: dict[str, list[int]],
        amount: float,
        tick: Callable[[], None],
    ) -> PruningStep:
        """Measure a model on the pictures kept out; `tick` is told of each batch."""
        import torch
        import torch_pruning

        right, rows = 0, self.data.validation
        with torch.inference_mode():
            for start in range(0, len(rows), BATCH):
                some = rows[start : start + BATCH]
                right += int((model(self.pictures(some.tolist())).argmax(1).numpy() == self.data.y[some]).sum())
                tick()
        macs, parameters = torch_pruning.utils.count_ops_and_params(model, self.example)
        left = sum(len(group.scores) for group in groups) - sum(map(len, removed.values()))
        return PruningStep(
            amount=amount, channels=left, parameters=int(parameters), macs=int(macs), accuracy=right / len(rows)
        )


def score_channels(work: Work, models: Models) -> None:
    """Say what each channel is worth by one criterion."""
    trial, request, ref = trial_of(work, models)
    found = trial.groups(str(work.spec["criterion"]), request)
    if not found:
        raise UncutError(f"{ref.name} has no channels that could be cut", field="model")
    members = {group.root: list(group.members) for group in found}
    work.emit_arrays("groups", {group.root: group.scores.numpy() for group in found}, {"members": members})
    work.advance(1)


def try_cut(work: Work, models: Models) -> None:
    """Cut a share of the channels by one criterion, and measure what is left; a share of 0 is the model as it is."""
    from services.model.training.structured import Cut, choose_channels, cut_channels

    trial, request, _ = trial_of(work, models)
    amount, groups = float(str(work.spec["amount"])), _groups(work.path("groups"))
    cut = Cut(trial.model, {})
    if amount:
        cut = cut_channels(trial.model, trial.example, choose_channels(groups, amount, scope=request.scope))
    step = trial.step(cut.model, groups, cut.removed, amount, lambda: work.advance(0))
    work.emit_record("trial", {"step": step.model_dump(mode="json"), "removed": cut.removed})
    work.advance(1)


def prune_channels(work: Work, models: Models) -> None:
    """Choose among the cuts that were tried, make that one, and tell how all of them did."""
    from services.model.training.structured import cut_channels

    trial, request, _ = trial_of(work, models)
    tried = {role: work.record(role) for role in work.inputs if role.startswith("trial/")}
    steps = {role: PruningStep.model_validate(found["step"]) for role, found in tried.items()}
    before = steps["trial/before"]
    curves = [
        PruningCurve(criterion=name, steps=[steps[trial_role(name, amount)] for amount in shares_of(request)])
        for name in criteria_of(request)
    ]
    chosen = chosen_step(before, curves[0].steps, request)
    removed = cast(dict[str, list[int]], tried[trial_role(request.criterion, chosen.amount)]["removed"])
    cut = cut_channels(trial.model, trial.example, removed)
    widths = rebuilt_widths(trial.model, cut, trial.example, work)
    work.emit_arrays("pruned", {name: part.numpy() for name, part in cut.model.state_dict().items()})
    told = {"before": before, "chosen": chosen, "curves": curves}
    record = {name: _plain(value) for name, value in told.items()}
    work.emit_record("pruning", {**record, "removed": removed, "widths": widths})
    work.advance(1)


def _groups(path: Path) -> list[Group]:
    import torch

    from services.model.training.structured import Group

    members = cast(dict[str, list[str]], facts_of(path)["members"])
    return [
        Group(root, tuple(members[root]), torch.from_numpy(np.array(worth)))
        for root, worth in load_arrays(path).items()
    ]


def trial_of(work: Work, models: Models) -> tuple[Trial, PruningRequest, ModelRef]:
    """Load the model, and split the labelled pictures as a training does, with the model's outputs as classes."""
    import torch
    from torch import nn

    from services.kit.pictures import Manifest
    from services.model.preprocess import reads_pictures, to_batch
    from services.model.training.session import require_modules, split

    request, ref = PruningRequest.model_validate(work.spec["pruning"]), ModelRef.model_validate(work.spec["model"])
    with models.loaded(ref) as built:
        model = copy.deepcopy(built.model).requires_grad_(True)  # the loaded one is shared
    require_modules(model, request.keep, field="keep")
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    data = split(manifest.labels(), manifest.groups(), request.validation, request.seed)
    classes = cast(list[str], work.spec["classes"])
    data.y[:] = np.array([classes.index(name) for name in data.classes])[data.y]

    def pictures(indices: Sequence[int]) -> Tensor:
        return to_batch((manifest.picture(index) for index in indices), reads_pictures(ref))

    with torch.inference_mode():
        outputs = model(pictures([0])).shape[-1]
    last = [name for name, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
    if outputs != len(classes):
        raise UncutError(f"{ref.name} has {outputs} outputs, not one for each class", field="model")
    return Trial(model, data, pictures, (last, *request.keep)), request, ref


def chosen_step(before: PruningStep, steps: Sequence[PruningStep], request: PruningRequest) -> PruningStep:
    """The share asked for, or the largest within the loss.

    Raises
    ------
    UncutError : even the smallest share costs more.
    """
    if request.amount is not None:
        return next(step for step in steps if step.amount == request.amount)
    within = [step for step in steps if step.accuracy >= before.accuracy - request.loss - 1e-9]
    if not within:
        best = max(steps, key=lambda step: step.accuracy)
        raise UncutError(
            f"no share keeps the accuracy within {request.loss:g} of {before.accuracy:.3f}; the best, {best.amount:g}, "
            f"has {best.accuracy:.3f}", field="loss",
        )  # fmt: skip
    return max(within, key=lambda step: step.amount)


def rebuilt_widths(model: nn.Module, cut: Cut, example: Tensor, work: Work) -> dict[str, dict[str, int]]:
    """Widths from which the cut model can be built again; tried at once, for a model that cannot be is worth nothing.

    Raises
    ------
    UncutError : the rebuilt model does not compute what the cut one does.
    """
    import torch

    from services.model.adapters.registry import build
    from services.model.widths import KEY, changed_widths

    ref = ModelRef.model_validate(work.spec["model"])
    widths = {**cast(dict[str, Any], ref.config.get(KEY, {})), **changed_widths(model, cut.model)}
    again = build(ref.architecture, {**ref.config, KEY: cast(Any, widths)}).model
    again.load_state_dict(cut.model.state_dict())
    with torch.inference_mode():
        due, found = cut.model(example), again.eval()(example)
    if float((due - found).abs().max()) > TOLERANCE * max(1.0, float(due.abs().max())):
        raise UncutError(f"{ref.name} computes something else when it is built with fewer channels", field="model")
    return widths


def register_pruned(work: Work, models: Models, publish: Publish) -> None:
    """Register the smaller model; its lineage leads back to pictures and parent."""
    import torch

    from services.model.adapters.registry import build
    from services.model.trained import built_with, checkpoint_of
    from services.model.training.session import result_of

    request, ref = TrainingRequest.model_validate(work.spec["request"]), ModelRef.model_validate(work.spec["model"])
    config = built_with(work)
    if "checkpoint" in work.inputs:
        state = {name: part.contiguous() for name, part in result_of(checkpoint_of(work)).items()}
    else:
        state = {name: torch.from_numpy(np.array(part)) for name, part in load_arrays(work.path("pruned")).items()}
    asked = ModelRegistration(
        name=request.name, architecture=ref.architecture, config=config, preprocessing=ref.preprocessing
    )
    publish(work, asked, build(ref.architecture, config), state, classes=cast(list[str], work.spec["classes"]))
    work.advance(1)


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.model_dump(mode="json") if isinstance(value, PruningStep | PruningCurve) else value
