"""Spiking classifiers of pictures, to be trained here: no package brings weights of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from operator import index
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.model import Preprocessing
from services.model.adapters.port import Built
from services.model.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_STEPS = 200


class SpikingNets:
    """`spiking:mlp` and `spiking:cnn`, leaky integrate-and-fire neurons behind every layer.

    Config: `num_classes` (10), `side` in pixels (32), `hidden` ([200] for mlp, channels [16, 32] for cnn), `steps`
    (15), `beta` (0.9), `threshold` (1.0), `reset` (subtract or zero), `encoding` (constant or rate). Layers `rates.0` …
    are the firing rates of the neurons; the answer is how often each neuron of the last layer fired.
    """

    def names(self) -> Sequence[str]:
        return list(NETS)

    def build(self, name: str, config: Mapping[str, JsonValue]) -> Built:
        return NETS[name](**config)

    def pick(self, layer: str, output: object) -> Tensor:
        from services.model.capture.hooks import first_tensor

        return first_tensor(layer, output)


def mlp(num_classes: int = 10, side: int = 32, hidden: Sequence[int] = (200,), **timing: JsonValue) -> Built:
    """Linear layers on the pixels."""
    from torch import nn

    sizes = [3 * side * side, *hidden, num_classes]
    layers: list[nn.Module] = [nn.Linear(before, after) for before, after in pairwise(sizes)]
    layers[0] = nn.Sequential(nn.Flatten(), layers[0])
    return _built(layers, side, **timing)


def cnn(num_classes: int = 10, side: int = 32, hidden: Sequence[int] = (16, 32), **timing: JsonValue) -> Built:
    """Convolutions of 5 px, each halved by a mean, and one linear layer."""
    from torch import nn

    channels = [3, *hidden]
    layers: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(before, after, 5, padding=2), nn.AvgPool2d(2)) for before, after in pairwise(channels)
    ]
    left = side // 2 ** len(hidden)
    if left < 1:
        raise BadConfig(
            f"{side} px cannot be halved {len(hidden)} times: fewer `hidden` or a larger `side`", field="config"
        )
    layers.append(nn.Sequential(nn.Flatten(), nn.Linear(channels[-1] * left * left, num_classes)))
    return _built(layers, side, **timing)


def _built(
    layers: list[nn.Module], side: int, *, steps: int = 15, beta: float = 0.9, threshold: float = 1.0,
    reset: str = "subtract", encoding: str = "constant",
) -> Built:  # fmt: skip
    from torch import nn

    from services.model.training.spiking import RESETS, Neuron, SpikingNet, encode_constant, encode_rate

    encoders = {"constant": encode_constant, "rate": encode_rate}
    for name, value, known in (("encoding", encoding, encoders), ("reset", reset, RESETS)):
        if value not in known:
            raise BadConfig(f"{name} is {value}; known are {', '.join(known)}", field="config")
    for name, number, least, most in (("steps", steps, 1, MOST_STEPS), ("beta", beta, 0, 1), ("side", side, 1, 1024)):
        if not least <= number <= most:
            raise BadConfig(f"{name} is {number}; it lies between {least} and {most}", field="config")
    if not threshold > 0:
        raise BadConfig(f"threshold is {threshold}; it is above 0", field="config")
    for layer in layers:
        for part in layer.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)  # torch's own start is so small that deeper neurons never fire
    net = SpikingNet(layers, Neuron(beta, threshold, reset), index(steps), encoders[encoding])
    centre = (0.5, 0.5, 0.5) if encoding == "constant" else (0.0, 0.0, 0.0)
    spread = (0.5, 0.5, 0.5) if encoding == "constant" else (1.0, 1.0, 1.0)
    return Built(net, Preprocessing(resize=side, crop=side, interpolation="bilinear", mean=centre, std=spread))


NETS: dict[str, Callable[..., Built]] = {"mlp": mlp, "cnn": cnn}


def is_spiking(architecture: str) -> bool:
    """Whether an architecture is of this family."""
    return architecture.startswith("spiking:")
