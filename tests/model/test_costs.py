"""What a model costs, and that measuring it leaves the model as it was."""

import pytest
import torch

from contracts.errors import UnknownModel
from services.model.training.sparsity import all_weights
from tests.model.test_attributions import ME, NETS, ask, models  # noqa: F401


@pytest.mark.parametrize("net", NETS)
def test_a_model_measured_first_can_be_explained_after(models, net):  # noqa: F811
    cost = models.model_cost(ME, net).model  # nothing has loaded it before
    assert models.attribute(ME, net, ask(methods=["gradient", "epsilon"])).maps
    assert (cost.parameters, cost.side) == (models.model(ME, net).parameters, 32)
    assert cost.macs > cost.parameters / 10 and 0 < cost.latency_low_ms <= cost.latency_ms <= cost.latency_high_ms


def test_a_model_loaded_by_who_only_reads_can_be_differentiated_by_others(models):  # noqa: F811
    models._held.clear()
    ref = models.model(ME, "cnn").ref
    with torch.inference_mode(), models.loaded(ref):
        pass
    with models.loaded(ref) as built:
        assert not any(part.is_inference() for part in built.model.state_dict().values())


def test_two_models_are_measured_in_turn_and_an_unknown_one_is_refused(models):  # noqa: F811
    both = models.model_cost(ME, "vit", "cnn")
    assert (both.model.name, both.against.name) == ("vit", "cnn")
    assert both.speed_up == both.against.latency_ms / both.model.latency_ms
    with models.loaded(models.model(ME, "vit").ref) as built:
        assert both.model.sparsity == float((all_weights(built.model) == 0).double().mean())
    with pytest.raises(UnknownModel):
        models.model_cost(ME, "vit", "nowhere")
