"""Weights of one's own: formats, names that are taken, listing page by page."""

import pytest
import torch
from safetensors.torch import save_file

from contracts.base import Caller, Right
from contracts.errors import Conflict, UnknownModel, WrongWeights
from contracts.model import ModelRegistration
from services.kit.blobs import Blobs
from services.kit.db import Database, Table
from services.kit.settings import Settings
from services.kit.stages import StageRegistry, Work
from services.model.adapters.registry import build
from services.model.planning import plan_registration
from services.model.service import Models
from services.model.stages import stages

CALLER = Caller(user="u", workspace="w", rights=frozenset({Right.REGISTER, Right.SERVER_PATHS}))
ARCHITECTURE = "timm:resnet10t"
CONFIG = {"num_classes": 3}


@pytest.fixture
def models(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.sqlite")
    Table.metadata.create_all(database.engine)
    yield Models(database, Blobs(tmp_path / "blobs"), Settings(home=tmp_path))
    database.close()


def state(seed=0):
    torch.manual_seed(seed)
    return {name: part.clone() for name, part in build(ARCHITECTURE, CONFIG).model.state_dict().items()}


def register(models, name, path):
    asked = ModelRegistration(name=name, architecture=ARCHITECTURE, config=CONFIG, weights=str(path))
    registry = StageRegistry(stages(models))
    plan = plan_registration(asked, caller=CALLER, models=models, registry=registry)
    part = plan.stages[0].parts[0]
    work = Work("w", part.spec, {}, frozenset(part.outputs), models.blobs, lambda units: None, part.outputs)
    registry["register-model"].run(work)
    with models.database.writing() as db:
        for move in work.at_publish:
            move(db)
    return models.model(CALLER, work.result)


def test_a_pth_file_gives_the_same_model_as_safetensors(models, tmp_path):
    save_file(state(), tmp_path / "a.safetensors")
    torch.save(state(), tmp_path / "a.pth")
    first = register(models, "own", tmp_path / "a.safetensors")
    second = register(models, "own", tmp_path / "a.pth")
    assert first.ref == second.ref
    assert first.layers[-1].width == 3


def test_a_name_or_content_that_is_taken_is_a_conflict(models, tmp_path):
    save_file(state(0), tmp_path / "a.safetensors")
    save_file(state(1), tmp_path / "b.safetensors")
    register(models, "own", tmp_path / "a.safetensors")
    with pytest.raises(Conflict, match="another model is named own"):
        register(models, "own", tmp_path / "b.safetensors")
    with pytest.raises(Conflict, match="registered as own"):
        register(models, "other", tmp_path / "a.safetensors")


def test_models_are_listed_page_by_page_newest_first(models, tmp_path):
    for seed in range(3):
        save_file(state(seed), tmp_path / f"{seed}.safetensors")
        register(models, f"own{seed}", tmp_path / f"{seed}.safetensors")
    first = models.models(CALLER, limit=2)
    last = models.models(CALLER, limit=2, cursor=first.next)
    assert [model.ref.name for model in [*first.items, *last.items]] == ["own2", "own1", "own0"]
    assert last.next is None
    stranger = CALLER.model_copy(update={"workspace": "elsewhere"})
    assert models.models(stranger).items == []
    with pytest.raises(UnknownModel):
        models.model(stranger, "own0")


def test_a_file_that_is_no_safetensors_is_refused_before_it_is_read(models, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(WrongWeights, match="no safetensors file"):
        register(models, "bad", tmp_path / "bad.safetensors")


def test_unexpected_and_misshapen_tensors_are_named(models, tmp_path):
    save_file({**state(), "extra": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WrongWeights, match="unexpected: extra"):
        register(models, "a", tmp_path / "a.safetensors")
    save_file({**state(), "fc.bias": torch.zeros(4)}, tmp_path / "b.safetensors")
    with pytest.raises(WrongWeights, match=r"another shape: fc\.bias"):
        register(models, "b", tmp_path / "b.safetensors")
