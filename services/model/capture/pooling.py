"""Pooling: one number per sample and component from a layer's output."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from contracts.errors import LayoutError, UnknownPooling
from contracts.model import LayerKind

TOKEN = re.compile(r"token:(\d+)")


@dataclass(frozen=True)
class Pooled:
    """Pooled activations of one batch.

    Parameters
    ----------
    values : [B, C] float32.
    positions : [B, C] int32, flat index of the maximum in the map (row-major over H, W), for `max` only.
    """

    values: Tensor
    positions: Tensor | None = None


def flat_places(output: Tensor, kind: LayerKind) -> Tensor:
    """View a map as [B, places, C] in whatever memory order it has.

    Parameters
    ----------
    output : [B, C, H, W] for `map`, [B, H, W, C] for `map-channels-last`, [B, T, C] for `tokens`.

    Raises
    ------
    LayoutError : the rank does not belong to the kind.
    """
    rank = 3 if kind is LayerKind.TOKENS else 2 if kind is LayerKind.VECTOR else 4
    if output.ndim != rank:
        raise LayoutError(f"{kind} has {rank} axes, this output has {output.ndim}", shape=list(output.shape))
    if kind is LayerKind.MAP:
        return output.permute(0, 2, 3, 1).flatten(1, 2)
    return output.flatten(1, 2) if kind is LayerKind.MAP_LAST else output


def pool_max(places: Tensor) -> Pooled:
    """Largest activation and where it is. Exact in every precision: a maximum is one of its inputs."""
    values, positions = places.max(dim=1)
    return Pooled(values.float(), positions.to(torch.int32))


def pool_mean(places: Tensor) -> Pooled:
    """Mean over places, accumulated in float32."""
    return Pooled(places.mean(dim=1, dtype=torch.float32))


def pool_sum(places: Tensor) -> Pooled:
    """Sum over places, accumulated in float32."""
    return Pooled(places.sum(dim=1, dtype=torch.float32))


def pool_abs_max(places: Tensor) -> Pooled:
    """Largest absolute activation; makes the component unsigned."""
    return Pooled(places.abs().amax(dim=1).float())


def pool_only_max(places: Tensor) -> Pooled:
    """Largest activation without its place."""
    return Pooled(places.amax(dim=1).float())


OVER_PLACES: dict[str, Callable[[Tensor], Pooled]] = {
    "max": pool_max,
    "mean": pool_mean,
    "sum": pool_sum,
    "abs-max": pool_abs_max,
}
OVER_TOKENS: dict[str, Callable[[Tensor], Pooled]] = {
    "token-mean": pool_mean,
    "token-max": pool_only_max,
    "token-absmax": pool_abs_max,
}


def pool(output: Tensor, *, kind: LayerKind, pooling: str, special_tokens: int = 0) -> Pooled:
    """Pool one batch of a layer's output.

    Parameters
    ----------
    output : see `flat_places`; any floating dtype.
    pooling : `max`, `mean`, `sum`, `abs-max` for maps; `token-mean`, `token-max`, `token-absmax`, `token:P` for tokens;
        `identity` for vectors.
    special_tokens : how many leading tokens (class token, registers) the pools over tokens leave out.

    Returns
    -------
    Pooled with values [B, C] float32.

    Raises
    ------
    UnknownPooling : the pooling does not fit the kind, or `token:P` lies beyond the last token.

    Source: SemanticLens (arXiv 2501.05398) pools maps by their maximum or mean and ViT tokens by their mean.
    """
    places = flat_places(output, kind)
    if kind is LayerKind.VECTOR and pooling == "identity":
        return Pooled(places.float())
    if kind in (LayerKind.MAP, LayerKind.MAP_LAST) and pooling in OVER_PLACES:
        return OVER_PLACES[pooling](places)
    if kind is LayerKind.TOKENS and pooling in OVER_TOKENS:
        return OVER_TOKENS[pooling](places[:, special_tokens:])
    token = TOKEN.fullmatch(pooling)
    if kind is LayerKind.TOKENS and token and int(token[1]) < places.shape[1]:
        return Pooled(places[:, int(token[1])].float())
    raise UnknownPooling(f"{pooling} does not fit an output of kind {kind}", field="pooling", shape=list(output.shape))
