"""What an attribution returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Only plays that visit these components: layer name -> component indices (all named layers have to be visited).

    A component is a channel: axis 1 of maps [B, C, H, W], the last axis of tokens [B, N, D] and vectors [B, D].
    `axis` overrules that, for layers that put out [B, H, W, C].
    """

    units: Mapping[str, Sequence[int]]
    axis: int | None = None


@dataclass(frozen=True)
class Diagnostics:
    """How far the result can be trusted.

    Parameters
    ----------
    conservation_gap : |sum R_inputs + absorbed - sum R_output| / sum |R_output|, over the batch; None for gradients.
    absorbed : relevance that stopped on the way, by cause (`bias`, `killed` by eps, `constant` tokens, `softmax`).
    path_mass : sum over paths of |weight| / |score|, 1 when nothing cancels; None unless asked for. It predicts noise
        and the variance of a Monte-Carlo estimate.
    forward_change : largest |explained - plain output| / largest |plain output|; None unless verified.
    unruled : operations that were passed by gradient x input, with their place.
    """

    conservation_gap: float | None
    absorbed: dict[str, float]
    path_mass: float | None
    forward_change: float | None
    unruled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attribution:
    """Relevance of one score.

    Parameters
    ----------
    relevance : [B, *input], signed; for token ids [B, T] (summed over the embedding's width).
    output : the model's output, detached.
    score : [B], what was explained.
    layers : relevance of each requested layer, in the shape of its output.
    outputs : what these layers put out, detached; of a layer before a BatchNorm, what that puts out.
    diagnostics : conservation, path mass, absorbed relevance, forward change.
    conditional : [C, B, *input], one map for each condition; None without conditions.
    """

    relevance: Tensor
    output: Tensor
    score: Tensor
    layers: dict[str, Tensor]
    diagnostics: Diagnostics
    conditional: Tensor | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)


Node = tuple[str, int]  # layer and component


@dataclass(frozen=True)
class Edge:
    """Relevance that reaches `target` = (layer, component) of a lower layer through `source` of the layer above."""

    source: Node
    target: Node
    relevance: float


@dataclass(frozen=True)
class EdgeGraph:
    """The most relevant components of some layers and what flows between neighbours in the list.

    `totals`: sum of |relevance| over all components of each layer, from the output to the input. `relevance`: that of
    each layer as a whole, [B, ...].
    """

    nodes: dict[Node, float] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    totals: dict[str, float] = field(default_factory=dict)
    relevance: dict[str, Tensor] = field(default_factory=dict)
