"""What each function of torch does to relevance, by the function's name.

Structural functions move entries without mixing them, so native autograd is their rule. The handlers here cover affine
and bilinear maps, sums, products, activations, normalisations and averages; attention is in attention.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from services.model.attribution.carriers import enter, inverse, leave, pass_through
from services.model.attribution.errors import FusedAttention, TrainingMode
from services.model.attribution.kernel import Affine, Bilinear, affine
from services.model.attribution.rules import STABILISER, Epsilon

if TYPE_CHECKING:
    from services.model.attribution.tracer import Tracer

Handler = Callable[["Tracer", Callable, tuple, dict], object]

VIEW_ATTRIBUTES = frozenset({"T", "mT", "H", "mH"})
UNTRACKED = frozenset(
    """size dim stride numel is_contiguous is_floating_point is_complex element_size storage_offset data_ptr _assert
    detach requires_grad_ __len__ __bool__ __repr__ __format__ type is_cuda get_device untyped_storage item tolist
    __hash__ register_hook numpy retain_grad backward is_inference is_nonzero is_same_size result_type
    """.split()
)
STRUCTURAL = frozenset(
    """view reshape flatten unflatten permute transpose swapaxes swapdims movedim moveaxis t squeeze unsqueeze expand
    expand_as broadcast_to contiguous clone to float double type_as __getitem__ select narrow index_select gather
    take_along_dim chunk split tensor_split unbind unfold im2col flip roll rot90 repeat repeat_interleave tile
    diagonal pixel_shuffle pixel_unshuffle channel_shuffle dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_dropout feature_alpha_dropout view_as reshape_as
    max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool1d_with_indices max_pool3d_with_indices
    adaptive_max_pool1d adaptive_max_pool2d amax amin max min maximum minimum topk sort T mT H mH identity alias
    squeeze_copy atleast_1d atleast_2d atleast_3d unsafe_chunk unsafe_split ravel bfloat16 half cpu cuda
    adaptive_max_pool2d_with_indices broadcast_tensors hsplit vsplit dsplit
    """.split()
)
ACTIVATIONS = """relu relu6 hardtanh gelu silu tanh sigmoid leaky_relu elu selu celu softplus mish hardswish hardsigmoid
    prelu rrelu softsign logsigmoid clamp clamp_min clamp_max clip threshold hardshrink softshrink tanhshrink erf exp
    pow square abs""".split()
NORMALISERS = "rsqrt sqrt std var norm linalg_norm linalg_vector_norm vector_norm reciprocal std_mean var_mean".split()
AVERAGES = """mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    interpolate upsample cumsum nansum""".split()
MIXING = "cat concat concatenate stack hstack vstack where masked_fill pad column_stack".split()
FUSED = """_native_multi_head_attention flex_attention _scaled_dot_product_flash_attention flash_attn_func
    _scaled_dot_product_efficient_attention _transformer_encoder_layer_fwd""".split()
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler under these function names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def tensors_in(value: object) -> Iterator[Tensor]:
    """All tensors of a tree of tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def tracked(value: object) -> bool:
    """Whether relevance can flow into this operand."""
    return isinstance(value, Tensor) and value.requires_grad


# --- affine maps --------------------------------------------------------------------------------------
def affine_call(
    tracer: Tracer, kind: str, name: str, call: Bilinear, x: Tensor, w: Tensor, b: Tensor | None,
    column: tuple[int, ...] = (-1,),
) -> Tensor:  # fmt: skip
    """A map that is linear in x with constant w and b."""
    rule = tracer.rule(kind)
    raw = call(enter(x, x, x), w, b)
    return tracer.affine(Affine(call, x, w, b, raw.detach(), raw, column=column), rule, name)


