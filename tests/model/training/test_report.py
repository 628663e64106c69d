"""The baseline of the report on feedback, and that its page says what was measured."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.feedback_alignment import FeedbackAlignment
from benchmarks.lfp_page import FIGURE, PAGE, figure, newest, page, read


def gradients(model, x, y):
    loss = F.cross_entropy(model(x), y)
    return torch.autograd.grad(loss, list(model.parameters()))


def test_feedback_alignment_changes_what_lies_below_and_nothing_else():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)).double()
    x, y = torch.randn(6, 3, 4, 4, dtype=torch.double), torch.arange(6) % 5
    aligned = FeedbackAlignment(model, 1)
    with aligned:
        out = model(x)
        found = gradients(model, x, y)
    assert torch.equal(out, model(x))
    exact = gradients(model, x, y)
    torch.testing.assert_close(found[2:], exact[2:])  # the last layer needs nothing from above
    assert not torch.allclose(found[0], exact[0])
    matrices = {id(model[3].weight): model[3].weight.detach(), id(model[0].weight): model[0].weight.detach()}
    aligned.matrices = matrices  # with the weights themselves in place of random matrices it is backpropagation
    with aligned:
        torch.testing.assert_close(gradients(model, x, y), exact)


def test_the_page_is_what_the_committed_results_say():
    found = read(newest())
    assert PAGE.read_text() == page(found, newest())
    assert FIGURE.read_text() == figure(found)
    assert {"digits", "scenes", "transfer"} <= found.keys()
