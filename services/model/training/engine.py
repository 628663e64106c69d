"""Layer-wise Feedback Propagation for any module, optimiser and loop.

lfp = LFP(model)
for x, y in loader:
    with lfp:
        out = model(x)
    lfp.backward(out, rewards.softmax(out, y))
    optimiser.step()
    optimiser.zero_grad()
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import torch
from torch import Tensor, nn

from services.model.training.chords import ChordOptions
from services.model.training.errors import FeedbackOptionError, OpaqueModuleError
from services.model.training.interception import Interception, Options
from services.model.training.rewards import Reward, check_signs
from services.model.training.rules import Rule
from services.model.training.scaling import Handle, floors_of, precondition_updates, scales_of, warn_of_adaptive
from services.model.training.watch import FinitenessWatch

CHOICES = {
    "rule": ("epsilon", "gamma", "zplus"),
    "reduction": ("mean", "sum"),
    "precondition": ("grad", "update"),
    "attention": ("full", "uniform"),
    "norm": ("full", "detach"),
}
ACTIVE = threading.local()


@dataclass(frozen=True)
class Stats:
    """What a backward pass did: the norm of the feedback, and the share of it that is exactly zero."""

    norm: float
    zero_share: float


class LFP:
    """Feedback propagation on a model that stays what it is: no module is replaced, no forward value changed.

    Parameters
    ----------
    model : any module; parameters that need no gradient are skipped, reward still passes.
    rule : `epsilon`, `gamma` or `zplus`; the last affine operation always has epsilon.
    eps : absorbed share at sums, 0 for none; 1e-6 is the reference's.
    centre : `auto` centres chords of activations with phi(0) != 0; False reproduces the reference.
    delta : half width of a step's chord.
    reduction : `mean` over the batch (the first axis), or `sum`.
    floor : least factor of a parameter's feedback, a number or {"bias", "norm", "zero_init", "weight"}.
    precondition : `grad` gives optimisers -f, `update` scales their steps (see `attach`).
    attention : `full` derivative or `uniform` shares. norm : `full`, or `detach` for a constant deviation.
    record : names of modules whose outputs are kept for `rewards`.

    Source: Weber et al., arXiv 2308.12053; the form as autograd with chord slopes is ours.
    """

    def __init__(
        self, model: nn.Module, rule: str = "epsilon", *, gamma: float = 0.25, eps: float = 0.0,
        centre: Literal["auto"] | bool = "auto", delta: float = 0.5, reduction: str = "mean",
        floor: float | dict[str, float] | None = None, precondition: str = "grad", attention: str = "full",
        norm: str = "full", record: Sequence[str] = (), homogeneous: bool = False,
    ) -> None:  # fmt: skip
        given = {
            "rule": rule,
            "reduction": reduction,
            "precondition": precondition,
            "attention": attention,
            "norm": norm,
        }
        for name, value in given.items():
            if value not in CHOICES[name]:
                raise FeedbackOptionError(f"{name} is {value}; known are {', '.join(CHOICES[name])}", field=name)
        if not homogeneous:
            refuse_opaque(model)
        self.model, self.reduction, self.precondition = model, reduction, precondition
        self.options = Options(
            rule=Rule(rule, gamma), eps=eps, chords=ChordOptions(bool(centre), delta),
            uniform=attention == "uniform", detach_norm=norm == "detach",
        )  # fmt: skip
        self.floors = floors_of(model, floor)
        self.record = tuple(record)
        self.recorded: dict[str, Tensor] = {}
        self._mode: Interception | None = None
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._checked, self._watch = False, FinitenessWatch()

    def __enter__(self) -> LFP:
        if getattr(ACTIVE, "lfp", None) is not None:
            raise FeedbackOptionError("another `with lfp:` is open on this thread; close it first")
        ACTIVE.lfp = self
        self.recorded.clear()
        for name in self.record:
            module = self.model.get_submodule(name)
            self._hooks.append(
                module.register_forward_hook(lambda _, given, out, name=name: self.recorded.__setitem__(name, out))
            )
        self._mode = Interception(self.options)
        self._mode.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mode, self._mode = self._mode, None
        ACTIVE.lfp = None
        while self._hooks:
            self._hooks.pop().remove()
        if mode is not None:
            mode.__exit__(kind, error, trace)

    def feedback(self, out: Tensor, reward: Reward | Tensor, *, retain_graph: bool = False) -> dict[str, Tensor]:
        """The ascent direction f of each parameter that needs a gradient, by name; nothing is stored.

        Parameters
        ----------
        out : [B, ...], computed inside `with lfp:`.
        reward : a `Reward`, or a tensor r of the same shape.
        """
        return dict(zip(self._names(), self._scaled(out, reward, 1.0, retain_graph=retain_graph), strict=True))

    def backward(
        self, out: Tensor, reward: Reward | Tensor, *, retain_graph: bool = False, stats: bool = True
    ) -> Stats:
        """Add -f to each parameter's `.grad`, as a loss's `backward` would.

        With `stats=False` nothing waits for a GPU, and a reward that is not finite is refused some steps late there.
        """
        found = self._scaled(out, reward, -1.0, retain_graph=retain_graph, wait=stats)
        for part, step in zip(self._trained(), found, strict=True):
            part.grad = step if part.grad is None else part.grad.add_(step)
        if not stats:
            return Stats(float("nan"), float("nan"))
        kept = [part.grad for part in self._trained() if part.grad is not None]
        norm = torch.stack([grad.norm() for grad in kept]).norm()
        zeros = torch.stack([(grad == 0).sum() for grad in kept]).sum()
        return Stats(float(norm), float(zeros) / sum(grad.numel() for grad in kept))

    def rewards(self, out: Tensor, reward: Reward | Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Reward r = z s at the outputs of recorded modules, shapes of these outputs."""
        names = list(self.recorded) if layers is None else list(layers)
        missing = [name for name in names if name not in self.recorded]
        if missing:
            raise FeedbackOptionError(f"not recorded: {', '.join(missing)}; name them in `record`", field="layers")
        values = [self.recorded[name] for name in names]
        found = torch.autograd.grad(out, values, self._push(out, reward), retain_graph=True, allow_unused=True)
        return {
            name: torch.zeros_like(value) if s is None else value.detach() * s
            for name, value, s in zip(names, values, found, strict=True)
        }

    def attach(self, optimiser: torch.optim.Optimizer) -> Handle:
        """Install what `precondition` needs on an optimiser; the handle takes it away."""
        if self.precondition == "grad":
            warn_of_adaptive(optimiser)
            return Handle([])
        names = {id(part): name for name, part in self.model.named_parameters()}
        return precondition_updates(optimiser, names, self.floors)

    def _trained(self) -> list[nn.Parameter]:
        return [part for part in self.model.parameters() if part.requires_grad]

    def _names(self) -> list[str]:
        return [name for name, part in self.model.named_parameters() if part.requires_grad]

    def _push(self, out: Tensor, reward: Reward | Tensor, *, wait: bool = True) -> Tensor:
        reward = reward if isinstance(reward, Reward) else Reward(reward, kind="reward")
        push = reward.push(out)
        self._watch.look(push, wait=wait)
        if not self._checked:
            check_signs(reward, out.detach())
            self._checked = True
        return push

    @torch.no_grad()
    def _scaled(
        self, out: Tensor, reward: Reward | Tensor, sign: float, *, retain_graph: bool, wait: bool = True
    ) -> list[Tensor]:
        """Sign times f of each trained parameter, in their order; each call to the device does all of them."""
        parts = self._trained()
        push = self._push(out, reward, wait=wait)
        if self.reduction == "mean":
            push = push / len(out)  # once here, not once a parameter; what passes reward back is homogeneous in it
        found = torch.autograd.grad(out, parts, push, retain_graph=retain_graph, allow_unused=True)
        steps = [torch.zeros_like(part) if one is None else one for part, one in zip(parts, found, strict=True)]
        if self.precondition == "update":
            return list(torch._foreach_mul(steps, sign))  # of its own: autograd may give two parameters one tensor
        scales = scales_of(parts, [self.floors[name] for name in self._names()])
        torch._foreach_mul_(scales, steps)
        if sign != 1:
            torch._foreach_mul_(scales, sign)
        return list(scales)


def refuse_opaque(model: nn.Module) -> None:
    """Refuse compiled and scripted modules, whose operations no one sees."""
    for name, module in model.named_modules():
        compiled = (
            type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None
        )
        if compiled or isinstance(module, torch.jit.ScriptModule):
            raise OpaqueModuleError(f"{name or 'the model'} is compiled or scripted", layer=name)
