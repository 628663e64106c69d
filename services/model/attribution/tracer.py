"""The interceptor: sees every function call of a forward pass in this thread and gives it its rule.

Affine operations stay pending until their value is used: a BatchNorm that follows is folded into them (the forward
value is still the BatchNorm's own), and only then the rule's graph is built. In-place operations are computed out of
place and their target is rebound, so that what the rules need is never overwritten.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from services.model.attribution import affine_ops, attention, elementwise_ops, functions, norm_ops  # noqa: F401
from services.model.attribution.carriers import Ledger
from services.model.attribution.composite import Call, Composite, Rule
from services.model.attribution.errors import NoRule
from services.model.attribution.kernel import Affine, affine
from services.model.attribution.rules import AffineRule

HERE, TORCH = str(Path(__file__).parent), str(Path(torch.__file__).parent)


@dataclass
class Pending:
    """An affine operation whose rule is not built yet. `holder` is the tensor that the model sees meanwhile."""

    operation: Affine
    rule: AffineRule
    holder: Tensor
    name: str
    out: Tensor | None = None


@dataclass(frozen=True)
class Node:
    """One recorded operation: the leaves of its own graph and the tensor that it made."""

    name: str
    parents: tuple[Tensor, ...]
    out: Tensor


class Tracer(TorchFunctionMode):
    """Active inside `with tracer:`; what it has built is the autograd graph of the tensors.

    Parameters
    ----------
    model : for the names of layers.
    composite : the rules.
    fallback : what an operation without a rule does: refuse, or gradient x input.
    ledger : books absorbed relevance; None books nothing.
    absolute : build the graph of path mass |K| instead of K.
    token_ids : integer inputs; the embedding that looks them up becomes the input.
    plain : leave everything to autograd but the look-up of token ids.
    record : keep every operation as a node with a graph of its own (for the sampler); the whole graph is cut then.
    deviations : [*x] standard deviations per affine call under noise, for risk aversion.
    """

    def __init__(
        self, model: nn.Module, composite: Composite, *, fallback: str = "error", ledger: Ledger | None = None,
        absolute: bool = False, token_ids: Tensor | None = None, deviations: dict[int, Tensor] | None = None,
        record: bool = False, plain: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.composite, self.fallback, self.ledger, self.absolute = composite, fallback, ledger, absolute
        self.token_ids, self.deviations, self.plain = token_ids, deviations, plain
        self.leaf: Tensor | None = None
        self.nodes: list[Node] | None = [] if record else None
        self.unruled: list[str] = []
        self.watch: Callable[[int, Tensor], None] | None = None
        self._modules = {id(module): name for name, module in model.named_modules()}
        self._counts: Counter[str] = Counter()
        self._pending: dict[int, Pending] = {}
        self._rebound: dict[int, tuple[Tensor, Tensor]] = {}
        self._folded: dict[int, Tensor] = {}
        self._padded: dict[int, tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]] = {}
        self._origins: dict[int, tuple[Tensor, Tensor]] = {}
        self._attention: dict[int, Tensor] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Dispatch one call."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            if getattr(getattr(func, "__self__", None), "__name__", "") in functions.VIEW_ATTRIBUTES:
                return self._native(func, name, args, kwargs)
            return func(*args, **kwargs)
        if name in functions.UNTRACKED or (self.plain and name != "embedding"):
            return func(*args, **kwargs)
        if name.endswith("_") and not name.endswith("__"):
            return self._in_place(func, name[:-1], args, kwargs)
        if name == "batch_norm":
            return affine_ops.batch_norm(self, func, args, kwargs)
        handler = functions.HANDLERS.get(name)
        target = args[0] if kwargs.get("inplace") and args else None
        args, kwargs = self.resolved(args), self.resolved(kwargs)
        if handler is None:
            return self._native(func, name, args, kwargs)
        before = self.nodes is not None and len(self.nodes)
        out = handler(self, func, args, kwargs)
        if target is not None:
            self._rebound[id(target)] = (target, out)
        if self.nodes is not None and len(self.nodes) == before:
            self._record(name, (args, kwargs), out)
        return out

    # --- what handlers use ------------------------------------------------------------------------
    def rule(self, kind: str) -> Rule:
        """The rule of the operation that runs now; counts it."""
        index, affine_index = self._counts[kind], self._counts["affine"]
        self._counts[kind] += 1
        self._counts["affine"] += kind in ("linear", "conv")
        module = self._innermost()
        layer = self._modules.get(id(module), "") if module is not None else ""
        call = Call(kind, layer, type(module).__name__ if module is not None else "", index, affine_index)
        return self.composite.rule(call)

    def affine(self, operation: Affine, rule: AffineRule, name: str) -> Tensor:
        """Note an affine operation; its rule is built when its value is used."""
        holder = operation.value.view_as(operation.value)
        index = self._counts["any affine"]
        self._counts["any affine"] += 1
        if self.watch is not None:
            self.watch(index, operation.x.detach())
        if rule.risk is not None and self.deviations is not None:
            rule = replace(rule, risk=replace(rule.risk, deviation=self.deviations[index]))
        self._pending[id(holder)] = Pending(operation, rule, holder, name)
        return holder

    def pending(self, tensor: object) -> Pending | None:
        """The affine operation that made this tensor, while nothing else has happened to it."""
        return None if id(tensor) in self._rebound else self._pending.get(id(tensor))

    def folded(self, tensor: Tensor, into: Tensor) -> None:
        """A BatchNorm took over: who asks for the relevance of `tensor` means the one of `into`."""
        self._folded[id(tensor)] = into

    def note_padding(self, padded: Tensor, source: Tensor, around: Callable[[Tensor], Tensor]) -> None:
        """`padded` is `source` with zeros around it."""
        self._padded[id(padded)] = (padded, source, around)

    def before_padding(self, tensor: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The tensor before its padding, and the padding."""
        found = self._padded.get(id(tensor))
        return (tensor, lambda each: each) if found is None else found[1:]

    def mark_attention(self, tensor: Tensor) -> None:
        """These are attention weights."""
        self._attention[id(tensor)] = tensor

    def is_attention(self, tensor: Tensor) -> bool:
        """Whether these are attention weights."""
        return id(tensor) in self._attention

    def resolved(self, value):
        """Arguments with every tensor replaced by the one that carries relevance; parameters become constants."""
        if isinstance(value, Tensor):
            return self.carrier_of(value)
        if isinstance(value, tuple | list):
            return type(value)(self.resolved(each) for each in value) if type(value) in (tuple, list) else value
        if type(value) is dict:
            return {key: self.resolved(each) for key, each in value.items()}
        return value

    def carrier_of(self, tensor: Tensor) -> Tensor:
        """The tensor that carries relevance for an argument; a parameter is a constant."""
        if isinstance(tensor, nn.Parameter):
            return tensor.detach()
        carrier = self.made(tensor)
        return carrier if self.nodes is None or not carrier.requires_grad else self._port(carrier)

    def made(self, tensor: Tensor, *, as_captured: bool = False) -> Tensor:
        """The tensor in the graph for one that the model sees; `as_captured` ignores later in-place changes."""
        while not as_captured and id(tensor) in self._rebound:
            tensor = self._rebound[id(tensor)][1]
        pending = self._pending.get(id(tensor))
        if pending is None:
            return tensor
        if as_captured and pending.out is None and id(tensor) in self._folded:
            return self.made(self._folded[id(tensor)], as_captured=True)
        if pending.out is None:
            pending.out = affine(pending.operation, pending.rule, self.ledger, absolute=self.absolute)
            if self.is_attention(tensor):
                self.mark_attention(pending.out)
            if self.nodes is not None:
                self.nodes.append(Node(pending.name, (pending.operation.x,), pending.out))
        return pending.out

    def origin(self, port: Tensor) -> Tensor:
        """The tensor that a recorded operation's input was copied from."""
        while id(port) in self._origins:
            port = self._origins[id(port)][1]
        return port

    def forget(self) -> None:
        """Let go of the tensors of the forward pass: the graph refers to this object, and they to the graph."""
        for held in (self._pending, self._rebound, self._folded, self._padded, self._attention):
            held.clear()

    # --- inside -----------------------------------------------------------------------------------
    def _native(self, func: Callable, name: str, args, kwargs):
        args, kwargs = self.resolved(args), self.resolved(kwargs)
        sources = [each for each in functions.tensors_in((args, kwargs)) if each.requires_grad]
        out = func(*args, **kwargs)
        made = [each for each in functions.tensors_in(out) if each.requires_grad]
        if not made:
            return out
        if name not in functions.STRUCTURAL and name != "__get__":
            site = self.site()
            if self.fallback != "gradient" or len(made) > 1 or name == "__setitem__":
                raise NoRule(f"no rule for `{name}` at {site}", field="rule", operation=name, site=site)
            self.unruled.append(f"{name} at {site}")
            out = elementwise_ops.by_gradient(self, func, args, kwargs, out)
        self._record(name, sources, out)
        if any(self.is_attention(each) for each in sources):
            for each in functions.tensors_in(out):
                self.mark_attention(each)
        return out

    def _in_place(self, func: Callable, base: str, args, kwargs):
        target = args[0] if args else None
        tracked = isinstance(target, Tensor) and any(
            each.requires_grad for each in functions.tensors_in((self.resolved(args), self.resolved(kwargs)))
        )
        plain = getattr(Tensor, base, None) or getattr(torch, base, None) or getattr(nn.functional, base, None)
        if not tracked:
            return func(*args, **kwargs)
        if plain is None:
            raise NoRule(f"no rule for `{base}_` at {self.site()}", field="rule", operation=base, site=self.site())
        out = self.__torch_function__(plain, (), args, kwargs)
        self._rebound[id(target)] = (target, out)
        return out

    def _port(self, carrier: Tensor) -> Tensor:
        """A fresh leaf in place of an operand, so that each recorded operation has a graph of its own."""
        port = carrier.detach().requires_grad_()
        self._origins[id(port)] = (port, carrier)
        if self.is_attention(carrier):
            self.mark_attention(port)
        if id(carrier) in self._padded:
            _, source, around = self._padded[id(carrier)]
            self.note_padding(port, source, around)
        return port

    def _record(self, name: str, sources: object, out: object) -> None:
        if self.nodes is None:
            return
        parents = tuple(each for each in functions.tensors_in(sources) if each.requires_grad)
        for each in functions.tensors_in(out):
            if each.requires_grad and id(each) not in self._pending and all(each is not one for one in parents):
                self.nodes.append(Node(name, parents, each))

    def _innermost(self) -> nn.Module | None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if code.co_argcount and code.co_varnames[0] == "self":
                owner = frame.f_locals.get("self")
                if id(owner) in self._modules:
                    return owner
            frame = frame.f_back
        return None

    def site(self) -> str:
        """File and line of the model's code that is running, and the layer around it."""
        module = self._innermost()
        layer = self._modules.get(id(module), "") if module is not None else ""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith((HERE, TORCH)):
            frame = frame.f_back
        place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame is not None else "?"
        return f"{place} in layer {layer or '(none)'}"
