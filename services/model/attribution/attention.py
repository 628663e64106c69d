"""Softmax attention: fused calls are written out again, and relevance is shared between values, queries and keys."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from services.model.attribution.carriers import enter, inverse, leave
from services.model.attribution.errors import FusedAttention
from services.model.attribution.functions import handles, tracked
from services.model.attribution.kernel import Affine, affine
from services.model.attribution.policies import Attention

if TYPE_CHECKING:
    from services.model.attribution.tracer import Tracer

MHA = tuple(inspect.signature(F.multi_head_attention_forward).parameters)


@handles("scaled_dot_product_attention")
def scaled_dot_product(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """The fused kernel, as the plain functions that it stands for."""
    if not any(tracked(each) for each in (*args[:3], *kwargs.values())):
        return func(*args, **kwargs)
    with tracer:
        return written_out(*args, **kwargs)


def written_out(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q k^T * scale + mask) v. query [..., L, E], key and value [..., S, E]; grouped heads are repeated."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return torch.matmul(F.softmax(scores, dim=-1), value)


@handles("multi_head_attention_forward")
def multi_head(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> tuple[Tensor, Tensor | None]:
    """torch.nn.MultiheadAttention, written out; only its plain form (no bias_k, no static keys)."""
    given = dict(zip(MHA, args, strict=False)) | kwargs
    if not any(tracked(given[each]) for each in ("query", "key", "value")):
        return func(*args, **kwargs)
    for each in ("bias_k", "bias_v", "static_k", "static_v"):
        if given.get(each) is not None:
            site = tracer.site()
            raise FusedAttention(f"multi-head attention with `{each}` at {site}", field="model", site=site)
    if given.get("add_zero_attn") or given["query"].ndim != 3:
        raise FusedAttention(f"multi-head attention at {tracer.site()} is not batched and plain", field="model")
    with tracer:
        return _heads(given)


def _heads(given: dict) -> tuple[Tensor, Tensor | None]:
    query, key, value = (given[each] for each in ("query", "key", "value"))
    length, batch, width = query.shape
    count = given["num_heads"]
    q, k, v = _projected(given, query, key, value)

    def per_head(each: Tensor) -> Tensor:
        return each.reshape(each.shape[0], batch, count, -1).permute(1, 2, 0, 3)

    scores = (per_head(q) * (width // count) ** -0.5) @ per_head(k).transpose(-2, -1)
    mask, padding = given.get("attn_mask"), given.get("key_padding_mask")
    if mask is not None:
        mask = mask.view(batch, count, *mask.shape[-2:]) if mask.ndim == 3 else mask
        scores = scores.masked_fill(mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    if padding is not None:
        padding = padding[:, None, None, :]
        scores = scores.masked_fill(padding, -math.inf) if padding.dtype == torch.bool else scores + padding
    weights = F.softmax(scores, dim=-1)
    heads = torch.matmul(weights, per_head(v)).permute(2, 0, 1, 3).reshape(length, batch, width)
    out = F.linear(heads, given["out_proj_weight"], given.get("out_proj_bias"))
    if not given.get("need_weights", True):
        return out, None
    return out, weights.detach().mean(1) if given.get("average_attn_weights", True) else weights.detach()


def _projected(given: dict, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    bias = given.get("in_proj_bias")
    if query is key and key is value and not given.get("use_separate_proj_weight"):
        return F.linear(query, given["in_proj_weight"], bias).chunk(3, dim=-1)
    weights = (
        [given[each] for each in ("q_proj_weight", "k_proj_weight", "v_proj_weight")]
        if given.get("use_separate_proj_weight")
        else given["in_proj_weight"].chunk(3)
    )
    biases = (None, None, None) if bias is None else bias.chunk(3)
    q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    return q, k, v


@handles("softmax")
def softmax(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Attention weights (rank 3 and more) follow the stakes; a final softmax always passes relevance on.

    AttnLRP, eq. 13: R_s = s * (R_A - A sum R_A). What that rule does not hand on is booked as `softmax`.
    """
    x = args[0] if args else kwargs["input"]
    weights = func(x.detach(), *args[1:], **{key: each for key, each in kwargs.items() if key != "input"})
    if not tracked(x):
        return weights
    policy = tracer.rule("attention") if x.ndim > 2 else Attention(0.0, 0.5, 0.5)
    if policy.constant:
        tracer.mark_attention(weights)
        return weights
    dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
    scores = torch.where(x.isfinite(), x.detach(), torch.zeros((), dtype=x.dtype))

    def share(relevance: Tensor) -> tuple[Tensor]:
        total = relevance.sum(dim, keepdim=True)
        if tracer.absolute:
            return (scores.abs() * (relevance * (1 - 2 * weights) + weights * total),)
        passed = scores * (relevance - weights * total)
        if tracer.ledger is not None:
            tracer.ledger.add("softmax", relevance - passed)
        return (passed,)

    out = leave(share, weights, x)
    tracer.mark_attention(out)
    return out