@handles("linear")
def linear(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    x, w, b = _named(args, kwargs, "input", "weight", "bias")
    if not tracked(x) or tracked(w):
        return func(*args, **kwargs) if not tracked(w) else bilinear(tracer, x, w.transpose(-1, -2))
    return affine_call(tracer, "linear", "linear", F.linear, x, w, b)


@handles("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def convolution(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    x, w, b = _named(args, kwargs, "input", "weight", "bias")
    if not tracked(x):
        return func(*args, **kwargs)
    rest = args[3:]
    options = {key: value for key, value in kwargs.items() if key not in ("input", "weight", "bias")}

    def call(each: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return func(each, weight, bias, *rest, **options)

    return affine_call(tracer, "conv", func.__name__, call, x, w, b, (-1, *[1] * (w.ndim - 2)))


@handles("addmm", "baddbmm")
def add_matmul(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    bias, x, w = args[:3]
    if kwargs or not tracked(x) or tracked(w) or tracked(bias):
        return _sum(tracer, (bias, matmul(tracer, torch.matmul, (x, w), {})), 1.0)

    def call(each: Tensor, weight: Tensor, b: Tensor | None) -> Tensor:
        return torch.matmul(each, weight) if b is None else func(b, each, weight)

    return affine_call(tracer, "linear", func.__name__, call, x, w, bias)


@handles("matmul", "__matmul__", "__rmatmul__", "mm", "bmm")
def matmul(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    left, right = _named(args, kwargs, "input", "mat2" if "mat2" in kwargs else "other")
    if func.__name__ == "__rmatmul__":
        left, right = right, left
    if tracer.is_attention(left):
        return HANDLERS["attend"](tracer, torch.matmul, (left, right), {})
    if tracked(left) and tracked(right):
        return bilinear(tracer, left, right)
    if tracked(left):
        return affine_call(tracer, "linear", "matmul", lambda x, w, b: torch.matmul(x, w), left, right, None)
    if tracked(right):
        return affine_call(tracer, "linear", "matmul", lambda x, w, b: torch.matmul(w, x), right, left, None)
    return func(*args, **kwargs)


@handles("einsum")
def einsum(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    equation, operands = args[0], list(args[1]) if isinstance(args[1], tuple | list) else list(args[1:])
    moving = [index for index, each in enumerate(operands) if tracked(each)]
    if not moving:
        return func(*args, **kwargs)
    if len(moving) > 1 or len(operands) > 2:
        return _products(tracer, lambda *each: torch.einsum(equation, *each), operands, moving)
    if len(operands) == 1:
        return linear_map(tracer, func, (equation, *operands), {}, at=1)
    (at,) = moving

    def call(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return torch.einsum(equation, *((x, w) if at == 0 else (w, x)))

    return affine_call(tracer, "linear", "einsum", call, operands[at], operands[1 - at], None)


def bilinear(tracer: Tracer, left: Tensor, right: Tensor) -> Tensor:
    """A product of two signals, `q k^T`: each operand by the eps rule, shared by the attention's stakes."""
    policy = tracer.rule("attention")
    total = policy.query + policy.key
    shares = (policy.query / total, policy.key / total) if total else (0.5, 0.5)
    return _products(tracer, torch.matmul, [left, right], [0, 1], shares)


def _products(
    tracer: Tracer, call: Callable, operands: list[Tensor], moving: list[int], shares: tuple[float, ...] = (),
) -> Tensor:  # fmt: skip
    shares = shares or tuple(1 / len(moving) for _ in moving)
    value = call(*(each.detach() for each in operands))
    branches = []
    for at in moving:

        def only(x: Tensor, w: Tensor, b: Tensor | None, at: int = at) -> Tensor:
            weights = [each.detach().abs() if tracer.absolute else each.detach() for each in operands]
            return call(*weights[:at], x, *weights[at + 1 :])

        x = operands[at]
        held = x.detach().abs() if tracer.absolute else x.detach()
        branches.append(only(enter(x, held, held), x, None))
    price = inverse(value, STABILISER)
    price = price.abs() if tracer.absolute else price

    def share(relevance: Tensor) -> list[Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            tracer.ledger.add("killed", relevance - quotient * value)
        return [quotient * part for part in shares]

    return leave(share, value, *branches)


# --- sums, products, elementwise ----------------------------------------------------------------------
@handles("add", "__add__", "__radd__", "__iadd__", "sub", "subtract", "__sub__", "__rsub__", "__isub__", "rsub")
def add(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    left, right = _named(args, kwargs, "input", "other")
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    name = func.__name__
    if name in ("__rsub__", "rsub"):
        left, right = right, left
    if not tracked(left) and not tracked(right):
        return func(*args, **kwargs)
    factor = -alpha if "sub" in name else alpha
    return _sum(tracer, (left, right if factor == 1 else _scaled(right, factor)), 1.0)


def _scaled(value: object, factor: float) -> object:
    return pass_through(value, value.detach() * factor) if tracked(value) else value * factor


def _sum(tracer: Tracer, terms: tuple[object, object], _: float) -> Tensor:
    left, right = terms
    value = (left.detach() if isinstance(left, Tensor) else left) + (
        right.detach() if isinstance(right, Tensor) else right
    )
    if not (tracked(left) and tracked(right)):
        return _biased(tracer, left if tracked(left) else right, value)
    policy = tracer.rule("residual")
    if policy.kind == "eps":
        return _eps_sum(tracer, left, right, value, policy.eps)
    first, second = left.detach().expand_as(value), right.detach().expand_as(value)
    if policy.kind == "fixed":
        parts = torch.full_like(value, policy.skip), torch.full_like(value, 1 - policy.skip)
    else:
        sizes = (first.abs(), second.abs()) if policy.kind == "abs" else (first.clamp(min=0), second.clamp(min=0))
        below = inverse(sizes[0] + sizes[1], policy.eps)
        parts = sizes[0] * below, sizes[1] * below

    def share(relevance: Tensor) -> tuple[Tensor, Tensor]:
        if tracer.ledger is not None:
            tracer.ledger.add("killed", relevance * (1 - parts[0] - parts[1]))
        return relevance * parts[0], relevance * parts[1]

    return leave(share, value, left.expand_as(value), right.expand_as(value))


def _eps_sum(tracer: Tracer, left: Tensor, right: Tensor, value: Tensor, eps: float) -> Tensor:
    price = inverse(value, eps)
    ways = [each.detach() for each in (left, right)]
    if tracer.absolute:
        price, ways = price.abs(), [each.abs() for each in ways]

    def share(relevance: Tensor) -> tuple[Tensor, Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            tracer.ledger.add("killed", relevance - quotient * value)
        return quotient, quotient

    branches = [enter(each, way, way).expand_as(value) for each, way in zip((left, right), ways, strict=True)]
    return leave(share, value, *branches)


def _biased(tracer: Tracer, signal: Tensor, value: Tensor) -> Tensor:
    """A sum with a constant: the constant takes its share, as a bias does."""
    price = inverse(value, STABILISER)
    price, way = (price.abs(), signal.detach().abs()) if tracer.absolute else (price, signal.detach())

    def share(relevance: Tensor) -> tuple[Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            kept = quotient * signal.detach()
            tracer.ledger.add("bias", torch.where(quotient == 0, quotient, relevance - kept))
        return (quotient,)

    return leave(share, value, enter(signal, way, way).expand_as(value))


@handles("mul", "multiply", "__mul__", "__rmul__", "__imul__")
def multiply(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    left, right = _named(args, kwargs, "input", "other")
    value = func(*(_plain(each) for each in (left, right)))
    if tracked(left) and tracked(right):
        if left is right:
            return pass_through(left, value)
        first = tracer.rule("gate").first
        shape = value.shape
        return leave(lambda r: (r * first, r * (1 - first)), value, left.expand(shape), right.expand(shape))
    if tracked(left) or tracked(right):
        return pass_through((left if tracked(left) else right).expand_as(value), value)
    return value


@handles("div", "divide", "true_divide", "__truediv__", "__rdiv__", "__rtruediv__", "__div__", "__itruediv__")
def divide(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """The numerator takes all; a denominator only normalises."""
    left, right = _named(args, kwargs, "input", "other")
    value = func(_plain(left), _plain(right), **{key: each for key, each in kwargs.items() if key == "rounding_mode"})
    above = right if func.__name__ in ("__rdiv__", "__rtruediv__") else left
    return pass_through(above.expand_as(value), value) if tracked(above) else value


@handles(*ACTIVATIONS, "neg", "negative", "positive", "normalize", "real")
def activation(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Identity rule: R at the output is R at the input."""
    x = args[0] if args else kwargs["input"]
    value = func(*_plain(args), **{key: False if key == "inplace" else _plain(each) for key, each in kwargs.items()})
    return pass_through(x, value) if tracked(x) and isinstance(value, Tensor) and value.is_floating_point() else value


@handles(*NORMALISERS)
def normaliser(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> object:
    """A deviation or a length is a constant of the normalisation that uses it."""
    return func(*_plain(args), **_plain(kwargs))


@handles(*AVERAGES)
def linear_map(tracer: Tracer, func: Callable, args: tuple, kwargs: dict, at: int = 0) -> Tensor:
    """Averages, sums and resampling: linear with weights >= 0, shared by contribution."""
    x = args[at] if len(args) > at else kwargs.pop("input")
    if not tracked(x):
        return func(*args, **kwargs)
    eps = tracer.rule("average").eps
    value = func(*args[:at], x.detach(), *args[at + 1 :], **kwargs)
    price, way = inverse(value, eps), x.detach()
    if tracer.absolute:
        price, way = price.abs(), way.abs()

    def share(relevance: Tensor) -> tuple[Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            tracer.ledger.add("killed", relevance - quotient * value)
        return (quotient,)

    return leave(share, value, func(*args[:at], enter(x, way, way), *args[at + 1 :], **kwargs))


@handles(*MIXING)
def mixing(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Signals beside constants (class tokens, padding, masks): what the constants get is booked."""
    sources = [each for each in tensors_in((args, kwargs)) if each.requires_grad]
    ledger = tracer.ledger
    if not sources or ledger is None or tracer.absolute:
        return func(*args, **kwargs)

    def booked(direction: int) -> Callable[[Tensor], tuple[Tensor]]:
        def share(relevance: Tensor) -> tuple[Tensor]:
            ledger.add("constant", direction * relevance)
            return (relevance,)

        return share

    taps = {id(each): leave(booked(-1), each, each) for each in sources}
    whole = func(*_replaced(args, taps), **_replaced(kwargs, taps))
    return leave(booked(1), whole, whole)


# --- normalisation ------------------------------------------------------------------------------------
def batch_norm(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """BatchNorm in evaluation mode: folded into the affine operation before it, else an affine map of its own."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = dict(zip(names, args, strict=False)) | kwargs
    if given.get("training"):
        raise TrainingMode(f"batch_norm uses batch statistics at {tracer.site()}", field="model")
    settings = tracer.resolved({key: each for key, each in given.items() if key != "input"})
    mean, variance = settings["running_mean"], settings["running_var"]
    scale = (variance + settings.get("eps", 1e-5)).rsqrt()
    scale = scale if settings.get("weight") is None else scale * settings["weight"]
    shift = -mean * scale if settings.get("bias") is None else settings["bias"] - mean * scale
    before = tracer.pending(given["input"])
    if before is not None and before.name in ("linear", "conv1d", "conv2d", "conv3d"):
        old = before.operation
        raw = func(old.raw, **settings)
        weight = old.w * scale.view(-1, *[1] * (old.w.ndim - 1))
        bias = shift if old.b is None else shift + old.b * scale
        folded = Affine(old.call, old.x, weight, bias, raw.detach(), raw, column=old.column)
        out = tracer.affine(folded, before.rule, before.name)
        tracer.folded(given["input"], out)
        return out
    x = tracer.resolved(given["input"])
    if not tracked(x):
        return func(x, **settings)
    column = (-1, *[1] * (x.ndim - 2))

    def call(each: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return each * w if b is None else each * w + b.view(column)

    rule = tracer.rule("batchnorm")
    operation = Affine(call, x, scale.view(column), shift, func(x.detach(), **settings), column=column)
    return tracer.affine(operation, rule, "batch_norm")


@handles("layer_norm", "group_norm", "instance_norm", "rms_norm", "native_layer_norm")
def normalisation(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """The deviation is a constant; mean and affine map follow the eps rule."""
    x = args[0] if args else kwargs["input"]
    value = func(*_plain(args), **_plain(kwargs))
    if not tracked(x):
        return value
    policy, name = tracer.rule("norm"), func.__name__
    if policy.kind == "identity" or name == "rms_norm":
        return pass_through(x, value)
    options = _norm_options(name, args, kwargs)
    groups, weight = options
    way = x.detach().abs() if tracer.absolute else x.detach()
    held = enter(x, way, way)
    rows = held.reshape(groups(x))
    count, mean = rows.shape[-1], x.detach().reshape(groups(x)).mean(-1, keepdim=True)
    if tracer.absolute:
        centred = rows * (1 - 2 / count) + rows.mean(-1, keepdim=True)
    else:
        centred = rows - rows.mean(-1, keepdim=True)
    deviation = ((x.detach().reshape(groups(x)) - mean) ** 2).mean(-1, keepdim=True)
    spread = (deviation + _eps_of(name, args, kwargs)).rsqrt()
    branch = (centred * spread).reshape(x.shape)
    branch = branch if weight is None else branch * (weight.abs() if tracer.absolute else weight)
    price = inverse(value, policy.eps)
    price = price.abs() if tracer.absolute else price

    def share(relevance: Tensor) -> tuple[Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            kept = quotient * branch.detach()
            tracer.ledger.add("bias", quotient * value - kept)
            tracer.ledger.add("killed", relevance - quotient * value)
        return (quotient,)

    return leave(share, value, branch)


def _eps_of(name: str, args: tuple, kwargs: dict) -> float:
    at = {"layer_norm": 4, "group_norm": 4, "instance_norm": 7, "native_layer_norm": 4}[name]
    return kwargs.get("eps", args[at] if len(args) > at else 1e-5)


def _norm_options(name: str, args: tuple, kwargs: dict) -> tuple[Callable[[Tensor], tuple[int, ...]], Tensor | None]:
    """How to lay the input out in rows that are normalised together, and the weight, ready to broadcast."""
    if name in ("layer_norm", "native_layer_norm"):
        shape, weight = _named(args[1:], kwargs, "normalized_shape", "weight")
        return lambda x: (*x.shape[: x.ndim - len(shape)], -1), weight
    if name == "group_norm":
        count, weight = _named(args[1:], kwargs, "num_groups", "weight")
        return lambda x: (x.shape[0], count, -1), _columned(weight, args[0] if args else kwargs["input"])
    weight = kwargs.get("weight", args[3] if len(args) > 3 else None)
    return lambda x: (*x.shape[:2], -1), _columned(weight, args[0] if args else kwargs["input"])


def _columned(weight: Tensor | None, x: Tensor) -> Tensor | None:
    return None if weight is None else weight.view(-1, *[1] * (x.ndim - 2))


@handles("embedding")
def embedding(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """The look-up of the explained token ids is the input of the game; other look-ups are constants."""
    ids = args[0] if args else kwargs["input"]
    value = func(*_plain(args), **_plain(kwargs))
    wanted = tracer.token_ids
    if tracer.leaf is None and wanted is not None and ids.shape == wanted.shape and torch.equal(ids, wanted):
        tracer.leaf = value.detach().requires_grad_()
        return tracer.leaf
    return value


@handles(*FUSED)
def fused(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> object:
    """A compiled kernel that hides its attention weights."""
    raise FusedAttention(f"`{func.__name__}` at {tracer.site()} cannot be expanded", field="model", site=tracer.site())


def by_gradient(tracer: Tracer, func: Callable, args: tuple, kwargs: dict, out: Tensor) -> Tensor:
    """Gradient x input for an operation without a rule: R_x = x * J^T (R / y)."""
    sources = {id(each): each for each in tensors_in((args, kwargs)) if each.requires_grad}
    held = {key: enter(each, each, each) for key, each in sources.items()}
    branch = func(*_replaced(args, held), **_replaced(kwargs, held))
    price, value = inverse(out.detach(), STABILISER), out.detach()
    return leave(lambda relevance: (relevance * price,), value, branch)


def rule_for_products() -> Epsilon:
    """Products of two signals are always shared by contribution."""
    return Epsilon()


def _plain(value):  # noqa: ANN001, ANN202  (a tree of anything)
    if isinstance(value, Tensor):
        return value.detach()
    if type(value) in (tuple, list):
        return type(value)(_plain(each) for each in value)
    return {key: _plain(each) for key, each in value.items()} if type(value) is dict else value


def _replaced(value, by: dict[int, Tensor]):  # noqa: ANN001, ANN202  (a tree of anything)
    if isinstance(value, Tensor):
        return by.get(id(value), value)
    if type(value) in (tuple, list):
        return type(value)(_replaced(each, by) for each in value)
    return {key: _replaced(each, by) for key, each in value.items()} if type(value) is dict else value


def _named(args: tuple, kwargs: dict, *names: str) -> list:
    """Arguments by position or by name; a missing one is None."""
    return [args[at] if at < len(args) else kwargs.get(name) for at, name in enumerate(names)]


__all__ = ["HANDLERS", "STRUCTURAL", "UNTRACKED", "VIEW_ATTRIBUTES", "affine", "affine_call", "batch_norm"]
