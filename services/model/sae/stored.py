"""A trained autoencoder from the artifact that its measuring kept."""

from __future__ import annotations

from pathlib import Path

import torch

from services.kit.arrays import facts_of, load_arrays
from services.model.sae.autoencoder import SparseAutoencoder


def load_sae(path: Path) -> SparseAutoencoder:
    """Read weights and architecture."""
    arrays, facts = load_arrays(path), facts_of(path)
    parts = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return SparseAutoencoder(architecture=facts["architecture"], k=facts["k"], **parts)  # type: ignore[arg-type]
