"""What holds on a GPU too; nothing runs where there is none."""

import pytest
import torch
from torch import nn

from services.model.training import LFP, rewards
from services.model.training.errors import NonFiniteRewardError
from tests.model.training.test_session import request, run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_epochs_apart_end_with_the_same_bytes(optimizer, precision):
    asked = request(device="cuda", precision=precision, optimizer=optimizer, learning_rate=0.05)
    whole, parts = run(asked), run(asked, apart=True)
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)
    assert whole.figures[-1].validation_accuracy > 0.6
    assert all(tensor.device.type == "cpu" for tensor in whole.model.values())


def test_a_gpu_trains_as_the_cpu_does():
    cpu, gpu = run(request(epochs=2)), run(request(epochs=2, device="cuda"))
    assert abs(cpu.figures[-1].validation_accuracy - gpu.figures[-1].validation_accuracy) < 0.15
    assert abs(cpu.figures[0].gini - gpu.figures[0].gini) < 0.02


def test_a_step_does_not_wait_and_what_is_not_finite_is_refused_late():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4)).cuda()
    lfp, x, y = LFP(model), torch.randn(16, 8).cuda(), torch.arange(16).cuda() % 4
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(scale=1.0):
        with lfp:
            out = model(x)
        lfp.backward(out, rewards.Reward(rewards.softmax(out, y).value * scale), stats=False)
        optimiser.step()
        optimiser.zero_grad()

    step()  # the first one checks the signs
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with pytest.raises(NonFiniteRewardError):
        for _ in range(40):
            step(float("nan"))
            torch.cuda.synchronize()
