"""Running a model with interventions. Hooks only dispatch; what they do is known to the calling context alone."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from statistics import median
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from contracts.errors import UnknownLayer
from contracts.steering import FoldedLayer, LayerRunsAgain, NotSteerable, RowsDoNotFit, WidthMismatch
from services.model.capture.folding import AfterFolding, FoldedConv
from services.model.capture.hooks import Pick, first_tensor
from services.model.interventions.arithmetic import Slot, slots_of, steer
from services.model.interventions.places import MAP, Frame
from services.model.interventions.steps import Step


class Steering:
    """The interventions of one context while they are active. Made by `steered`."""

    def __init__(
        self, root: nn.Module, plans: Sequence[Sequence[Step]], *, shared: bool, pick: Pick,
        channels_last: frozenset[str], special_tokens: int,
    ) -> None:  # fmt: skip
        self.root, self.shared, self.pick = root, shared, pick
        self.channels_last, self.special_tokens = channels_last, special_tokens
        self.rows = len(plans)
        self.measure = False  # whether `moved` is wanted: |h' - h| / |h| by layer, of the latest pass
        self.frame = Frame()
        self.slots = slots_of(plans)
        steps = [step for slots in self.slots.values() for slot in slots for step in slot.rows if step is not None]
        self.read: dict[str, set[int]] = {}
        for step in steps:
            if step.condition is not None:
                self.read.setdefault(step.condition.layer, set()).add(step.condition.index)
        self.names = {find(root, name): name for name in {*self.slots, *self.read}}
        self.seen: dict[tuple[str, int], Tensor] = {}
        self.ran: set[str] = set()
        self.moved: dict[str, float | None] = {}

    def at(self, *, positions: Tensor | None = None, kept: Tensor | None = None, prompt: Tensor | None = None) -> None:
        """Say what the next forward pass is about; see `Frame`. During cached generation: before every pass."""
        self.frame = Frame(positions, kept, prompt)

    def keep_rows(self, indices: Sequence[int]) -> None:
        """Go on with these rows of the batch, in this order; a row may come twice. For sequences that have ended."""
        chosen = {name: [slot.picked(indices) for slot in slots] for name, slots in self.slots.items()}
        self.slots = {name: [slot for slot in slots if any(slot.rows)] for name, slots in chosen.items()}
        self.rows = 1 if self.shared else len(indices)

    @contextmanager
    def active(self) -> Iterator[Steering]:
        """Steer the forward passes of this context. A generator that streams enters it anew for every pass."""
        with ExitStack() as cleanup:
            for module in {self.root, *self.names} if self.names else ():
                cleanup.enter_context(_attached(module))
            token = _ACTIVE.set((*_ACTIVE.get(), self))
            try:
                yield self
            finally:
                _ACTIVE.reset(token)

    def begin(self) -> None:
        """Forget the last forward pass."""
        self.seen.clear()
        self.ran.clear()

    def after(self, module: nn.Module, output: Any) -> Any:
        """Return what the module puts out instead."""
        name = self.names.get(module)
        if name is None:
            return output
        if name in self.ran:
            raise LayerRunsAgain(f"{name} runs more than once per forward pass", layer=name)
        self.ran.add(name)
        h = self.pick(name, output)
        axis = 1 if h.ndim == MAP and name not in self.channels_last else h.ndim - 1
        for index in self.read.get(name, ()):
            self.seen[name, index] = h.detach().select(axis, index).clone()
        slots = self.slots.get(name)
        if not slots:
            return output
        changed = self._changed(name, h, axis, slots)
        if self.measure:
            self.moved[name] = relative_distance(h.detach(), changed.detach())
        return replaced(output, h, changed)

    def _changed(self, name: str, h: Tensor, axis: int, slots: Sequence[Slot]) -> Tensor:
        if not self.shared and len(h) != self.rows:
            raise RowsDoNotFit(
                f"{self.rows} rows of interventions for a batch of {len(h)}", field="rows", rows=self.rows
            )
        width = next(len(step.direction) for step in slots[0].rows if step is not None)
        if h.shape[axis] != width:
            raise WidthMismatch(f"{name} puts out {h.shape[axis]} components, not {width}", field="target")
        changed = h
        for slot in slots:
            changed = steer(
                changed, axis, slot, layer=name, frame=self.frame, seen=self.seen, special=self.special_tokens
            )
        return changed


@dataclass
class Attached:
    """The dispatching hooks of one module, and how many contexts need them."""

    handles: list[Any]
    users: int = 0


_ACTIVE: ContextVar[tuple[Steering, ...]] = ContextVar("steering", default=())
_ATTACHED: WeakKeyDictionary[nn.Module, Attached] = WeakKeyDictionary()
_LOCK = threading.Lock()


@contextmanager
def steered(
    model: nn.Module,
    steps: Sequence[Step] = (),
    *,
    rows: Sequence[Sequence[Step]] | None = None,
    pick: Pick = first_tensor,
    channels_last: frozenset[str] = frozenset(),
    special_tokens: int = 0,
) -> Iterator[Steering]:
    """Apply interventions to every forward pass of `model` that this context makes; see `prepared`."""
    made = prepared(model, steps, rows=rows, pick=pick, channels_last=channels_last, special_tokens=special_tokens)
    with made.active():
        yield made


def prepared(
    model: nn.Module,
    steps: Sequence[Step] = (),
    *,
    rows: Sequence[Sequence[Step]] | None = None,
    pick: Pick = first_tensor,
    channels_last: frozenset[str] = frozenset(),
    special_tokens: int = 0,
) -> Steering:
    """Prepare interventions; they act inside `with steering.active()`, which may be entered again and again.

    Forward passes of other threads through the same model are not changed: the hooks hold no state, they look up what
    the calling context asks for. Whatever happens, no hook is left once the last block has ended. Blocks may be nested;
    the outer one acts first. Other hooks on a steered layer, such as `captured`, see the changed output.

    Parameters
    ----------
    model : its forward is one pass; pass the part that you call.
    steps : for every row of a batch; or `rows`: one list for each row.
    channels_last : layers whose maps are [B, H, W, C].
    special_tokens : leading tokens that are no patches, for models whose runner does not call `Steering.at`.

    Raises
    ------
    UnknownLayer, FoldedLayer : before anything runs.
    LayerRunsAgain, NotSteerable, WidthMismatch, RowsDoNotFit, ConditionNotSeen, PlacesDoNotFit, NonFiniteSteering : in
    the forward pass.
    """
    plans = [steps] if rows is None else rows
    return Steering(
        model, plans, shared=rows is None, pick=pick, channels_last=channels_last, special_tokens=special_tokens
    )


@contextmanager
def _attached(module: nn.Module) -> Iterator[None]:
    with _LOCK:
        attached = _ATTACHED.get(module)
        if attached is None:
            attached = _ATTACHED[module] = Attached(
                [module.register_forward_pre_hook(_before), module.register_forward_hook(_after, prepend=True)]
            )
        attached.users += 1
    try:
        yield
    finally:
        with _LOCK:
            attached.users -= 1
            if not attached.users:
                del _ATTACHED[module]
                for handle in attached.handles:
                    handle.remove()


def _before(module: nn.Module, given: object) -> None:
    for steering in _ACTIVE.get():
        if steering.root is module:
            steering.begin()


def _after(module: nn.Module, given: object, output: Any) -> Any:
    for steering in _ACTIVE.get():
        output = steering.after(module, output)
    return output


def relative_distance(before: Tensor, after: Tensor) -> float | None:
    """|after - before| / |before| over all elements; 0 where nothing moved, None where there was nothing to move."""
    moved, length = (float(torch.linalg.vector_norm(each.float())) for each in (after - before, before))
    return 0.0 if not moved else moved / length if length else None


def find(model: nn.Module, name: str) -> nn.Module:
    """Find a module by name. Raises `UnknownLayer` with the closest names, and `FoldedLayer`."""
    modules = dict(model.named_modules())
    if not name or name not in modules:
        closest = get_close_matches(name, modules, n=3, cutoff=0.3)
        raise UnknownLayer(f"the model has no layer {name}", field="target.layer", closest=[*closest])
    if isinstance(modules[name], FoldedConv | AfterFolding):
        raise FoldedLayer(f"{name} was folded with its normalisation", field="target.layer", layer=name)
    return modules[name]


def replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    """Put a tensor in the place of another in a module's output, which may be a tensor, sequence or mapping.

    Raises
    ------
    NotSteerable : `old` is not in there; it may be a view that an adapter made.
    """
    if output is old:
        return new
    if isinstance(output, dict):
        for key, part in output.items():
            if part is old:
                made = copy.copy(output)
                made[key] = new
                return made
    if isinstance(output, tuple | list):
        parts = [new if part is old else part for part in output]
        if any(part is new for part in parts):
            return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    raise NotSteerable(f"{type(output).__name__} holds no tensor that could be replaced", field="target.layer")


def median_norms(
    model: nn.Module,
    layers: Sequence[str],
    run: Callable[[], object],
    *,
    kept: Tensor | None = None,
    pick: Pick = first_tensor,
    channels_last: frozenset[str] = frozenset(),
) -> Mapping[str, float]:
    """Median L2 norm of the activation vectors of layers: the unit of strengths.

    Parameters
    ----------
    run : runs the model, once or for several batches; the median of the passes' medians is taken.
    kept : [B, T] bool, tokens that count; beginnings of sequences are often a hundred times as long.

    Returns
    -------
    Norm by layer, float, in raw activations.
    """
    found: dict[str, list[float]] = {name: [] for name in layers}
    owner = threading.get_ident()

    def hook_for(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, given: object, output: object) -> None:
            if threading.get_ident() != owner:
                return
            h = pick(name, output).detach().float()
            axis = 1 if h.ndim == MAP and name not in channels_last else h.ndim - 1
            norms = torch.linalg.vector_norm(h, dim=axis)
            norms = norms[kept] if kept is not None and kept.shape == norms.shape else norms
            found[name].append(float(norms.median()))

        return hook

    with ExitStack() as cleanup:
        for name in layers:
            cleanup.callback(find(model, name).register_forward_hook(hook_for(name)).remove)
        with torch.no_grad():
            run()
    return {name: median(norms) if norms else 0.0 for name, norms in found.items()}
