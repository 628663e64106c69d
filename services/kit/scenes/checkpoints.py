"""The small models of scenes that come with the installation, so that nothing has to be trained first.

`cnn-S` and `vit-S` are classifiers whose training scenes had an artefact of strength S; `clip` is the open_clip model.
Files hold float16. The token table of `clip` is stored without its zero rows and written out once per data folder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from contracts.errors import WrongWeights
from services.kit.arrays import load_arrays, save_arrays
from services.kit.keys import sha256_of_file

FOLDER = Path(__file__).parent / "weights"
TABLE = "token_embedding.weight"
ROWS, VALUES = f"{TABLE}/rows", f"{TABLE}/values"


def packaged_names() -> list[str]:
    """Names of the models that are here."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def packaged_weights(name: str) -> Path:
    """The file of a model.

    Raises
    ------
    WrongWeights : no such model; the facts list those that are here.
    """
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        names = packaged_names()
        raise WrongWeights(f"no packaged model is called {name}", field="weights", names=list(names))
    return path


def packaged_encoder(folder: Path) -> str:
    """Name of the small open_clip encoder, `open_clip:scenes/FILE`, its file written out in `folder` if need be."""
    packed = packaged_weights("clip")
    path = folder / f"scenes-clip-{sha256_of_file(packed)[:16]}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        config = json.loads(packed.with_suffix(".json").read_text())
        write_encoder(path, widen(load_arrays(packed)), config)
    return f"open_clip:scenes/{path.absolute()}"


def write_encoder(path: Path, arrays: dict[str, np.ndarray], config: dict[str, object]) -> None:
    """Write weights and the description beside them; a reader sees both or none."""
    description = path.with_suffix(".json")
    description.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    begun = path.with_name(f".{path.name}.{os.getpid()}")
    save_arrays(begun, arrays)
    begun.replace(path)


def narrow(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave out the zero rows of the token table; `widen` puts them back."""
    table = arrays[TABLE]
    rows = np.flatnonzero(table.any(axis=1))
    rest = {name: array for name, array in arrays.items() if name != TABLE}
    size = np.array([len(table)], np.int32)
    return {**rest, ROWS: rows.astype(np.int32), VALUES: table[rows], f"{TABLE}/size": size}


def widen(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Undo `narrow`."""
    values = arrays[VALUES]
    table = np.zeros((int(arrays[f"{TABLE}/size"][0]), values.shape[1]), values.dtype)
    table[arrays[ROWS]] = values
    return {**{name: array for name, array in arrays.items() if not name.startswith(f"{TABLE}/")}, TABLE: table}
