"""The functions of torch by name: which are structural, which have a handler, and helpers that handlers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from services.model.attribution.tracer import Tracer

Handler = Callable[["Tracer", Callable, tuple, dict], object]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VIEW_ATTRIBUTES = frozenset({"T", "mT", "H", "mH"})
UNTRACKED = _names(
    """
    size dim stride numel is_contiguous is_floating_point is_complex element_size storage_offset data_ptr _assert
    detach requires_grad_ __len__ __bool__ __repr__ __format__ is_cuda get_device untyped_storage item tolist
    __hash__ register_hook numpy retain_grad backward is_inference is_nonzero is_same_size result_type
    """
)
STRUCTURAL = _names(
    """
    view reshape flatten unflatten permute transpose swapaxes swapdims movedim moveaxis t squeeze unsqueeze expand
    expand_as broadcast_to contiguous clone to float double type_as __getitem__ select narrow index_select gather
    take_along_dim chunk split tensor_split unbind unfold im2col flip roll rot90 repeat repeat_interleave tile
    diagonal pixel_shuffle pixel_unshuffle channel_shuffle dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_dropout feature_alpha_dropout view_as reshape_as
    max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool1d_with_indices max_pool3d_with_indices
    adaptive_max_pool1d adaptive_max_pool2d amax amin max min maximum minimum topk sort T mT H mH identity alias
    squeeze_copy atleast_1d atleast_2d atleast_3d unsafe_chunk unsafe_split ravel bfloat16 half type cpu cuda
    adaptive_max_pool2d_with_indices broadcast_tensors hsplit vsplit dsplit
    """
)
ACTIVATIONS = _names(
    """
    relu relu6 hardtanh gelu silu tanh sigmoid leaky_relu elu selu celu softplus mish hardswish hardsigmoid
    prelu rrelu softsign logsigmoid clamp clamp_min clamp_max clip threshold hardshrink softshrink tanhshrink erf exp
    pow square abs
    """
)
NORMALISERS = _names("rsqrt sqrt std var norm linalg_norm linalg_vector_norm vector_norm reciprocal std_mean var_mean")
AVERAGES = _names(
    """
    mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    interpolate upsample cumsum nansum
    """
)
MIXING = _names("cat concat concatenate stack hstack vstack where masked_fill column_stack")
FUSED = _names(
    """
    _native_multi_head_attention flex_attention _scaled_dot_product_flash_attention flash_attn_func
    _scaled_dot_product_efficient_attention _transformer_encoder_layer_fwd
    """
)
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


def plain(value: object) -> Any:
    """The same tree with every tensor out of the graph."""
    if isinstance(value, Tensor):
        return value.detach()
    if type(value) in (tuple, list):
        return type(value)(plain(each) for each in value)
    return {key: plain(each) for key, each in value.items()} if type(value) is dict else value


def replaced(value: object, by: dict[int, Tensor]) -> Any:
    """The same tree with some tensors, given by id, replaced."""
    if isinstance(value, Tensor):
        return by.get(id(value), value)
    if type(value) in (tuple, list):
        return type(value)(replaced(each, by) for each in value)
    return {key: replaced(each, by) for key, each in value.items()} if type(value) is dict else value


def named(args: tuple, kwargs: dict, *names: str) -> list:
    """Arguments by position or by name; a missing one is None."""
    return [args[at] if at < len(args) else kwargs.get(name) for at, name in enumerate(names)]
