"""Exchange with SAELens: a folder with `cfg.json` and `sae_weights.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from contracts.sae import UnsupportedSae
from services.model.sae.autoencoder import Architecture, SparseAutoencoder

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
KNOWN: tuple[Architecture, ...] = ("topk", "jumprelu", "standard")


def export_saelens(folder: Path, sae: SparseAutoencoder, *, model: str, layer: str, facts: dict[str, Any]) -> None:
    """Write a folder that `SAE.load_from_disk` of SAELens 6 reads.

    Parameters
    ----------
    model, layer : written as `model_name` and `hook_name` of the metadata. facts : more metadata, JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "architecture": sae.architecture, "d_in": sae.width, "d_sae": sae.latents, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": sae.centred, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"model_name": model, "hook_name": layer, **facts},
    }  # fmt: skip
    if sae.architecture == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    weights = {
        "W_enc": sae.encoder.T, "W_dec": sae.decoder, "b_enc": sae.encoder_bias, "b_dec": sae.decoder_bias,
    }  # fmt: skip
    if sae.threshold is not None:
        weights["threshold"] = sae.threshold
    save_file({name: value.float().contiguous() for name, value in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True))


def import_saelens(folder: Path) -> tuple[SparseAutoencoder, dict[str, Any]]:
    """Read a SAELens folder of release 6, or of the older flat form; return the autoencoder and its configuration.

    Raises
    ------
    UnsupportedSae : a file is missing or malformed, the architecture is another one, or the configuration asks for
    a normalisation at run time that the weights do not hold.
    """
    config = _config(folder)
    architecture, k = _architecture(config)
    weights = _weights(folder, config)
    encoder, decoder = weights["W_enc"].T.contiguous(), weights["W_dec"].contiguous()
    if encoder.shape != decoder.shape:
        raise UnsupportedSae(f"W_enc has shape {tuple(encoder.T.shape)}, W_dec {tuple(decoder.shape)}", field=WEIGHTS)
    threshold = weights.get("threshold")
    if architecture == "jumprelu" and threshold is None:
        raise UnsupportedSae("a jumprelu without `threshold`", field=WEIGHTS)
    bias = weights["b_enc"]
    if config.get("rescale_acts_by_decoder_norm"):
        norm = decoder.norm(dim=1)
        encoder, bias, decoder = encoder * norm[:, None], bias * norm, decoder / norm[:, None].clamp_min(1e-12)
    return (
        SparseAutoencoder(
            architecture, encoder, decoder, bias, weights["b_dec"], k,
            threshold if architecture == "jumprelu" else None, bool(config.get("apply_b_dec_to_input", True)),
        ),
        config,
    )  # fmt: skip


def _config(folder: Path) -> dict[str, Any]:
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


def _architecture(config: dict[str, Any]) -> tuple[Architecture, int | None]:
    """Architecture and k; before release 6 a TopK was a `standard` with an activation function of that name."""
    named = config.get("architecture", "standard")
    if config.get("activation_fn_str", config.get("activation_fn")) == "topk":
        named, config = "topk", {**config, "k": (config.get("activation_fn_kwargs") or {}).get("k", config.get("k"))}
    for known in KNOWN:
        if named == known:
            if known == "topk" and not isinstance(config.get("k"), int):
                raise UnsupportedSae("a topk without an integer `k`", field=CONFIG)
            return known, int(config["k"]) if known == "topk" else None
    raise UnsupportedSae(f"architecture {named}", field=CONFIG, known=list(KNOWN))


def _weights(folder: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    try:
        weights = {name: value.float() for name, value in load_file(folder / WEIGHTS).items()}
    except Exception as error:  # a truncated or foreign file: safetensors has several error types
        raise UnsupportedSae(f"{WEIGHTS} cannot be read: {error}", field=WEIGHTS) from error
    missing = {"W_enc", "W_dec", "b_enc", "b_dec"} - set(weights)
    if missing:
        raise UnsupportedSae(f"{', '.join(sorted(missing))} missing", field=WEIGHTS)
    given = (config.get("d_in"), config.get("d_sae"))
    if tuple(weights["W_enc"].shape) != given:
        raise UnsupportedSae(f"W_enc has shape {tuple(weights['W_enc'].shape)}, {CONFIG} says {given}", field=WEIGHTS)
    return weights
