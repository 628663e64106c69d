"""Structured pruning: whole channels are cut out, so that the network gets smaller and faster.

Which layers share their channels (adds, depthwise convolutions, concatenations, flattening) is found by torch-pruning's
dependency graph; what a channel is worth is ours.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import torch
from torch import Tensor, nn

from services.model.training.errors import PruneAllError
from services.model.training.spiking import without_time


@dataclass(frozen=True)
class Group:
    """Channels that live and die together.

    Parameters
    ----------
    root : name of the layer that puts them out.
    members : names of all layers whose output channels belong to the group.
    scores : [C], the sum of the criterion over the weights of each channel in all members.
    """

    root: str
    members: tuple[str, ...]
    scores: Tensor


@dataclass(frozen=True)
class Cut:
    """A smaller copy of a model, and which channels of which root layer are gone."""

    model: nn.Module
    removed: dict[str, list[int]]


def _graph(model: nn.Module, example: Tensor) -> Any:
    import torch_pruning

    with without_time(model):
        return torch_pruning.DependencyGraph().build_dependency(model, example)


def groups_of(model: nn.Module, example: Tensor, scores: dict[str, Tensor], keep: Sequence[str]) -> list[Group]:
    """Find the groups of channels that may be cut, with their scores.

    Parameters
    ----------
    example : [1, ...], an input of the model.
    scores : of each weight by parameter name, see `pruning.scores`.
    keep : layers whose outputs stay whole, such as the classifier.
    """
    import torch_pruning as tp

    names = {module: name for name, module in model.named_modules()}
    kept = [model.get_submodule(name) for name in keep]
    outputs = (tp.prune_conv_out_channels, tp.prune_linear_out_channels, tp.prune_depthwise_conv_out_channels)
    found = []
    graph = _graph(model, example)
    for group in graph.get_all_groups(ignored_layers=kept, root_module_types=[nn.Conv2d, nn.Linear]):
        total, members = torch.zeros(len(group[0].idxs)), []
        for dependency, places in group:
            name = names.get(dependency.target.module)
            if name is None or dependency.handler not in outputs or f"{name}.weight" not in scores:
                continue
            each = scores[f"{name}.weight"].flatten(1).sum(1).float()
            total += each[torch.as_tensor(places)]
            members.append(name)
        if members and not set(members) & set(keep):
            found.append(Group(members[0], tuple(members), total))
    return found


def choose_channels(groups: Sequence[Group], amount: float, *, scope: str = "global") -> dict[str, list[int]]:
    """The floor(amount C) channels with the smallest mean score per weight row, over all groups; one of each stays.

    Parameters
    ----------
    scope : `global` over all groups together, or floor(amount C) of the C channels of each group (`layer`).

    Raises
    ------
    PruneAllError : the amount does not leave a channel in each group.
    """
    if not 0 <= amount < 1:
        raise PruneAllError(f"an amount of {amount} leaves nothing; it lies in [0, 1)", field="amount")
    if scope == "layer":
        order_of = {group.root: group.scores.argsort(stable=True).tolist() for group in groups}
        gone_of = {group.root: floor(amount * len(group.scores) + 1e-9) for group in groups}
        return {root: sorted(order_of[root][:count]) for root, count in gone_of.items() if count}
    total = sum(len(group.scores) for group in groups)
    wanted = floor(amount * total + 1e-9)
    if wanted > total - len(groups):
        raise PruneAllError(f"{wanted} of {total} channels would empty one of {len(groups)} groups", field="amount")
    relative = [group.scores / group.scores.mean().clamp(min=1e-12) for group in groups]  # groups differ in size
    order = torch.cat(relative).argsort(stable=True).tolist()
    places = [(number, channel) for number, group in enumerate(groups) for channel in range(len(group.scores))]
    gone: dict[int, list[int]] = {}
    for place in order:
        number, channel = places[place]
        if wanted and len(gone.get(number, [])) < len(groups[number].scores) - 1:
            gone.setdefault(number, []).append(channel)
            wanted -= 1
    return {groups[number].root: sorted(channels) for number, channels in sorted(gone.items())}


def cut_channels(model: nn.Module, example: Tensor, removed: dict[str, list[int]]) -> Cut:
    """Cut channels out of a copy of a model; `removed` as from `choose_channels`, and enough to repeat the cut."""
    import torch_pruning as tp

    smaller = copy.deepcopy(model).eval()
    graph = _graph(smaller, example)  # groups do not share channels: cutting one leaves the numbers of the others
    for name, channels in removed.items():
        root = smaller.get_submodule(name)
        handler = tp.prune_linear_out_channels if isinstance(root, nn.Linear) else tp.prune_conv_out_channels
        if isinstance(root, nn.Conv2d) and root.groups == root.in_channels > 1:
            handler = tp.prune_depthwise_conv_out_channels
        graph.get_pruning_group(root, handler, idxs=list(channels)).prune()
    return Cut(smaller, removed)


@torch.no_grad()
def masked_channels(model: nn.Module, groups: Sequence[Group], removed: dict[str, list[int]]) -> nn.Module:
    """A copy of the model in which the same channels put out zero: what a cut has to be equal to."""
    silenced = copy.deepcopy(model).eval()
    for group in groups:
        for channel in removed.get(group.root, []):
            for name in group.members:
                _silence(silenced, name, channel)
    return silenced


def _silence(model: nn.Module, name: str, channel: int) -> None:
    layer = model.get_submodule(name)
    layer.weight[channel] = 0  # type: ignore[index,operator]
    if getattr(layer, "bias", None) is not None:
        layer.bias[channel] = 0  # type: ignore[index,operator]
    following = list(model.named_modules())
    place = next(i for i, (other, _) in enumerate(following) if other == name)
    for _, module in following[place + 1 :]:
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) and len(module.weight) == len(layer.weight):  # type: ignore[arg-type]
            module.running_mean[channel] = 0  # type: ignore[index]
            module.weight[channel] = module.bias[channel] = 0
            return
        if isinstance(module, nn.Conv2d | nn.Linear):
            return
