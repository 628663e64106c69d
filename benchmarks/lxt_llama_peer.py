"""LXT's explicit functions on a language model of the llama family from transformers, written out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lxt_peer import linear


def lxt_language_relevance(model: Any, ids: Tensor, target: int, blocks: Sequence[int], *, cp: bool) -> list[Tensor]:
    """Relevance of the last token's logit at the embeddings and at the outputs of some blocks, stabilisers at zero.

    Parameters
    ----------
    model : a LlamaForCausalLM. ids : [1, T] int64.

    Returns
    -------
    [1, T, width] each, the embeddings first.
    """
    import lxt.functional as lf

    with torch.no_grad():
        h = model.model.embed_tokens(ids)
        places = torch.arange(ids.shape[1]).unsqueeze(0)
        cos, sin = (each.to(h.dtype) for each in model.model.rotary_emb(h, places))
    leaf = h.detach().requires_grad_()
    h, seen = leaf, [leaf]
    for number, block in enumerate(model.model.layers):
        h = lf.add2(h, _attention(lf, block.self_attn, _normed(block.input_layernorm, h), cos, sin, cp=cp), epsilon=0.0)
        h = lf.add2(h, _gated(lf, block.mlp, _normed(block.post_attention_layernorm, h)), epsilon=0.0)
        if number in blocks:
            seen.append(h)
    output = linear(lf, _normed(model.model.norm, h)[:, -1], model.lm_head)
    seed = torch.zeros_like(output)
    seed[:, target] = output[:, target].detach()
    return list(torch.autograd.grad(output, seen, seed))


def _normed(norm: Any, x: Tensor) -> Tensor:
    """The identity rule on the module's own forward pass: LXT's function computes in float32 whatever it is given."""
    from lxt.rules import identity

    return identity(norm, x)


def _gated(lf: Any, mlp: Any, x: Tensor) -> Tensor:
    from lxt.rules import identity

    gate = identity(F.silu, linear(lf, x, mlp.gate_proj))
    return linear(lf, lf.mul2(gate, linear(lf, x, mlp.up_proj)), mlp.down_proj)


def _rotated(lf: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat((lf.mul2(x[..., half:], torch.tensor(-1.0, dtype=x.dtype)), x[..., :half]), dim=-1)
    return lf.add2(lf.mul2(x, cos.unsqueeze(1)), lf.mul2(turned, sin.unsqueeze(1)), epsilon=0.0)


def _attention(lf: Any, attention: Any, x: Tensor, cos: Tensor, sin: Tensor, *, cp: bool) -> Tensor:
    from lxt.rules import epsilon_lrp

    batch, count, _ = x.shape
    q, k, v = (
        linear(lf, x, layer).view(batch, count, -1, attention.head_dim).transpose(1, 2)
        for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    q, k = _rotated(lf, q, cos, sin), _rotated(lf, k, cos, sin)
    groups = q.shape[1] // k.shape[1]
    k, v = (each.repeat_interleave(groups, dim=1) for each in (k, v))
    later = torch.ones(count, count, dtype=torch.bool).triu(1)
    if cp:
        scores = ((q * attention.scaling) @ k.transpose(-2, -1)).masked_fill(later, float("-inf"))
        weights = scores.softmax(-1).detach()
        out = epsilon_lrp(lambda each: weights @ each, 0.0, v)
    else:
        scores = lf.matmul(q, k.transpose(-2, -1), epsilon=0.0)
        scaled = lf.mul2(scores, torch.tensor(attention.scaling, dtype=x.dtype)).masked_fill(later, float("-inf"))
        out = lf.matmul(lf.softmax(scaled, -1), v, epsilon=0.0)
    return linear(lf, out.transpose(1, 2).reshape(batch, count, -1), attention.o_proj)
