"""Keys of artifacts: everything that decides the bytes, hashed. Same key, no work; anything changed, another key."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, JsonValue

from contracts.base import ArtifactKey


def canonical_json(value: object) -> bytes:
    """Serialise JSON values so that equal values have equal bytes.

    Keys sorted, strings in NFC, floats by shortest representation, lists in order, no NaN or infinity. Pydantic
    models are dumped with their defaults filled in, so that a default written out does not change a key.

    Raises
    ------
    TypeError, ValueError : for anything that JSON cannot say, including non-finite floats.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _plain(value: object) -> JsonValue:
    match value:
        case BaseModel():
            return _plain(value.model_dump(mode="json"))
        case str():
            return unicodedata.normalize("NFC", str(value))
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} has no canonical form")
            return value
        case Mapping():
            return {unicodedata.normalize("NFC", key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


def sha256_of(value: object) -> str:
    """Hash of a JSON value's canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hash of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def artifact_key(
    stage: str,
    *,
    version: int,
    inputs: Sequence[str],
    params: Mapping[str, object],
    seed: int | None = None,
    numerics: Mapping[str, object] | None = None,
    output: str = "",
) -> ArtifactKey:
    """Key of one output of a stage.

    Parameters
    ----------
    stage, version : name of the stage and its version, which is raised by hand when its output changes.
    inputs : hashes or keys that it depends on, in order.
    params : everything else that decides the result, with defaults filled in. No presentation settings.
    seed : of whatever is drawn.
    numerics : precision, memory layout, batch size, library versions: what can change the last bits.
    output : which of the stage's outputs, if a part makes several.
    """
    return ArtifactKey(
        sha256_of(
            {
                "stage": stage,
                "stage_version": version,
                "inputs": list(inputs),
                "params": params,
                "seed": seed,
                "numerics": numerics or {},
                "output": output,
            }
        )
    )
