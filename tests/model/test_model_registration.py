"""Registering a model for real, and reading what came of it."""

import pytest
import torch

from contracts.base import Caller, Right
from contracts.errors import PathNotAllowed, UnknownArchitecture, WrongWeights
from contracts.model import LayerKind, ModelRegistration
from services.kit.blobs import Blobs
from services.kit.db import Database, Table
from services.kit.settings import Settings
from services.kit.stages import StageRegistry, Work
from services.model.adapters.registry import build
from services.model.capture.hooks import captured, evaluating
from services.model.errors import BadConfig
from services.model.planning import plan_registration
from services.model.service import Models
from services.model.stages import stages
from services.model.weights import draw_weights, require_fitting


@pytest.fixture
def models(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.sqlite")
    Table.metadata.create_all(database.engine)
    yield Models(database, Blobs(tmp_path / "blobs"), Settings(home=tmp_path))
    database.close()


def caller(*rights):
    return Caller(user="u", workspace="w", rights=frozenset({Right.REGISTER, *rights}))


def register(models, **fields):
    registry = StageRegistry(stages(models))
    part = plan_registration(
        ModelRegistration(**fields), caller=caller(Right.SERVER_PATHS), models=models, registry=registry
    ).stages[0].parts[0]  # fmt: skip
    work = Work("w", part.spec, {}, frozenset(part.outputs), models.blobs, lambda units: None, part.outputs)
    registry["register-model"].run(work)
    with models.database.writing() as db:
        for move in work.at_publish:
            move(db)
    return models.model(caller(), work.result)


def test_the_packaged_efficientnet_recognises_a_known_photograph(models):
    from PIL import Image

    from services.kit.packaged import package_folder
    from services.model.preprocess import to_batch

    model = register(models, name="lite0", architecture="timm:tf_efficientnet_lite0")
    layer = {layer.name: layer for layer in model.layers}
    assert layer["conv_head"].kind is LayerKind.MAP and layer["conv_head"].width == 1280
    assert layer["classifier"].pooling == "identity" and layer["classifier"].signed
    coffee = Image.open(package_folder("skimage") / "data" / "coffee.png")
    with models.loaded(model.ref) as built, evaluating(built.model):
        with captured(built.model, [layer["conv_head"]]) as kept:
            best = int(built.model(to_batch([coffee], model.ref.preprocessing)).argmax())
        pooled = kept.take()["conv_head"]
    assert model.classes[best].split(",")[0] in {"espresso", "cup", "coffee mug"}
    assert pooled.values.shape == (1, 1280) and int(pooled.positions.max()) < 49


def test_weights_are_never_random(models):
    with pytest.raises(WrongWeights, match="no package brings"):
        register(models, name="r", architecture="timm:resnet18")


def test_a_seed_draws_weights_to_train(models):
    told = {"architecture": "spiking:cnn", "config": {"side": 16, "num_classes": 4}}
    one, other = (register(models, name=f"seed {seed}", initial_seed=seed, **told) for seed in (3, 4))
    assert one.ref.weights_sha256 != other.ref.weights_sha256
    rates = [layer for layer in one.layers if layer.name.startswith("rates.")]
    assert [layer.width for layer in rates] == [16, 32, 4] and not any(layer.signed for layer in rates)
    before = torch.get_rng_state()
    drawn = draw_weights(told["architecture"], told["config"], 3)[1]
    assert torch.equal(torch.get_rng_state(), before)
    with models.loaded(one.ref) as built:
        assert all(torch.equal(part, drawn[name]) for name, part in built.model.state_dict().items())


def test_weights_are_read_or_drawn(models):
    with pytest.raises(WrongWeights, match="not both"):
        register(models, name="r", architecture="spiking:mlp", initial_seed=0, weights="w.safetensors")


REFUSED = [
    ({"encoding": "loud"}, "constant, rate"),
    ({"steps": 0}, "between 1 and"),
    ({"steps": 2.5}, "integer"),
    ({"reset": "no"}, "zero"),
    ({"beta": 1.5}, "beta is 1.5"),
    ({"beta": "much"}, "cannot be built"),
    ({"threshold": 0}, "above 0"),
    ({"side": 3}, "halved 2 times"),
    ({"width": 3}, "width"),
]


@pytest.mark.parametrize(("config", "reason"), REFUSED)
def test_a_spiking_net_that_cannot_be_built_is_refused(config, reason):
    with pytest.raises(BadConfig, match=reason):
        build("spiking:cnn", config)


def test_an_unknown_name_comes_with_the_closest(models):
    with pytest.raises(UnknownArchitecture) as refusal:
        register(models, name="r", architecture="timm:resnet1")
    assert any("resnet" in near for near in refusal.value.facts["closest"])


def test_a_path_outside_the_roots_needs_a_right(models, tmp_path):
    asked = ModelRegistration(name="r", architecture="timm:resnet18", weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(PathNotAllowed):
        plan_registration(asked, caller=caller(), models=models, registry=StageRegistry(stages(models)))


def test_wrong_weights_name_the_tensors():
    built = build("timm:resnet18", {})
    state = dict(built.model.state_dict())
    with pytest.raises(WrongWeights, match=r"missing: fc\.bias"):
        require_fitting({name: part for name, part in state.items() if name != "fc.bias"}, built.model)
    state["fc.bias"] = torch.full_like(state["fc.bias"], float("nan"))
    with pytest.raises(WrongWeights, match=r"not finite: fc\.bias"):
        require_fitting(state, built.model)
