"""One traced forward pass: the graph along which relevance flows, kept for as many backward passes as are wanted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.model.attribution.carriers import Ledger
from services.model.attribution.composite import Composite
from services.model.attribution.errors import BadComposite, BadInputs, NoGradientPath
from services.model.attribution.targets import Inputs, Target, main_input, output_tensor, scored
from services.model.attribution.tracer import Tracer
from services.model.capture.hooks import first_tensor
from services.model.errors import CalledAgain


@dataclass
class Run:
    """A forward pass that can be explained. `seed` is what flows backward from `carrier`, the output in the graph."""

    tracer: Tracer
    leaf: Tensor
    carrier: Tensor
    output: Tensor
    score: Tensor
    seed: Tensor
    captured: dict[str, Tensor]  # in order of execution
    ledger: Ledger
    tokens: bool

    def stop_booking(self) -> None:
        """Backward passes from here on leave the ledger alone."""
        self.ledger.closed, self.tracer.ledger = True, None


def traced(
    model: nn.Module, inputs: Inputs, target: Target, composite: Composite, *, layers: Sequence[str] = (),
    fallback: str = "error", absolute: bool = False, record: bool = False,
) -> Run:  # fmt: skip
    """Run the model once under the composite's rules; the model is as before afterwards, whatever happens."""
    name, given = main_input(inputs)
    tokens = not given.is_floating_point()
    leaf = given.detach() if tokens else given.detach().clone().requires_grad_()
    plain = composite.carrier != "relevance"
    deviations = None if plain else _deviations(model, inputs, name, leaf, composite, fallback)
    ledger = Ledger()
    tracer = Tracer(
        model, composite, fallback=fallback, ledger=None if record else ledger, absolute=absolute, record=record,
        token_ids=given if tokens else None, deviations=deviations, plain=plain,
    )  # fmt: skip
    fed: object = leaf if name is None else dict(inputs) | {name: leaf}
    with torch.enable_grad(), captured_outputs(model, layers, copies=plain) as seen:
        with tracer if not plain or tokens else nullcontext():
            out = model(**fed) if isinstance(fed, Mapping) else model(fed)
        carrier = tracer.made(output_tensor(out))
        held = {each: tracer.made(tensor, as_captured=True) for each, tensor in seen.items()}
    tracer.forget()
    if tokens:
        if tracer.leaf is None:
            raise BadInputs("integer inputs without an embedding that looks them up need no gradient", field="inputs")
        leaf = tracer.leaf
    if not carrier.requires_grad:
        raise NoGradientPath("the output does not depend on the inputs", field="model")
    for each, tensor in held.items():
        if not tensor.requires_grad:
            raise NoGradientPath(f"layer {each!r} does not depend on the inputs", field="layers", layer=each)
    output = carrier.detach()
    score, gradient = scored(output, target)
    return Run(tracer, leaf, carrier, output, score, gradient if plain else gradient * output, held, ledger, tokens)


@contextmanager
def captured_outputs(model: nn.Module, layers: Sequence[str], *, copies: bool) -> Iterator[dict[str, Tensor]]:
    """Outputs of `layers` by name, in order of execution, of this thread's forward pass only."""
    seen: dict[str, Tensor] = {}
    thread = threading.get_ident()

    def hook(name: str):
        def keep(module: nn.Module, args: object, output: object) -> object:
            if threading.get_ident() != thread:
                return None
            if name in seen:
                raise CalledAgain(f"{name} runs more than once in one forward pass", field="layers", layer=name)
            seen[name] = first_tensor(name, output)
            return output.clone() if copies and isinstance(output, Tensor) else None

        return keep

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in dict.fromkeys(layers)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _deviations(
    model: nn.Module, inputs: Inputs, name: str | None, leaf: Tensor, composite: Composite, fallback: str
) -> dict[int, Tensor] | None:
    """Standard deviation of the input of each affine operation under input noise. [*x] by index of the operation."""
    attitudes = {(risk.noise, risk.samples, risk.seed) for risk in composite.risks()}
    if not attitudes:
        return None
    if len(attitudes) > 1 or not leaf.is_floating_point():
        raise BadComposite("risk needs floating inputs, and one noise, number of samples and seed", field="risk")
    ((noise, samples, seed),) = attitudes
    draw = torch.Generator().manual_seed(seed)
    sums: dict[int, list[Tensor]] = {}

    def watch(index: int, x: Tensor) -> None:
        if index in sums:
            sums[index][0] += x
            sums[index][1] += x**2
        else:
            sums[index] = [x.clone(), x**2]

    for _ in range(samples):
        tracer = Tracer(model, Composite(), fallback=fallback)
        tracer.watch = watch
        step = torch.randn(leaf.shape, generator=draw, dtype=leaf.dtype).to(leaf.device)
        noisy = (leaf.detach() + noise * step).requires_grad_()
        with tracer, torch.enable_grad():
            model(noisy) if name is None else model(**(dict(inputs) | {name: noisy}))
    return {
        index: ((square / samples - (total / samples) ** 2).clamp(min=0) * samples / (samples - 1)).sqrt()
        for index, (total, square) in sums.items()
    }
