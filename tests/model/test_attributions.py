"""Attribution of a registered model's predictions, as the service answers."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from contracts.attribution import (
    AttributionOverBudget,
    AttributionRequest,
    ComponentRequest,
    SampleOf,
    UnknownMethod,
    UnknownOutput,
)
from contracts.base import Binary, Caller, Right
from contracts.data import Sample
from contracts.errors import Unavailable, UnknownLayer, UnknownModel, UnknownSample, UnsafePicture
from contracts.model import ModelRegistration, Preprocessing
from services.kit.blobs import Blobs
from services.kit.db import Database, Table
from services.kit.settings import Settings
from services.kit.stages import StageRegistry, Work
from services.model.adapters.registry import build
from services.model.attribution import attribute
from services.model.attribution.baselines import METHODS
from services.model.attribution.composites import COMPOSITES
from services.model.component_relevance import spread
from services.model.planning import plan_registration
from services.model.preprocess import to_batch
from services.model.service import Models
from services.model.stages import stages

ME = Caller(user="u", workspace="w", rights=frozenset({Right.REGISTER, Right.SERVER_PATHS, Right.SEARCH}))
HOW = Preprocessing(resize=32, crop=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
NETS = {
    "vit": ("timm:vit_tiny_patch16_224", VIT),
    "cnn": ("timm:resnet10t", {"num_classes": 5, "stem_width": 8, "channels": [8, 8, 16, 16]}),
}


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


class Pictures:
    """Three pictures as a data service gives them."""

    def sample(self, caller, dataset, index):
        if index >= 3:
            raise UnknownSample(f"there is no sample {index}", field="sample")
        return Sample(index=index, name="p.png", sha256="a" * 64, width=36, height=40)

    def picture(self, caller, dataset, index):
        return Binary(encoded(picture(index)), "image/png")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    database = Database(f"sqlite:///{home}/x.sqlite")
    Table.metadata.create_all(database.engine)
    models = Models(database, Blobs(home / "blobs"), Settings(home=home), data=Pictures())
    registry = StageRegistry(stages(models))
    for name, (architecture, config) in NETS.items():
        torch.manual_seed(0)
        net = build(architecture, config).model
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else None
        save_file(net.state_dict(), home / f"{name}.safetensors")
        asked = ModelRegistration(
            name=name, architecture=architecture, config=config, weights=str(home / f"{name}.safetensors"),
            preprocessing=HOW,
        )  # fmt: skip
        part = plan_registration(asked, caller=ME, models=models, registry=registry).stages[0].parts[0]
        work = Work("w", part.spec, {}, frozenset(part.outputs), models.blobs, lambda units: None, part.outputs)
        registry["register-model"].run(work)
        with models.database.writing() as db:
            for move in work.at_publish:
                move(db)
    yield models
    database.close()


def ask(**fields):
    return AttributionRequest(**{"sample": SampleOf(dataset="d", index=1), "steps": 4} | fields)


def test_methods_are_the_baselines_and_every_composite(models):
    listed = {method.name: method for method in models.attribution_methods(ME).items}
    assert listed.keys() == METHODS.keys() | COMPOSITES.keys()
    assert listed["gradient"].family == "baseline" and listed["epsilon"].family == "composite"
    assert all(method.passes > 0 and method.aim for method in listed.values())


@pytest.mark.parametrize("net", NETS)
def test_maps_are_those_of_the_library(models, net):
    methods = ["gradient_x_input", "gradcam", "epsilon"]
    maps = models.attribution_maps(ME, net, ask(methods=methods, target=2))
    batch = to_batch([picture(1)], HOW)
    found = models.model(ME, net)
    with models.loaded(found.ref) as built:
        for name in ("gradient_x_input", "gradcam"):
            assert np.allclose(maps[name], METHODS[name](built.model, batch, 2)[0].numpy(), atol=1e-6)
        expected = attribute(built.model, batch, 2, "epsilon").relevance[0].numpy()
    assert np.allclose(maps["epsilon"], expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("net", NETS)
def test_an_answer_carries_scores_pictures_and_quality(models, net):
    answer = models.attribute(ME, net, ask(methods=["integrated_gradients", "gradcam", "epsilon"]))
    assert answer.target == answer.top[0]
    assert [each.score for each in answer.top] == sorted((each.score for each in answer.top), reverse=True)
    assert sum(each.probability for each in answer.top) == pytest.approx(1, abs=1e-5)
    gradients, cam, lrp = answer.maps
    assert Image.open(io.BytesIO(gradients.heatmap)).size == Image.open(io.BytesIO(answer.picture)).size == (32, 32)
    assert (gradients.rows, gradients.columns) == (32, 32)
    assert cam.rows < 32 and cam.quality.completeness_gap is None
    assert gradients.quality.completeness_gap < 0.5
    assert lrp.quality.conservation_gap < 1e-5 and lrp.quality.forward_change < 1e-4
    for each in answer.maps:
        assert 0 <= each.quality.deletion <= 1 and 0 <= each.quality.insertion <= 1


def test_a_picture_is_attributed_like_the_same_sample(models):
    sent = models.attribute(ME, "cnn", ask(sample=None, picture=base64.b64encode(encoded(picture(1)))))
    stored = models.attribute(ME, "cnn", ask())
    assert [each.heatmap for each in sent.maps] == [each.heatmap for each in stored.maps]
    assert sent.target == stored.target


def test_layers_show_their_components_by_the_rule_asked_for(models):
    plain = models.attribute(ME, "cnn", ask(methods=["gradient"], layers=["layer4"], components=3)).layers[0]
    assert plain.rule == "activation_x_gradient" and len(plain.components) == 3
    ruled = models.attribute(ME, "cnn", ask(methods=["gradient", "epsilon"], layers=["layer4"])).layers[0]
    assert ruled.rule == "epsilon" and len(ruled.components) == 10
    sizes = [abs(each.relevance) for each in ruled.components]
    assert sizes == sorted(sizes, reverse=True)
    tokens = models.attribute(ME, "vit", ask(methods=["epsilon"], layers=["blocks.0"], components=24)).layers[0]
    assert sum(abs(each.share) for each in tokens.components) == pytest.approx(1, abs=1e-4)


def test_components_are_checked_by_ablation(models):
    query = ComponentRequest(layer="layer4", dataset="d", samples=[0, 1, 2], target=3, ablate=512)
    answer = models.component_relevance(ME, "cnn", query)
    arrays = models.component_arrays(ME, "cnn", query)
    assert answer.width == answer.checked == 16 and answer.targets == [3, 3, 3]
    assert arrays["relevance"].shape == arrays["effects"].shape == (3, 16)
    assert sorted(arrays["components"]) == list(range(16))
    found = models.model(ME, "cnn")
    batch = to_batch([picture(index) for index in range(3)], HOW)
    with models.loaded(found.ref) as built, torch.no_grad():
        plain = built.model(batch)[:, 3]
        component = int(arrays["components"][0])
        keep = torch.ones(1, 16, 1, 1)
        keep[0, component] = 0
        handle = built.model.layer4.register_forward_hook(lambda module, given, output: output * keep)
        without = built.model(batch)[:, 3]
        handle.remove()
    assert np.allclose(arrays["effects"][:, 0], (plain - without).numpy(), atol=1e-4)
    # what follows the last stage is linear, so that relevance is the effect
    order = arrays["components"]
    assert np.allclose(arrays["relevance"][:, order], arrays["effects"], atol=1e-3)
    assert answer.spearman == pytest.approx(1, abs=0.01)
    assert answer.deletion < answer.random


def test_lrp_ranks_components_too(models):
    query = ComponentRequest(layer="blocks.1", dataset="d", samples=[0], rule="epsilon", ablate=0)
    answer = models.component_relevance(ME, "vit", query)
    assert (answer.checked, answer.spearman, answer.components[0].effect) == (0, None, None)
    assert sum(abs(each.share) for each in answer.components) == pytest.approx(1, abs=1e-4)


def test_half_of_the_ablated_components_are_spread_over_the_ranks():
    chosen = spread(torch.arange(100.0), 10).tolist()
    assert chosen[:5] == [99, 98, 97, 96, 95]
    assert (chosen[5], chosen[-1]) == (94, 0)
    assert spread(torch.arange(3.0), 10).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("model", "fields", "refusal"),
    [
        ("absent", {}, UnknownModel),
        ("cnn", {"methods": ["gradcamm"]}, UnknownMethod),
        ("cnn", {"layers": ["layer5"]}, UnknownLayer),
        ("cnn", {"target": 5}, UnknownOutput),
        ("cnn", {"sample": SampleOf(dataset="d", index=3)}, UnknownSample),
        ("cnn", {"sample": None, "picture": base64.b64encode(b"no picture")}, UnsafePicture),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_exist_is_refused(models, model, fields, refusal):
    with pytest.raises(refusal):
        models.attribute(ME, model, ask(**fields))


def test_a_request_beyond_the_budget_is_refused_with_both_figures(models, monkeypatch):
    monkeypatch.setattr("services.model.attributions.LIMIT", 100_000)
    with pytest.raises(AttributionOverBudget) as refusal:
        models.attribute(ME, "cnn", ask(methods=["integrated_gradients"], steps=2))
    assert refusal.value.facts == {"needed": (96 + 6) * 32 * 32, "limit": 100_000}


def test_both_sources_and_neither_are_refused():
    for fields in ({"picture": base64.b64encode(b"x")}, {"sample": None}):
        with pytest.raises(ValueError, match="either sample or picture"):
            ask(**fields)


def test_without_a_data_service_samples_are_unavailable(tmp_path):
    from services.model.attributions import sample_picture

    alone = Models(Database(f"sqlite:///{tmp_path}/x.sqlite"), Blobs(tmp_path / "blobs"), Settings(home=tmp_path))
    with pytest.raises(Unavailable):
        sample_picture(alone, ME, SampleOf(dataset="d", index=0))
    alone.database.close()
