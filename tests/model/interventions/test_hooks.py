"""Interventions reach the forward passes that asked for them, no others, and leave nothing behind."""

import threading
from collections import namedtuple

import pytest
import torch
from torch import nn

from contracts.errors import UnknownLayer
from contracts.model import Layer
from contracts.steering import FoldedLayer, LayerRunsAgain, NotSteerable, RowsDoNotFit, WidthMismatch
from services.model.capture.folding import fold_batch_norm
from services.model.capture.hooks import captured
from services.model.interventions import median_norms, prepared, steered
from services.model.interventions.hooks import replaced
from tests.model.interventions.nets import conv_net, hooks_of, sequence_net, step


def test_no_hook_is_left_after_a_block():
    net, batch = conv_net()
    with steered(net, [step("conv", [1.0] * 6)]):
        assert hooks_of(net) > 0
        net(batch)
    assert hooks_of(net) == 0


@pytest.mark.parametrize("where", ["forward", "block", "unknown layer"])
def test_an_exception_leaves_no_hook_and_the_next_answer_is_quiet(where):
    net, batch = conv_net()
    quiet = net(batch)
    plan = [step("conv", [1.0] * 6), step("nowhere" if where == "unknown layer" else "head", [1.0] * 5)]
    with pytest.raises((RuntimeError, ValueError, UnknownLayer)), steered(net, plan):
        if where == "forward":
            net(batch[:, :2])
        raise ValueError("in the block")
    assert hooks_of(net) == 0 and torch.equal(net(batch), quiet)


def test_requests_in_other_threads_are_not_changed():
    net, batch = conv_net()
    quiet = net(batch)
    strengths = [0.5, 1.0, 2.0, 4.0]
    expected = {}
    for strength in strengths:
        with steered(net, [step("conv", [1.0] * 6, strength=strength)]):
            expected[strength] = net(batch)
    wrong, start = [], threading.Barrier(8)

    def steer(strength):
        start.wait()
        for _ in range(40):
            with steered(net, [step("conv", [1.0] * 6, strength=strength)]):
                if not torch.equal(net(batch), expected[strength]):
                    wrong.append(strength)

    def look():
        start.wait()
        for _ in range(80):
            if not torch.equal(net(batch), quiet):
                wrong.append("quiet")

    threads = [threading.Thread(target=steer, args=(s,)) for s in strengths]
    threads += [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and hooks_of(net) == 0


def test_one_hook_serves_all_requests_of_a_module():
    net, _ = conv_net()
    with steered(net, [step("conv", [1.0] * 6)]):
        once = hooks_of(net)
        with steered(net, [step("conv", [2.0] * 6)]):
            assert hooks_of(net) == once


def test_nested_blocks_act_one_after_the_other():
    net, batch = conv_net()
    with (
        steered(net, [step("head", [1.0, 0, 0, 0, 0], "set", 2.0)]),
        steered(net, [step("head", [1.0, 0, 0, 0, 0], "scale", 3.0)]),
    ):
        assert net(batch)[:, 0].tolist() == pytest.approx([6.0] * 4, abs=1e-5)


def test_a_generator_may_enter_the_block_anew_for_every_pass_in_another_thread():
    net, batch = conv_net()
    steering = prepared(net, [step("head", [1.0, 0, 0, 0, 0], "set", 2.0)])
    found = []

    def passes():
        for _ in range(2):
            with steering.active():
                out = net(batch)
            yield out

    stream = passes()
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(next(stream)))
        thread.start()
        thread.join()
    assert [float(out[0, 0]) for out in found] == pytest.approx([2.0, 2.0])
    assert hooks_of(net) == 0


@pytest.mark.parametrize("first", ["capture", "steer"])
def test_capturing_sees_the_changed_activations_in_either_order(first):
    net, batch = conv_net()
    layer = Layer(name="conv", kind="map", module="Conv2d", width=6, signed=True, pooling="mean")
    plan = [step("conv", [0, 0, 1.0, 0, 0, 0], "set", 3.0)]
    if first == "capture":
        with captured(net, [layer]) as kept, steered(net, plan):
            net(batch)
    else:
        with steered(net, plan), captured(net, [layer]) as kept:
            net(batch)
    assert kept.take()["conv"].values[:, 2].tolist() == pytest.approx([3.0] * 4, abs=1e-5)


def test_an_unknown_layer_is_refused_with_the_closest_names():
    net, _ = conv_net()
    with pytest.raises(UnknownLayer) as caught:
        prepared(net, [step("cnov", [1.0] * 6)])
    assert caught.value.facts["closest"] == ["conv"] and caught.value.field == "target.layer"


def test_a_folded_convolution_is_refused_and_its_neighbours_are_not():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval()
    batch = torch.randn(2, 3, 4, 4)
    assert fold_batch_norm(net, batch)
    with pytest.raises(FoldedLayer, match="0 was folded"):
        prepared(net, [step("0", [1.0] * 4)])
    with steered(net, [step("2", [1.0, 0, 0, 0], "set", 2.0)]):
        assert torch.allclose(net(batch)[:, 0], torch.tensor(2.0))


def test_a_layer_that_runs_twice_a_pass_is_refused():
    shared = nn.Linear(3, 3)
    net = nn.Sequential(shared, shared)
    with pytest.raises(LayerRunsAgain), steered(net, [step("0", [1.0] * 3)]):
        net(torch.ones(1, 3))


def test_a_direction_of_another_width_and_a_batch_of_another_length_are_refused():
    net, batch = conv_net()
    with pytest.raises(WidthMismatch, match="6 components, not 5"), steered(net, [step("conv", [1.0] * 5)]):
        net(batch)
    with pytest.raises(RowsDoNotFit, match="3 rows"), steered(net, rows=[[step("conv", [1.0] * 6)], [], []]):
        net(batch)


def test_a_tensor_is_replaced_wherever_a_module_puts_it():
    old, new, other = torch.zeros(1), torch.ones(1), torch.zeros(1)
    named = namedtuple("Out", "hidden rest")
    assert replaced(old, old, new) is new
    assert replaced((old, other), old, new) == (new, other)
    assert replaced(named(old, 3), old, new) == named(new, 3)
    given = {"hidden": old, "rest": other}
    assert replaced(given, old, new)["hidden"] is new and given["hidden"] is old
    with pytest.raises(NotSteerable, match="tuple holds no tensor"):
        replaced((other,), old, new)


def test_a_decoder_layer_that_puts_out_a_tuple_is_steered():
    net, ids = sequence_net()
    with steered(net, [step("first", [1.0, 0, 0, 0], "set", 2.0)]):
        found = net(ids)
    moved = net.embed(ids).clone()
    moved[..., 0] = 2.0
    assert torch.allclose(found, net.second(moved), atol=1e-6)


def test_the_unit_of_strengths_is_the_median_norm_of_the_kept_vectors():
    net = nn.Sequential(nn.Identity())
    h = torch.tensor([[[300.0, 400.0], [3.0, 4.0], [0.0, 1.0], [6.0, 8.0]]])
    kept = torch.tensor([[False, True, True, True]])
    assert median_norms(net, ["0"], lambda: net(h), kept=kept) == {"0": 5.0}
    assert hooks_of(net) == 0
