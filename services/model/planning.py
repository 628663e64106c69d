"""The plan of a registration: what can be refused at once, and the keys of what it makes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from pydantic import JsonValue

from contracts.base import Caller, Right
from contracts.errors import PathNotAllowed, WrongWeights
from contracts.model import ModelRegistration
from services.kit.keys import artifact_key, sha256_of_file
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry
from services.model.adapters.language_models import is_language
from services.model.adapters.registry import adapter_for, is_path
from services.model.planning_language import plan_language
from services.model.repository import find_model
from services.model.service import Models
from services.model.weights import source_of

STAGE = "register-model"


def plan_registration(
    registration: ModelRegistration, *, caller: Caller, models: Models, registry: StageRegistry
) -> JobPlan:
    """Plan one registration.

    Raises
    ------
    UnknownArchitecture, WrongWeights : what can be seen without loading anything; weights and a seed for them.
    PathNotAllowed : weights outside the import roots, a `.pth`, or code named by module, without `server-paths`.
    """
    if is_language(registration.architecture):
        return plan_language(registration, caller=caller, models=models, registry=registry)
    require_allowed(registration, caller, models.settings.import_roots)
    drawn = registration.initial_seed is not None
    adapter_for(registration.architecture)
    params = registration.model_dump(mode="json", exclude={"weights"})
    where: dict[str, JsonValue] = {}
    if drawn and registration.weights is not None:
        raise WrongWeights("weights are read or drawn, not both", field="initial_seed")
    if not drawn:
        del params["initial_seed"]  # keys of models that are read stay what they were before there were drawn ones
        path = source_of(registration.architecture, registration.weights)
        params["source_sha256"] = sha256_of_file(path)
        where["path"] = str(path.absolute())
    numerics = {name: version(name) for name in ("torch", "timm", "torchvision", "open_clip_torch")}
    keys = {
        output: artifact_key(
            STAGE, version=registry.version(STAGE), inputs=[], params=params, numerics=numerics, output=output
        )
        for output in ("model", "weights")
    }
    with models.database.reading() as db:
        known = find_model(db, caller.workspace, registration.name)
    result = known.ref.id if known is not None and known.lineage == keys["model"] else None
    title = "draw the weights" if drawn else "read the weights"
    part = PartPlan({**params, **where}, {}, keys)
    return JobPlan("model", registration.name, (StagePlan(STAGE, (part,), title=title),), result)


def require_allowed(registration: ModelRegistration, caller: Caller, roots: list[Path]) -> None:
    """Refuse server paths and code to callers who may not name them."""
    if Right.SERVER_PATHS in caller.rights:
        return
    if is_path(registration.architecture):
        raise PathNotAllowed("naming a function needs the right server-paths", field="architecture")
    if registration.weights is None:
        return
    path = Path(registration.weights).resolve()
    if path.suffix != ".safetensors" or not any(path.is_relative_to(root.resolve()) for root in roots):
        raise PathNotAllowed("these weights lie outside the import roots, or are no .safetensors", field="weights")
