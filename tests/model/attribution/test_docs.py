"""The page's examples run."""

import re
from pathlib import Path

import torch
from torch import nn

from tests.model.attribution.nets import doubles

PAGE = Path(__file__).parents[3] / "docs" / "attribution.md"


def picture_model():
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(3 if not index else 18, 18, 3, padding=1), nn.ReLU()) for index in range(5)]
    body = nn.ModuleDict({"blocks": nn.Sequential(*blocks), "head": nn.Linear(18, 6)})

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.head = body["blocks"], body["head"]

        def forward(self, x):
            return self.head(self.blocks(x).mean((-2, -1)))

    return Model().double().eval()


def test_the_examples_of_the_page_run_and_agree():
    names = {"model": picture_model(), "pictures": doubles(2, 3, 6, 6)}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S):
        exec(compile(example, PAGE.name, "exec"), names)
    assert names["maps"].shape == (2, 2, 3, 6, 6)
    assert len(names["graph"].edges) == 25
    assert len(names["plays"].paths) == 5
    assert names["mine"] == names["same"]
