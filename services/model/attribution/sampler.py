"""Monte-Carlo plays: relevance as the mean over paths from the output to the inputs.

A play sits at one entry of one tensor with a weight w. An operation with signed kernel K moves it from output entry j
to input entry i with probability |K_ij| / gamma_j, gamma_j = sum_i |K_ij|, and multiplies w by gamma_j sgn K_ij. What
the kernel does not hand on, 1 - sum_i K_ij (biases, eps, constants), is one more entry: there the play ends, absorbed.
The mean of w over the plays that end at an input entry is its relevance, for every linear rule.
Source: the game of docs/attribution.md (ours); ReLU Net Game (Gaubert & Vlassopoulos) for the reading as a game.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.model.attribution.composite import Composite
from services.model.attribution.composites import composite
from services.model.attribution.errors import BadInputs
from services.model.attribution.run import Run, traced
from services.model.attribution.targets import Inputs, Target, main_input, require_ready
from services.model.attribution.tracer import Node

ROWS = 128  # rows of a kernel held at once
INPUT, ABSORBED = -1, -2


@dataclass(frozen=True)
class Step:
    """A place that a play visited: the function that made the tensor, the entry's index, and the tensor's shape."""

    name: str
    entry: tuple[int, ...]
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plays:
    """What the plays say.

    Parameters
    ----------
    relevance, error : [*input] mean and standard error for each input entry.
    absorbed, absorbed_error : the same for all that stopped on the way.
    largest : largest |w| of a play; an entry that was never reached is uncertain by about largest / plays.
    plays : how many.
    paths : the first few plays, from the output on. weights : theirs, [paths] float64.
    """

    relevance: Tensor
    error: Tensor
    absorbed: float
    absorbed_error: float
    largest: float
    plays: int
    paths: tuple[tuple[Step, ...], ...]
    weights: Tensor

    def bound(self, errors: float = 5.0) -> Tensor:
        """By how much an exact relevance may differ: `errors` standard errors, and as many unseen plays."""
        return errors * self.error + errors * self.largest / self.plays


def sample_plays(
    model: nn.Module, inputs: Inputs, target: Target, rule: str | Composite = "epsilon", *, plays: int = 100_000,
    seed: int = 0, paths: int = 0,
) -> Plays:  # fmt: skip
    """Estimate relevance by `plays` random paths through the model.

    Parameters
    ----------
    inputs : a batch of one.
    rule : a composite or its name; carriers of gradients are not games.
    paths : how many plays to keep, step by step.

    Raises
    ------
    BadInputs : more than one input, a gradient composite, or fewer than two plays.
    """
    chosen = composite(rule) if isinstance(rule, str) else rule
    require_ready(model, inputs, target, ())
    if main_input(inputs)[1].shape[0] != 1:
        raise BadInputs("plays are sampled for one input at a time", field="inputs")
    if chosen.carrier != "relevance" or plays < 2:
        raise BadInputs("plays need a relevance composite (for gradients: lrp0) and at least 2", field="rule")
    run = traced(model, inputs, target, chosen, record=True)
    game = _Game(run, plays, paths, torch.Generator().manual_seed(seed))
    return game.played()


class _Game:
    """All plays at once: where each is, and its weight."""

    def __init__(self, run: Run, plays: int, paths: int, draw: torch.Generator) -> None:
        self.run, self.count, self.draw = run, plays, draw
        self.nodes: list[Node] = run.tracer.nodes or []
        self.number = {id(node.out): index for index, node in enumerate(self.nodes)} | {id(run.leaf): INPUT}
        seed = run.seed.detach().double().reshape(-1)
        mass = seed.abs().sum()
        self.entry = _drawn((seed.abs() / mass)[None], torch.zeros(plays, dtype=torch.long), draw)
        self.weight = mass * torch.where(seed[self.entry] >= 0, 1.0, -1.0).double()
        self.place = torch.full((plays,), self.number[id(run.carrier)])
        self.paths: list[list[Step]] = [[] for _ in range(min(paths, plays))]
        self._note(torch.arange(len(self.paths)))

    def played(self) -> Plays:
        """Move all plays to their ends and count."""
        for index in range(len(self.nodes) - 1, -1, -1):
            here = (self.place == index).nonzero()[:, 0]
            if here.numel():
                self._move(self.nodes[index], here)
        ended = self.place == INPUT
        shape = self.run.leaf.shape
        size = self.run.leaf.numel()
        sums = torch.zeros(2, size, dtype=torch.float64)
        sums[0].index_add_(0, self.entry[ended], self.weight[ended])
        sums[1].index_add_(0, self.entry[ended], self.weight[ended] ** 2)
        mean, error = self._moments(sums[0], sums[1])
        lost = self.weight[~ended]
        absorbed, absorbed_error = self._moments(lost.sum(), (lost**2).sum())
        return Plays(
            mean.view(shape), error.view(shape), float(absorbed), float(absorbed_error),
            float(self.weight.abs().max()), self.count, tuple(tuple(path) for path in self.paths),
            self.weight[: len(self.paths)].clone(),
        )  # fmt: skip

    def _moments(self, total: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        mean = total / self.count
        return mean, ((squares / self.count - mean**2).clamp(min=0) / self.count).sqrt()

    def _move(self, node: Node, here: Tensor) -> None:
        """One step of the plays that are at this operation's output."""
        states, row = self.entry[here].unique(return_inverse=True)
        sizes = torch.tensor([0, *(parent.numel() for parent in node.parents)]).cumsum(0)
        goals = torch.tensor([self.number[id(self.run.tracer.origin(parent))] for parent in node.parents] + [ABSORBED])
        for start in range(0, len(states), ROWS):
            rows = states[start : start + ROWS]
            kernel = _kernel(node, rows)
            gamma = kernel.abs().sum(1)
            mine = ((row >= start) & (row < start + len(rows))).nonzero()[:, 0]
            which, who = row[mine] - start, here[mine]
            to = _drawn(kernel.abs() / gamma.clamp(min=1e-300)[:, None], which, self.draw)
            signs = torch.where(kernel[which, to] >= 0, 1.0, -1.0).double()
            self.weight[who] *= gamma[which] * signs
            parent = torch.bucketize(to, sizes[1:], right=True)
            self.place[who] = goals[parent]
            self.entry[who] = to - sizes[parent]
            self._note(who[who < len(self.paths)])

    def _note(self, who: Tensor) -> None:
        for play in who.tolist():
            place = int(self.place[play])
            if place == ABSORBED:
                self.paths[play].append(Step("absorbed", ()))
                continue
            tensor = self.run.leaf if place == INPUT else self.nodes[place].out
            name = "input" if place == INPUT else self.nodes[place].name
            at = torch.unravel_index(self.entry[play], tensor.shape)
            self.paths[play].append(Step(name, tuple(int(each) for each in at), tuple(tensor.shape)))


