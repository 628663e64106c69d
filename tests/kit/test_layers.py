"""Choosing layers of a model by name."""

from datetime import UTC, datetime

import pytest

from contracts.errors import UnknownLayer, UnknownPooling
from contracts.model import Layer, LayerKind, Model, ModelRef, Preprocessing
from services.kit.layers import resolve_layers

DIGEST = "0" * 64


def layer(name, kind, pooling):
    return Layer(name=name, kind=kind, module="M", width=4, signed=False, pooling=pooling)


MODEL = Model(
    ref=ModelRef(
        id="m_0", name="m", architecture="timm:x", weights_sha256=DIGEST, preprocess_sha256=DIGEST, model_sha256=DIGEST,
        preprocessing=Preprocessing(resize=8, crop=8, mean=(0, 0, 0), std=(1, 1, 1)),
    ),
    layers=[
        layer("conv1", LayerKind.MAP, "max"),
        layer("norm", LayerKind.TOKENS, "token-mean"),
        layer("head", LayerKind.VECTOR, "identity"),
    ],
    parameters=1, lineage=DIGEST, created_at=datetime.now(UTC),
)  # fmt: skip


def test_layers_come_in_the_order_asked_for_and_once():
    found = resolve_layers(MODEL, ["head", "conv1", "head"], {"conv1": "mean"})
    assert [(each.name, each.pooling) for each in found] == [("head", "identity"), ("conv1", "mean")]
    assert MODEL.layers[0].pooling == "max"


def test_a_wrong_name_comes_with_the_closest():
    with pytest.raises(UnknownLayer) as refusal:
        resolve_layers(MODEL, ["conv2"], {})
    assert refusal.value.facts["closest"][0] == "conv1"


def test_pooling_for_a_layer_not_asked_for_is_refused():
    with pytest.raises(UnknownLayer):
        resolve_layers(MODEL, ["conv1"], {"head": "identity"})


@pytest.mark.parametrize(
    ("name", "pooling"),
    [("conv1", "token-mean"), ("conv1", "token:0"), ("norm", "max"), ("head", "mean"), ("head", "nonsense")],
)
def test_pooling_that_does_not_fit_names_what_does(name, pooling):
    with pytest.raises(UnknownPooling) as refusal:
        resolve_layers(MODEL, [name], {name: pooling})
    assert refusal.value.facts["fitting"]


def test_one_token_of_a_token_layer_can_be_chosen():
    assert resolve_layers(MODEL, ["norm"], {"norm": "token:3"})[0].pooling == "token:3"
