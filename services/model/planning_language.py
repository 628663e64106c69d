"""The plan of a language model's registration: found, hashed, and keyed by what the conversion depends on."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from contracts.base import Caller, Right
from contracts.errors import PathNotAllowed, WrongWeights
from contracts.language import BrokenLanguageFile
from contracts.model import ModelRegistration
from services.kit.keys import artifact_key, sha256_of, sha256_of_file
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry
from services.model.adapters.language_models import GGUF, PACKAGE
from services.model.adapters.registry import adapter_for
from services.model.errors import BadConfig
from services.model.language.folder import CONFIG, TOKENIZER
from services.model.language.sources import PERPLEXITY_LIMIT, joined_sha256, packaged_parts
from services.model.language.tokens import FIX_VERSION
from services.model.repository import find_model
from services.model.service import Models

STAGE = "register-language-model"
OUTPUTS = ("model", "weights", "tokenizer", "language")
LIBRARIES = ("torch", "transformers", "tokenizers", "gguf")


def plan_language(
    registration: ModelRegistration, *, caller: Caller, models: Models, registry: StageRegistry
) -> JobPlan:
    """Plan one registration.

    Raises
    ------
    UnknownArchitecture, MissingLanguagePackage, BrokenLanguageFile, WrongWeights, BadConfig : what can be seen without
    loading anything. PathNotAllowed : a path outside the import roots, without the right `server-paths`.
    """
    adapter_for(registration.architecture)
    if registration.initial_seed is not None:
        raise WrongWeights("a language model's weights are read, not drawn", field="initial_seed")
    limit = perplexity_limit(registration)
    paths, source = _source(registration, caller, models.settings.import_roots)
    asked = registration.model_dump(mode="json", exclude={"weights", "preprocessing", "initial_seed"})
    params = {**asked, "source_sha256": source, "perplexity_limit": limit, "tokenizer_fix": FIX_VERSION}
    numerics = {name: version(name) for name in LIBRARIES if find_spec(name)}
    keys = {
        output: artifact_key(
            STAGE, version=registry.version(STAGE), inputs=[], params=params, numerics=numerics, output=output
        )
        for output in OUTPUTS
    }
    with models.database.reading() as db:
        known = find_model(db, caller.workspace, registration.name)
    result = known.ref.id if known is not None and known.lineage == keys["model"] else None
    spec = {"registration": asked, "paths": [str(path.absolute()) for path in paths], "source_sha256": source}
    part = PartPlan({**spec, "perplexity_limit": limit}, {}, keys)
    return JobPlan("model", registration.name, (StagePlan(STAGE, (part,), title="convert and check"),), result)


def perplexity_limit(registration: ModelRegistration) -> float | None:
    """Largest perplexity of English text that is let through, None for any; the only thing that can be configured.

    Raises
    ------
    BadConfig
    """
    unknown = sorted(registration.config.keys() - {"perplexity_limit"})
    limit = registration.config.get("perplexity_limit", PERPLEXITY_LIMIT)
    if unknown or isinstance(limit, bool) or not (limit is None or (isinstance(limit, int | float) and limit > 1)):
        raise BadConfig("a language model takes `perplexity_limit`: a number above 1, or null", field="config")
    return None if limit is None else float(limit)


def content_sha256(paths: list[Path], family: str) -> str:
    """Hash of the bytes that a model is read from.

    Raises
    ------
    BrokenLanguageFile : a folder without its files.
    """
    if family in {PACKAGE, GGUF}:
        return joined_sha256(paths)
    folder = paths[0]
    files = [folder / CONFIG, folder / TOKENIZER, *sorted(folder.glob("*.safetensors"))]
    missing = [path.name for path in files if not path.is_file()]
    if missing or len(files) < 3:
        raise BrokenLanguageFile(f"{folder.name} lacks {', '.join(missing) or 'safetensors'}", field="weights")
    return sha256_of({path.name: sha256_of_file(path) for path in files})


def _source(registration: ModelRegistration, caller: Caller, roots: list[Path]) -> tuple[list[Path], str]:
    family, _, name = registration.architecture.partition(":")
    if family == PACKAGE:
        if registration.weights is not None:
            raise WrongWeights("a packaged model brings its own weights", field="weights")
        paths = packaged_parts(name)
        return paths, content_sha256(paths, family)
    if registration.weights is None:
        what = "a .gguf file" if family == GGUF else "a folder with safetensors"
        raise WrongWeights(f"{registration.architecture} needs {what}", field="weights")
    path = Path(registration.weights)
    within = any(path.resolve().is_relative_to(root.resolve()) for root in roots)
    if Right.SERVER_PATHS not in caller.rights and not within:
        raise PathNotAllowed("these weights lie outside the import roots", field="weights")
    if not (path.is_file() if family == GGUF else path.is_dir()):
        raise WrongWeights(f"there is no {'file' if family == GGUF else 'folder'} {path.name}", field="weights")
    return [path], content_sha256([path], family)
