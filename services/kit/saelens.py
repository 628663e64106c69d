"""What the configuration of a SAELens folder says; its weights are the model service's to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from contracts.sae import UnsupportedSae
from services.kit.keys import sha256_of, sha256_of_file

Architecture = Literal["topk", "jumprelu", "standard"]
CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
KNOWN: tuple[Architecture, ...] = ("topk", "jumprelu", "standard")


def content_sha256(folder: Path) -> str:
    """Hash of the two files. Raises `UnsupportedSae` where one is missing."""
    try:
        return sha256_of({name: sha256_of_file(folder / name) for name in (CONFIG, WEIGHTS)})
    except OSError as error:
        raise UnsupportedSae(f"{folder.name[:80]} lacks {CONFIG} or {WEIGHTS}", field="folder") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read `cfg.json`.

    Raises
    ------
    UnsupportedSae : it is missing or malformed, or asks for what the weights do not hold.
    """
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise UnsupportedSae(f"{CONFIG} cannot be read: {error}", field=CONFIG) from error
    if not isinstance(config, dict):
        raise UnsupportedSae(f"{CONFIG} is not an object", field=CONFIG)
    asked = config.get("normalize_activations", "none")
    if asked not in ("none", False, None):
        raise UnsupportedSae(f"normalize_activations is {asked}, whose factor is not in the weights", field=CONFIG)
    if config.get("reshape_activations", "none") != "none":
        raise UnsupportedSae("hook_z reshaping joins heads before the encoder", field=CONFIG)
    return config


def architecture_of(config: dict[str, Any]) -> tuple[Architecture, int | None]:
    """Return architecture and k; before release 6 a TopK was a `standard` with an activation function of that name."""
    named = config.get("architecture", "standard")
    if config.get("activation_fn_str", config.get("activation_fn")) == "topk":
        named, config = "topk", {**config, "k": (config.get("activation_fn_kwargs") or {}).get("k", config.get("k"))}
    for known in KNOWN:
        if named == known:
            if known == "topk" and not isinstance(config.get("k"), int):
                raise UnsupportedSae("a topk without an integer `k`", field=CONFIG)
            return known, int(config["k"]) if known == "topk" else None
    raise UnsupportedSae(f"architecture {named}", field=CONFIG, known=list(KNOWN))
