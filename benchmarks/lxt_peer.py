"""LXT's explicit functions on a timm vision transformer, written out by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def lxt_relevance(model: nn.Module, x: Tensor, target: int, *, cp: bool) -> Tensor:
    """Relevance at the first block's input, [1, tokens, width], with all stabilisers at zero."""
    import lxt.functional as lf

    with torch.no_grad():
        tokens = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x))))
    leaf = tokens.detach().requires_grad_()
    h = leaf
    for block in model.blocks:
        out = _attention(lf, block.attn, _normed(lf, h, block.norm1), cp=cp)
        h = lf.add2(h, lf.mul2(out, block.ls1.gamma.detach()), epsilon=0.0)
        h = lf.add2(h, lf.mul2(_mlp(lf, block.mlp, _normed(lf, h, block.norm2)), block.ls2.gamma.detach()), epsilon=0.0)
    output = _normed(lf, h, model.norm)[:, 0]
    seed = torch.zeros_like(output)
    seed[:, target] = output[:, target].detach()
    return torch.autograd.grad(output, leaf, seed)[0]


def _normed(lf: object, x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return lf.layer_norm_grad_fn.apply(x, norm.weight.detach(), norm.bias.detach(), norm.eps, 0.0)


def linear(lf: object, x: Tensor, layer: nn.Linear) -> Tensor:
    bias = None if layer.bias is None else layer.bias.detach()
    return lf.linear_epsilon(x, layer.weight.detach(), bias, 0.0)


def _mlp(lf: object, mlp: nn.Module, x: Tensor) -> Tensor:
    from lxt.rules import identity

    return linear(lf, identity(F.gelu, linear(lf, x, mlp.fc1)), mlp.fc2)


def _attention(lf: object, attention: nn.Module, x: Tensor, *, cp: bool) -> Tensor:
    from lxt.rules import epsilon_lrp

    batch, count, width = x.shape
    both = linear(lf, x, attention.qkv).reshape(batch, count, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = both.unbind(0)
    if cp:
        weights = ((q * attention.scale) @ k.transpose(-2, -1)).softmax(-1).detach()
        out = epsilon_lrp(lambda each: weights @ each, 0.0, v)
    else:
        scaled = lf.mul2(q, torch.tensor(attention.scale, dtype=x.dtype))
        scores = lf.matmul(scaled, k.transpose(-2, -1), epsilon=0.0)
        out = lf.matmul(lf.softmax(scores, -1), v, epsilon=0.0)
    return linear(lf, out.transpose(1, 2).reshape(batch, count, width), attention.proj)