def _kernel(node: Node, rows: Tensor) -> Tensor:
    """K of some output entries: [rows, inputs + 1], float64; the last column is what is absorbed."""
    seeds = torch.zeros(len(rows), node.out.numel(), dtype=node.out.dtype)
    seeds[torch.arange(len(rows)), rows] = 1
    flows = torch.autograd.grad(
        node.out, node.parents, seeds.view(len(rows), *node.out.shape), retain_graph=True, is_grads_batched=True,
        allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    kernel = torch.cat([flow.reshape(len(rows), -1) for flow in flows], dim=1).double()
    return torch.cat([kernel, 1 - kernel.sum(1, keepdim=True)], dim=1)


def _drawn(shares: Tensor, rows: Tensor, draw: torch.Generator) -> Tensor:
    """One column for each play, by the shares [R, N] of its row; the rows' distributions are laid end to end."""
    ends = shares.cumsum(1)
    ends = ends / ends[:, -1:].clamp(min=1e-300)
    offset = torch.arange(len(shares), dtype=torch.float64)[:, None]
    at = torch.rand(len(rows), generator=draw, dtype=torch.float64) * (1 - 1e-12) + rows
    found = torch.searchsorted((ends + offset).reshape(-1), at, right=True)
    return (found - rows * shares.shape[1]).clamp(0, shares.shape[1] - 1)
