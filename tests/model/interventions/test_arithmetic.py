"""What each change does to activations, against values worked out by hand."""

import math

import pytest
import torch
from torch import nn

from contracts.steering import (
    Condition,
    ConditionNotSeen,
    KeptPlaces,
    NonFiniteSteering,
    PlacesDoNotFit,
    Region,
    TokenPlaces,
)
from services.model.interventions import prepared, steered
from tests.model.interventions.nets import conv_net, sequence_net, step

H = torch.tensor([[3.0, 4.0, -1.0]])


def changed(one, h=H):
    net = nn.Sequential(nn.Identity())
    with steered(net, [one]):
        return net(h)


@pytest.mark.parametrize(
    ("change", "strength", "expected"),
    [
        ("add", 2.0, [3.0 + 1.2, 4.0 + 1.6, -1.0]),
        ("ablate", 1.0, [0.0, 0.0, -1.0]),
        ("ablate", 0.5, [1.5, 2.0, -1.0]),
        ("scale", 3.0, [9.0, 12.0, -1.0]),
        ("set", -5.0, [-3.0, -4.0, -1.0]),
        ("clamp", 1.0, [0.6, 0.8, -1.0]),
        ("clamp", 7.0, [3.0, 4.0, -1.0]),
    ],
)
def test_a_change_along_a_direction_has_the_value_worked_out_by_hand(change, strength, expected):
    found = changed(step("0", [3.0, 4.0, 0.0], change, strength))  # <h, v> = 5
    assert torch.allclose(found, torch.tensor([expected]), atol=1e-6)


def test_one_side_of_a_unit_is_changed_only_where_it_is_active():
    h = torch.tensor([[2.0, 1.0], [-2.0, 1.0]])
    found = changed(step("0", [-1.0, 0.0], "ablate", one_sided=True), h)
    assert found.tolist() == [[2.0, 1.0], [0.0, 1.0]]


def test_the_old_norm_can_be_kept():
    found = changed(step("0", [1.0, 0.0, 0.0], "add", 5.0, keep_norm=True))
    assert math.isclose(float(found.norm()), float(H.norm()), rel_tol=1e-6)
    assert torch.allclose(found / found.norm(), torch.tensor([8.0, 4.0, -1.0]) / 9.0)


@pytest.mark.parametrize(("change", "neutral"), [("add", 0.0), ("ablate", 0.0), ("scale", 1.0)])
def test_a_neutral_strength_keeps_every_bit(change, neutral):
    net, batch = conv_net()
    quiet = net(batch)
    with steered(net, [step("conv", [1.0, 2.0, 0.0, 0.0, 0.0, -1.0], change, neutral)]):
        assert torch.equal(net(batch), quiet)


def test_each_row_of_a_batch_gets_its_own_direction_change_and_strength():
    net, batch = conv_net()
    plans = [
        [step("conv", [1.0, 0, 0, 0, 0, 0], "add", 2.0), step("head", [0, 1.0, 0, 0, 0], "set", 3.0)],
        [],
        [step("conv", [0, 1.0, 1.0, 0, 0, 0], "ablate"), step("conv", [0, 0, 0, 1.0, 0, 0], "scale", -2.0)],
        [step("act", [0, 0, 0, 0, 0, 1.0], "clamp", 0.1, keep_norm=True)],
    ]
    with steered(net, rows=plans):
        together = net(batch)
    for row, plan in enumerate(plans):
        with steered(net, plan):
            assert torch.allclose(together[row], net(batch[row : row + 1])[0], atol=1e-6)
    assert torch.equal(together[1], net(batch)[1])
    assert torch.allclose(together[0, 1], torch.tensor(3.0))


def test_rows_that_have_ended_leave_the_batch_with_their_plans():
    net, batch = conv_net()
    plans = [[step("head", [1.0, 0, 0, 0, 0], "set", 9.0)], [], [step("head", [0, 1.0, 0, 0, 0], "set", 7.0)]]
    steering = prepared(net, rows=plans)
    steering.keep_rows([2, 1])
    with steering.active():
        found = net(batch[:2])
    assert float(found[0, 1]) == pytest.approx(7.0) and torch.equal(found[1], net(batch[:2])[1])
    steering.keep_rows([1])
    with steering.active():
        assert torch.equal(net(batch[:1]), net(batch[:1]))


def test_only_the_places_of_a_region_change():
    net, batch = conv_net()
    kept = []
    net.act.register_forward_hook(lambda module, given, out: kept.append(out))
    net(batch)
    with steered(net, [step("act", [1.0, 0, 0, 0, 0, 0], "add", 5.0, places=Region(left=0.5, bottom=0.25))]):
        net(batch)
    moved = (kept[1] - kept[0])[:, 0]
    expected = torch.zeros(8, 8)
    expected[:2, 4:] = 5.0
    assert torch.allclose(moved, expected.expand(4, 8, 8), atol=1e-6)
    assert torch.equal(kept[0][:, 1:], kept[1][:, 1:])


