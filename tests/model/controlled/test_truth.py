"""The truth about components: exact on a net whose channels were written by hand."""

import pytest
import torch
from torch import nn

from contracts.data import ScenesSource
from contracts.errors import UnknownLayer
from services.model.controlled.truth import controlled_truth, factors_of

SOURCE = ScenesSource(n=150, split="test", planting="never")


class ByHand(nn.Module):
    """Channel 0: pale yellow, the tag's paper. 1: more red than green and blue. 2: never varies."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(3, 3, 1)
        self.relu = nn.ReLU()
        with torch.no_grad():
            self.look.weight[:] = torch.tensor([[2.0, 2.0, -1.0], [1.0, -1.0, -0.2], [0, 0, 0]])[:, :, None, None]
            self.look.bias[:] = torch.tensor([-3.3, -1.1, -1.0])

    def forward(self, pictures):
        return self.relu(self.look(pictures)).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def truth():
    return controlled_truth(ByHand().eval(), "relu", source=SOURCE, pooling="mean")


def test_each_channel_detects_what_it_was_written_for(truth):
    assert truth.of("artefact")[0] > 0.8 > 0.6 > truth.of("artefact")[1]
    assert truth.of("colour=red")[1] > 0.95 and truth.detectors("colour=red").tolist() == [False, True, False]
    assert truth.effect[0] > 0.1 > abs(truth.effect[1])


def test_a_component_that_never_varies_detects_nothing(truth):
    assert (truth.auroc[2] == 0.5).all()
    assert truth.effect[2] == 0


def test_the_factors_are_those_of_the_scenes():
    from services.kit.scenes import draw_scene

    scenes = [draw_scene(SOURCE, index) for index in range(20)]
    names, columns = factors_of(scenes)
    assert columns.shape == (20, len(names)) == (20, 24)
    shape = [names.index(f"shape={scene.item.kind}") for scene in scenes]
    assert columns[range(20), shape].all()
    assert (columns[:, :6].sum(axis=1) == 1).all()


def test_a_layer_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UnknownLayer) as refusal:
        controlled_truth(ByHand(), "sky", source=SOURCE)
    assert refusal.value.facts["layers"] == ["look", "relu"]
