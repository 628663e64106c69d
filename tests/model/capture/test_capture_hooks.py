"""Capture: exact values, clean removal, nothing mixed between threads."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from contracts.errors import LayoutError, NonFiniteActivation, UnknownPooling
from contracts.model import LayerKind
from services.model.capture.catalogue import catalogue
from services.model.capture.hooks import captured, evaluating, first_tensor, require_finite
from services.model.capture.pooling import pool
from services.model.errors import CalledAgain


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("pooling", ["max", "mean", "sum", "abs-max"])
@pytest.mark.parametrize("kind", [LayerKind.MAP, LayerKind.MAP_LAST])
def test_pools_over_maps_agree_with_a_float64_reference(pooling, kind):
    x = torch.randn(4, 5, 6, 7)
    flat = (x if kind is LayerKind.MAP else x.permute(0, 3, 1, 2)).double().flatten(2).numpy()
    due = {"max": flat.max(2), "mean": flat.mean(2), "sum": flat.sum(2), "abs-max": abs(flat).max(2)}[pooling]
    got = pool(x, kind=kind, pooling=pooling)
    np.testing.assert_allclose(got.values.numpy(), due, atol=1e-5)
    if pooling == "max":
        np.testing.assert_array_equal(got.positions.numpy(), flat.argmax(2))


def test_pools_over_tokens_leave_special_tokens_out():
    x = torch.randn(3, 9, 4)
    got = {p: pool(x, kind=LayerKind.TOKENS, pooling=p, special_tokens=1).values for p in
           ("token-mean", "token-max", "token-absmax", "token:0")}  # fmt: skip
    torch.testing.assert_close(got["token-mean"], x[:, 1:].mean(1))
    assert torch.equal(got["token-max"], x[:, 1:].amax(1)) and torch.equal(got["token-absmax"], x[:, 1:].abs().amax(1))
    assert torch.equal(got["token:0"], x[:, 0])
    with pytest.raises(UnknownPooling):
        pool(x, kind=LayerKind.TOKENS, pooling="token:9")


def test_a_bfloat16_maximum_is_the_cast_maximum():
    x = torch.randn(2, 3, 8, 8).bfloat16()
    assert torch.equal(pool(x, kind=LayerKind.MAP, pooling="max").values, x.float().amax((2, 3)))


def test_hooks_and_training_flags_are_as_before_after_an_exception():
    model = small_model().train()
    layers = catalogue(model, torch.randn(2, 3, 8, 8), pick=first_tensor)
    with pytest.raises(ZeroDivisionError), evaluating(model), captured(model, layers):
        raise ZeroDivisionError
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_two_runs_of_a_training_model_are_equal():
    model, batch = small_model().train(), torch.randn(2, 3, 8, 8)
    layer = catalogue(model, batch, pick=first_tensor)[-1]
    runs = []
    for _ in range(2):
        with evaluating(model), captured(model, [layer]) as kept:
            model(batch)
        runs.append(kept.take()[layer.name].values)
    assert torch.equal(*runs) and model.training


def test_threads_that_capture_different_layers_do_not_mix():
    model = small_model().eval()
    layers = catalogue(model, torch.randn(2, 3, 8, 8), pick=first_tensor)
    seen, barrier = {}, threading.Barrier(2)

    def run(layer, batch):
        with torch.inference_mode(), captured(model, [layer]) as kept:
            barrier.wait()
            model(batch)
            barrier.wait()
        seen[layer.name] = {name: len(pooled.values) for name, pooled in kept.take().items()}

    threads = [threading.Thread(target=run, args=(layers[i], torch.randn(2 + i, 3, 8, 8))) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"0": {"0": 2}, "1": {"1": 3}}


def test_attention_outputs_and_linear_layers_are_captured():
    model = nn.ModuleDict({"a": nn.MultiheadAttention(8, 2, batch_first=True)})
    model.forward = lambda x: model["a"](x, x, x)[0]
    assert [(x.name, x.kind, x.width) for x in catalogue(model, torch.randn(2, 5, 8), pick=first_tensor)][-1] == (
        "a", LayerKind.TOKENS, 8,
    )  # fmt: skip


def test_wrong_width_repeated_calls_and_nan_are_typed():
    model = small_model().eval()
    layer = catalogue(model, torch.randn(2, 3, 8, 8), pick=first_tensor)[0]
    with pytest.raises(LayoutError), captured(model, [layer.model_copy(update={"width": 7})]):
        model(torch.randn(1, 3, 8, 8))
    with pytest.raises(CalledAgain), captured(model, [layer]):
        model(torch.randn(1, 3, 8, 8))
        model(torch.randn(1, 3, 8, 8))
    values = torch.zeros(3, 4)
    values[1, 2] = float("nan")
    with pytest.raises(NonFiniteActivation) as refusal:
        require_finite("x", values, 10)
    assert refusal.value.facts == {"layer": "x", "channel": 2, "sample": 11}
