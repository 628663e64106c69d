"""Exchange with SAELens: a folder with `cfg.json` and `sae_weights.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from contracts.sae import UnsupportedSae
from services.kit.saelens import CONFIG, WEIGHTS, architecture_of, read_config
from services.model.sae.autoencoder import SparseAutoencoder


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
    config = read_config(folder)
    architecture, k = architecture_of(config)
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
