"""Rules attach to function calls; the model stays as it was."""

import threading

import pytest
import torch
from torch import nn

from services.model.attribution import COMPOSITES, Assignment, Composite, Epsilon, Gamma, attribute
from services.model.attribution.errors import (
    BadInputs,
    FusedAttention,
    NoGradientPath,
    NoRule,
    TargetOutOfRange,
    TrainingMode,
    UnknownComposite,
    UnknownLayerName,
)
from services.model.errors import CalledAgain
from tests.model.attribution.nets import Block, FunctionalResidual, GatedLanguage, Transformer, doubles, mlp, seeded


def gradient_x_input(model, x, target):
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)
    return gradient * x


def test_lrp_0_is_gradient_x_input_through_functional_relus_inplace_sums_and_reuse():
    model, x = seeded(FunctionalResidual), doubles(2, 3, 6, 6)
    found = attribute(model, x, 1, "lrp0")
    torch.testing.assert_close(found.relevance, gradient_x_input(model, x, 1))
    torch.testing.assert_close(found.relevance, attribute(model, x, 1, "gradient_x_input").relevance)
    assert found.diagnostics.forward_change == 0


@pytest.mark.parametrize("rule", ["gamma", "alpha2_beta1", "cp_plus_abs", "stake_cap"])
def test_inplace_operations_are_explained_as_their_plain_twins(rule):
    inplace, x = seeded(FunctionalResidual), doubles(2, 3, 6, 6)
    plain = FunctionalResidual(inplace=False).double().eval()
    plain.load_state_dict(inplace.state_dict())
    torch.testing.assert_close(attribute(inplace, x, 1, rule).relevance, attribute(plain, x, 1, rule).relevance)


@pytest.mark.parametrize("rule", [name for name in COMPOSITES if not name.startswith("gradient")])
def test_every_composite_conserves_on_a_transformer_and_changes_no_output(rule):
    model, x = seeded(Transformer), doubles(2, 3, 8, 8)
    found = attribute(model, x, [1, 2], rule, path_mass=True)
    assert found.diagnostics.conservation_gap < 1e-9
    assert found.diagnostics.forward_change < 1e-13
    assert found.relevance.isfinite().all()
    torch.testing.assert_close(found.score, model(x)[torch.arange(2), torch.tensor([1, 2])].detach())


@pytest.mark.parametrize("rule", ["epsilon", "attnlrp", "cp_plus_abs", "anchored", "head_gate"])
def test_fused_module_and_written_out_attention_are_explained_alike(rule):
    x, maps = doubles(2, 3, 8, 8), []
    for how in ("sdpa", "module", "written out"):
        model = seeded(Transformer, how)
        maps.append(attribute(model, x, 0, rule).relevance)
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps[0], maps[2])


def test_the_model_is_unchanged_afterwards_even_after_an_exception():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            self.layer(x)
            raise RuntimeError("mine")

    model, x = seeded(Broken), doubles(1, 3)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="mine"):
        attribute(model, x, 0, layers=["layer"])
    assert not model.layer._forward_hooks
    assert not model.layer._forward_pre_hooks
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert torch.nn.functional.linear(x, model.layer.weight).grad_fn.name() == "MmBackward0"


def test_threads_do_not_see_each_others_rules():
    model, x = seeded(FunctionalResidual), doubles(2, 3, 6, 6)
    names = ["lrp0", "gamma", "zplus", "flat"] * 3
    alone = {name: attribute(model, x, 1, name, layers=["first"]) for name in set(names)}
    plain, found = model(x), {}

    def explain(index):
        found[index] = attribute(model, x, 1, names[index], layers=["first"])

    def use():
        found["plain"] = model(x)

    threads = [threading.Thread(target=explain, args=(index,)) for index in range(len(names))]
    threads.append(threading.Thread(target=use))
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert torch.equal(found["plain"], plain)
    for index, name in enumerate(names):
        torch.testing.assert_close(found[index].relevance, alone[name].relevance)
        torch.testing.assert_close(found[index].layers["first"], alone[name].layers["first"])


def test_call_index_layer_name_and_type_choose_the_rule():
    model, x = mlp(), doubles(2, 12)
    by_call = Composite((Assignment(Gamma(1.0), kind="linear", calls=(1,)),))
    by_name = Composite((Assignment(Gamma(1.0), layer="2", type="Lin*"),))
    first = Composite((Assignment(Gamma(1.0), first=True),))
    torch.testing.assert_close(attribute(model, x, 0, by_call).relevance, attribute(model, x, 0, by_name).relevance)
    by_zero = Composite((Assignment(Gamma(1.0), layer="0"),))
    torch.testing.assert_close(attribute(model, x, 0, first).relevance, attribute(model, x, 0, by_zero).relevance)
    assert not torch.allclose(attribute(model, x, 0, first).relevance, attribute(model, x, 0, by_call).relevance)