def test_a_region_of_patches_leaves_the_class_token_alone():
    net = nn.Sequential(nn.Identity())
    h = torch.zeros(1, 5, 2)
    with steered(net, [step("0", [1.0, 0.0], places=Region(top=0.5))], special_tokens=1):
        assert net(h)[0, :, 0].tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    with steered(net, [step("0", [1.0, 0.0], places=KeptPlaces())], special_tokens=1):
        assert net(h)[0, :, 0].tolist() == [0.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("layer", "width", "places"),
    [("head", 5, Region()), ("act", 6, TokenPlaces(at=[0])), ("head", 5, TokenPlaces(at=[0]))],
)
def test_places_that_a_layer_does_not_have_are_refused(layer, width, places):
    net, batch = conv_net()
    with pytest.raises(PlacesDoNotFit), steered(net, [step(layer, [1.0] * width, places=places)]):
        net(batch)


def first_of(steering, net, ids, **frame):
    kept = []
    handle = net.first.register_forward_hook(lambda module, given, out: kept.append(out[0]))
    with steering.active():
        steering.at(**frame)
        net(ids)
    handle.remove()
    return kept[0]


def test_tokens_are_counted_by_absolute_position_during_cached_generation():
    net, ids = sequence_net()
    steering = prepared(net, [step("first", [0, 0, 0, 1.0], places=TokenPlaces(at=[6]))])
    for position in (5, 6):
        moved = first_of(steering, net, ids[:, :1], positions=torch.tensor([[position], [position + 1]]))
        quiet = net.embed(ids[:, :1])
        expected = [float(position == 6), float(position == 5)]
        assert (moved - quiet)[:, 0, 3].tolist() == pytest.approx(expected, abs=1e-6)


def test_beginnings_and_templates_are_left_out_of_the_kept_tokens():
    net, ids = sequence_net()
    kept = torch.tensor([[False, True, True, True, False], [False, False, True, True, True]])
    steering = prepared(net, [step("first", [1.0, 0, 0, 0], places=KeptPlaces())])
    moved = first_of(steering, net, ids, kept=kept) - net.embed(ids)
    assert torch.equal(moved[..., 0] > 0.5, kept)
    assert torch.equal(moved[~kept], torch.zeros(4, 4))


def test_a_change_halves_with_every_half_life_of_generated_tokens():
    net, ids = sequence_net()
    steering = prepared(net, [step("first", [1.0, 0, 0, 0], strength=8.0, half_life=2.0)])
    moved = first_of(steering, net, ids[:1], prompt=torch.tensor([2])) - net.embed(ids[:1])
    expected = torch.tensor([8.0, 8.0, 8.0 * 0.5**0.5, 4.0, 8.0 * 0.5**1.5])
    assert torch.allclose(moved[0, :, 0], expected, atol=1e-5)


def test_a_condition_on_another_unit_decides_for_each_row_or_each_place():
    net, batch = conv_net()
    kept = []
    net.conv.register_forward_hook(lambda module, given, out: kept.append(out[:, 2]))
    quiet = net(batch)
    level = float(kept[0].amax((1, 2)).sort().values[1])  # two rows are above it
    on = Condition(layer="conv", index=2, above=level + 1e-6)
    with steered(net, [step("head", [1.0, 0, 0, 0, 0], strength=4.0, condition=on)]):
        moved = net(batch) - quiet
    assert torch.allclose(moved[:, 0], 4.0 * (kept[0].amax((1, 2)) > level + 1e-6).float(), atol=1e-5)
    assert moved[:, 0].count_nonzero() == 2
    seen = []
    net.act.register_forward_hook(lambda module, given, out: seen.append(out[:, 0]))
    net(batch)
    at = on.model_copy(update={"scope": "place", "above": 0.3})
    with steered(net, [step("act", [1.0, 0, 0, 0, 0, 0], strength=4.0, condition=at)]):
        net(batch)
    assert torch.equal((seen[1] - seen[0]) > 2, kept[0] > 0.3)


def test_a_condition_on_a_later_layer_is_refused_in_the_first_pass_and_in_the_second():
    net, batch = conv_net()
    late = Condition(layer="head", index=0, above=0.0)
    with steered(net, [step("conv", [1.0] * 6, condition=late)]):
        for _ in range(2):
            with pytest.raises(ConditionNotSeen, match="head has not run before conv"):
                net(batch)


def test_what_is_not_finite_any_more_is_refused_with_layer_and_row():
    net, batch = conv_net()
    with (
        pytest.raises(NonFiniteSteering) as caught,
        steered(net, rows=[[], [], [step("act", [1.0] * 6, "scale", 3e38)], []]),
    ):
        net(batch * 100)
    assert caught.value.facts == {"layer": "act", "rows": [2]}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_activations_stay_so_and_unsteered_rows_keep_every_bit(dtype):
    net = nn.Sequential(nn.Identity())
    h = torch.randn(2, 3, 8).to(dtype)
    with steered(net, rows=[[], [step("0", [1.0] * 8, "ablate")]]):
        found = net(h)
    assert found.dtype is dtype and torch.equal(found[0], h[0])
    assert float(found[1].float().sum(-1).abs().max()) < 0.05


def test_gradients_flow_through_a_steered_layer():
    net, batch = conv_net()
    leaf = batch.clone().requires_grad_()
    with steered(net, [step("conv", [1.0] * 6, "ablate")]):
        (slope,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    (quiet,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    assert slope.abs().sum() > 0 and not torch.allclose(slope, quiet)
