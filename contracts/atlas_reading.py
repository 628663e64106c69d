"""Reading text through an atlas, and directions to steer with: what is asked and answered."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.base import Contract, FiniteFloat, LayerName
from contracts.sae import Latent

TierName = Literal["verified", "weak", "untrusted", "insufficient_evidence"]


class UsedLatent(Contract):
    """A latent whose label matched."""

    latent: int
    text: str
    cosine: FiniteFloat
    weight: FiniteFloat


class TextQuery(Contract):
    """A text to be read token by token. `latents` limits what is shown; None shows the `k` strongest of each token."""

    text: Annotated[str, Field(min_length=1, max_length=4000)]
    k: Annotated[int, Field(ge=1, le=20)] = 3
    latents: Annotated[list[Latent], Field(min_length=1, max_length=64)] | None = None
    layer: LayerName | None = Field(default=None, description="a layer of the subject; default: its first")
    trusted: bool = Field(default=False, description="only labels that are verified or weak")


class TokenLabel(Contract):
    """A latent active on a token. `share`: of the largest value that it reaches in this text."""

    latent: int
    text: str
    value: FiniteFloat
    share: FiniteFloat
    tier: TierName


class ReadToken(Contract):
    """A token with its characters. `kept` is False for sinks, which carry position and no meaning."""

    text: str
    start: int
    stop: int
    kept: bool
    labels: list[TokenLabel]


class TokenReading(Contract):
    """Labels on a model's activations, token by token. `latents`: those shown, strongest in the text first.

    `carried` says that the labels come from another model's atlas through a translator.
    """

    model: str
    layer: LayerName
    carried: bool
    translator: str | None
    tokens: list[ReadToken]
    latents: list[TokenLabel]


class DirectionQuery(Contract):
    """A direction to steer with, from a text or from latents. `map`: how an alignment turns latents into activations.

    write: ridge from codes to activations (what raises a latent); cov: covariances; read: the translator's own columns.
    An atlas takes its autoencoder's decoder rows (`native`).
    """

    text: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    latents: Annotated[list[Latent], Field(min_length=1, max_length=64)] | None = None
    layer: LayerName | None = None
    map: Literal["native", "write", "cov", "read"] = "write"
    m: Annotated[int, Field(ge=1, le=64, description="latents that a text may choose")] = 5

    @model_validator(mode="after")
    def one_source(self) -> Self:
        """Refuse both and neither."""
        if (self.text is None) == (self.latents is None):
            raise ValueError("give either text or latents")
        return self


class SteeringDirection(Contract):
    """A unit vector in a layer of a model; put it into an intervention as `direction` with `vector`.

    `cosines`: between the latents' own directions. `others`: cosine of the vector with what the other maps give.
    `norm`: median norm of the layer's tokens, the unit of strengths.
    """

    model: str
    layer: LayerName
    map: str
    vector: list[FiniteFloat]
    latents: list[UsedLatent]
    cosines: list[list[FiniteFloat]]
    others: dict[str, FiniteFloat]
    norm: FiniteFloat | None


class Agreement(Contract):
    """Two alignments of one subject's layer, and whether two atlases name its units alike.

    A unit counts where both give it a trusted label; it agrees where the labels' embeddings have a cosine of at least
    .6. `chance` is the share for labels shuffled between units.
    """

    alignment: str
    other: str
    layer: LayerName
    units: int
    agreed: FiniteFloat | None
    chance: FiniteFloat | None
    cosine: FiniteFloat | None = Field(description="mean")
    examples: list[UnitAgreement]


class UnitAgreement(Contract):
    """A unit with its best label from each atlas."""

    unit: int
    text: str
    other: str
    cosine: FiniteFloat
    agreed: bool