@handles("attend")
def attend(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """`A v` with attention weights A [..., L, S] and values v [..., S, E]."""
    weights, values = args
    policy, rule = tracer.rule("attention"), tracer.rule("values")
    if not tracked(values):
        return torch.matmul(weights.detach(), values)
    routing = routed(weights.detach(), policy)
    value = torch.matmul(weights.detach(), values.detach())
    base = value if routing is None else torch.matmul(routing, values.detach())
    held = weights.detach() if routing is None else routing
    operation = Affine(lambda v, w, b: torch.matmul(w, v), values, held, None, value, base=base)
    out = affine(operation, rule, tracer.ledger, absolute=tracer.absolute)
    if tracked(weights) and not policy.constant:
        out = _with_weights(tracer, out, weights, values.detach(), policy.value)
    if policy.head_temperature != 1 and out.ndim == 4:
        out = gated(tracer, out, policy.head_temperature)
    return out


def routed(weights: Tensor, policy: Attention) -> Tensor | None:
    """The weights that relevance follows; None: the model's own."""
    if policy.temperature == 1 and policy.mix == 0:
        return None
    routing = weights
    if policy.temperature != 1:
        routing = weights ** (1 / policy.temperature)
        routing = routing / routing.sum(-1, keepdim=True)
    if policy.mix:
        if policy.anchor == "mean":
            anchor = weights.mean(-2, keepdim=True).expand_as(weights)
        else:
            anchor = torch.eye(*weights.shape[-2:], dtype=weights.dtype, device=weights.device)
        routing = (1 - policy.mix) * routing + policy.mix * anchor
    return routing


def _with_weights(tracer: Tracer, by_value: Tensor, weights: Tensor, values: Tensor, stake: float) -> Tensor:
    """Share R: `stake` to the values, the rest to the attention weights by the eps rule."""
    output = by_value.detach()
    way, other = (weights.detach(), values) if not tracer.absolute else (weights.detach().abs(), values.abs())
    by_weight = torch.matmul(enter(weights, way, way), other)
    price = inverse(output, tracer.composite.eps)
    price = price.abs() if tracer.absolute else price

    def share(relevance: Tensor) -> tuple[Tensor, Tensor]:
        rest = relevance * (1 - stake)
        quotient = rest * price
        if tracer.ledger is not None:
            tracer.ledger.add("killed", rest - quotient * output)
        return relevance * stake, quotient

    return leave(share, output, by_value, by_weight)


def gated(tracer: Tracer, heads: Tensor, temperature: float) -> Tensor:
    """Head gate: R_h scaled by |R_h|^(1/t - 1), normalised so that sum |R_h| stays. heads [B, H, L, E]."""

    def share(relevance: Tensor) -> tuple[Tensor]:
        mass = relevance.sum((-2, -1), keepdim=True).abs()
        sharpened = mass ** (1 / temperature)
        total = sharpened.sum(-3, keepdim=True)
        kept = torch.where(total > 0, mass.sum(-3, keepdim=True) / total, torch.zeros((), dtype=mass.dtype))
        scale = torch.where(mass > 0, sharpened * kept / mass, torch.zeros((), dtype=mass.dtype))
        if tracer.ledger is not None:
            tracer.ledger.add("gate", relevance * (1 - scale))
        return (relevance * scale,)

    return leave(share, heads.detach(), heads)
