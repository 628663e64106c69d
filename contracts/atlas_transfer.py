"""Trust figures of an alignment, layer by layer."""

from __future__ import annotations

from typing import Literal

from contracts.base import Contract, FiniteFloat, LayerName
from contracts.captures import TextPool


class TransferFigures(Contract):
    """Means over latents with evidence, on test samples."""

    auroc: FiniteFloat
    ap: FiniteFloat


class TranslatorFigures(Contract):
    """One translator: `validation` is what it was chosen by, `test` what is published."""

    translator: str
    validation: FiniteFloat
    test: TransferFigures
    pool: TextPool | None = None


class ScalingPoint(Contract):
    """The chosen translator fitted on the first `windows` training windows, judged on all test windows."""

    windows: int
    auroc: FiniteFloat
    ap: FiniteFloat


class Retrieval(Contract):
    """Units found again by their own codes on other windows: mean reciprocal rank, mean percentile, and chance."""

    mrr: FiniteFloat
    mpp: FiniteFloat
    chance_mrr: FiniteFloat
    units: int


class LayerTransfer(Contract):
    """A subject layer. `state` is `insufficient_evidence` where no latent has 20 training and 10 test positives.

    `shuffled` refits the chosen translator on permuted pairs: .50 is what it must reach. `base` is the AP of chance.
    `tiers` counts latents by the lower bound of their AUROC over documents. Text only: `lexical` predicts from the bag
    of the subject's tokens alone and `length` from their number, which the transfer has to beat.
    """

    layer: LayerName
    width: int
    state: Literal["ok", "insufficient_evidence"]
    chosen: str | None
    translators: list[TranslatorFigures]
    shuffled: TransferFigures | None
    base: FiniteFloat | None
    tiers: dict[str, int]
    samples: dict[str, int]
    pool: TextPool | None = None
    lexical: TransferFigures | None = None
    length: TransferFigures | None = None
    curve: list[ScalingPoint] = []
    retrieval: Retrieval | None = None