def test_relevance_of_layers_is_that_of_the_values_they_put_out():
    model, x = seeded(FunctionalResidual), doubles(2, 3, 6, 6)
    found = attribute(model, x, 1, "lrp0", layers=["first", "norm", "head"])
    torch.testing.assert_close(found.layers["first"], found.layers["norm"])  # BatchNorm is folded
    torch.testing.assert_close(found.layers["head"].sum(1), found.score)
    plain = attribute(model, x, 1, "gradient_x_input", layers=["norm"])
    torch.testing.assert_close(found.layers["norm"], plain.layers["norm"])


def test_token_ids_are_explained_at_their_embedding():
    model, ids = seeded(GatedLanguage), torch.tensor([[1, 5, 3, 2], [4, 4, 9, 0]])
    for rule in ("cp_lrp", "attnlrp"):
        found = attribute(model, ids, 7, rule)
        assert found.relevance.shape == ids.shape
        assert found.diagnostics.conservation_gap < 1e-9
        assert found.diagnostics.forward_change < 1e-13
        torch.testing.assert_close(attribute(model, {"input_ids": ids}, 7, rule).relevance, found.relevance)


class Cosine(nn.Module):
    def forward(self, x):
        return torch.cosh(x)


def test_an_operation_without_a_rule_is_named_with_its_call_site_or_passed_by_gradient():
    model, x = seeded(Cosine), doubles(2, 3)
    with pytest.raises(NoRule, match=r"`cosh` at test_interception.py:\d+") as refusal:
        attribute(model, x, 0)
    assert "fallback='gradient'" in refusal.value.remedy
    found = attribute(model, x, 0, fallback="gradient")
    torch.testing.assert_close(found.relevance[:, 0], x[:, 0] * torch.sinh(x[:, 0]), rtol=1e-5, atol=1e-6)
    assert len(found.diagnostics.unruled) == 1


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True, add_bias_kv=True)

    def forward(self, x):
        return self.attention(x, x, x)[0][:, 0]


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (UnknownComposite, {"rule": "epsilom"}),
        (TargetOutOfRange, {"target": 5}),
        (TargetOutOfRange, {"target": -1}),
        (TargetOutOfRange, {"target": [1, 2, 3]}),
        (TargetOutOfRange, {"target": lambda output: output}),
        (UnknownLayerName, {"layers": ["3x"]}),
        (BadInputs, {"inputs": torch.full((2, 12), torch.nan, dtype=torch.float64)}),
        (BadInputs, {"inputs": torch.ones(2, 12, dtype=torch.bool)}),
        (BadInputs, {"fallback": "guess"}),
    ],
)
def test_bad_input_is_refused_with_its_field(error, arguments):
    given = {"inputs": doubles(2, 12), "target": 0} | arguments
    with pytest.raises(error) as refusal:
        attribute(mlp(), given.pop("inputs"), given.pop("target"), **given)
    assert refusal.value.field in {"rule", "target", "layers", "inputs", "fallback"}


def test_close_names_are_offered():
    with pytest.raises(UnknownComposite) as refusal:
        attribute(mlp(), doubles(1, 12), 0, "epsilom")
    assert "epsilon" in refusal.value.facts["closest"]


def test_a_model_in_training_mode_is_refused():
    model = mlp()
    model[1].train()
    with pytest.raises(TrainingMode):
        attribute(model, doubles(1, 12), 0)


def test_attention_that_cannot_be_expanded_is_refused():
    with pytest.raises(FusedAttention, match="bias_k"):
        attribute(seeded(Fused), doubles(1, 3, 4), 0)


def test_an_output_without_path_from_the_input_is_refused():
    class Cut(nn.Module):
        def forward(self, x):
            return x.detach() * 2

    with pytest.raises(NoGradientPath):
        attribute(seeded(Cut), doubles(1, 3), 0)


def test_a_layer_that_runs_twice_has_no_single_relevance():
    with pytest.raises(CalledAgain):
        attribute(seeded(FunctionalResidual), doubles(1, 3, 6, 6), 0, layers=["twice"])


def test_a_score_may_be_any_function_of_the_output():
    model, x = mlp(), doubles(2, 12)
    found = attribute(model, x, lambda output: output[:, 1] - output[:, 0], "lrp0")
    expected = gradient_x_input(model, x, 1) - gradient_x_input(model, x, 0)
    torch.testing.assert_close(found.relevance, expected)


def test_default_composite_is_epsilon_and_blocks_are_reachable_by_name():
    model, x = seeded(Transformer), doubles(1, 3, 8, 8)
    same = Composite((Assignment(Epsilon(), layer="blocks.*"),))
    torch.testing.assert_close(attribute(model, x, 0).relevance, attribute(model, x, 0, same).relevance)
    assert isinstance(model.blocks[0], Block)
