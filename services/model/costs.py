"""What a model costs to keep and to run, measured when it is asked, beside another model in turn."""

from __future__ import annotations

import copy
import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.base import Caller
from contracts.model import CostFigures, Model, ModelCost
from services.model.preprocess import reads_pictures
from services.model.service import Models

if TYPE_CHECKING:
    from torch import nn

WARM_UP, ROUNDS = 3, 15
ALONE = threading.Lock()  # two measurements at once would each slow the other


def cost_of(models: Models, caller: Caller, model: str, against: str | None) -> ModelCost:
    """Measure a model, and another one in turn with it, so that both meet the same machine.

    Raises
    ------
    UnknownModel : of the two. ReadsText : a language model.
    """
    asked = [models.model(caller, name) for name in (model, against) if name is not None]
    figures = _measured(models, asked)
    faster = figures[1].latency_ms / figures[0].latency_ms if len(figures) > 1 else None
    return ModelCost(model=figures[0], against=figures[1] if len(figures) > 1 else None, speed_up=faster)


def _measured(models: Models, asked: list[Model]) -> list[CostFigures]:
    import torch

    pictures = [torch.zeros(1, 3, _side(each), _side(each)) for each in asked]
    with ALONE, ExitStack() as lent:
        nets = [lent.enter_context(models.loaded(each.ref)).model for each in asked]
        taken: list[list[float]] = [[] for _ in nets]
        for number in range(WARM_UP + ROUNDS):
            for net, picture, times in zip(nets, pictures, taken, strict=True):
                begun = time.perf_counter()
                with torch.inference_mode():
                    net(picture)
                if number >= WARM_UP:
                    times.append(1000 * (time.perf_counter() - begun))
        return [
            _figures(each, net, Path(models.blobs.open(each.ref.weights_sha256)).stat().st_size, times)
            for each, net, times in zip(asked, nets, taken, strict=True)
        ]


def _side(model: Model) -> int:
    return reads_pictures(model.ref).crop


def _figures(model: Model, net: nn.Module, size: int, times: list[float]) -> CostFigures:
    import torch
    import torch_pruning

    from services.model.training.sparsity import all_weights, gini, weights_of

    weights = weights_of(net)
    side = _side(model)
    macs, _ = torch_pruning.utils.count_ops_and_params(copy.deepcopy(net), torch.zeros(1, 3, side, side))
    low, middle, high = statistics.quantiles(times, n=4)
    return CostFigures(
        model=model.ref.id, name=model.ref.name, parameters=model.parameters, weights_bytes=size, macs=int(macs),
        sparsity=float((all_weights(net) == 0).double().mean()) if weights else 0.0,
        gini=statistics.mean(gini(weight) for weight in weights.values()) if weights else 0.0,
        side=side, latency_ms=middle, latency_low_ms=low, latency_high_ms=high, rounds=len(times),
        threads=torch.get_num_threads(),
    )  # fmt: skip
