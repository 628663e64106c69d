"""Keys of the artifacts of one plan."""

from __future__ import annotations

from collections.abc import Callable

from services.kit.keys import artifact_key
from services.kit.stages import StageRegistry

Key = Callable[[str, list[str], dict[str, object], str], str]


def keys_of(registry: StageRegistry, numerics: dict[str, str | int], seed: int) -> Key:
    """Return a function (stage, inputs, params, output) -> key, with the stage's version and the plan's seed."""

    def key(stage: str, inputs: list[str], params: dict[str, object], output: str) -> str:
        return artifact_key(
            stage, version=registry.version(stage), inputs=inputs, params=params, seed=seed, numerics=numerics,
            output=output,
        )  # fmt: skip

    return key
