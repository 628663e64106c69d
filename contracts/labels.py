"""Labels: how they are asked for, what a component's labels say, and which scorer did best on held-out samples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, FiniteFloat, Sha256
from contracts.errors import XsysError
from contracts.model import LayerName

LabelSetId = Annotated[str, Field(pattern=r"^l_[0-9a-f]{16}$")]
VocabularyName = Literal["imagenet-1k", "imagenet-22k", "classes", "captions", "list"]
TextMode = Literal["csp", "csp-unit", "null", "bare"]
LabelStatus = Literal["ok", "unsure", "insufficient_evidence", "no_contrast"]
ScorerName = Annotated[str, Field(min_length=1, max_length=200)]
CandidateGrid = Literal["positive", "contrastive"]
DEFAULT_SCORERS = ["mean", "weighted_mean", "mean_diff", "csp", "softwpmi"]


class VisionModelUnavailable(XsysError):
    status = 503
    remedy = (
        "Set XSYS_VLM_FOLDER, or XSYS_VLM_URL and XSYS_VLM_MODEL, and see that the model answers; or label without "
        "candidates."
    )


class CandidateRequest(Contract):
    """Let the settings' vision-language model propose names for each component, beside the vocabulary's.

    It is shown nine of the component's strongest probing pictures in a grid, and if `contrastive` a second grid of
    pictures near to them that leave the component silent; never a picture that judges labels.
    """

    grid: CandidateGrid = "positive"
    names: Annotated[int, Field(ge=1, le=10, description="concepts that are asked for")] = 3
    canvas: Annotated[int, Field(ge=96, le=2048, description="side of a grid in pixels")] = 384


class LabelRequest(Contract):
    """Name the components of a published snapshot, and judge the names on samples that did not make them.

    `scorers` are written as `csp` or `csp:gamma=0.5,unit=true`. `list` takes its names from `names`; `classes` and
    `captions` take those of the snapshot's dataset.
    """

    snapshot: Annotated[str, Field(min_length=1, max_length=80, description="id (`s_...`) or name of a snapshot")]
    layers: Annotated[list[LayerName], Field(min_length=1, max_length=1000)] | None = None
    vocabulary: VocabularyName = "imagenet-1k"
    names: Annotated[list[str], Field(max_length=200_000)] | None = None
    scorers: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=24)
    ] = DEFAULT_SCORERS
    text: TextMode = "csp"
    templates: Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=16)] | None = None
    positives: Annotated[int, Field(ge=5, le=100, description="examples that make a label")] = 30
    candidates: CandidateRequest | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class VocabularyFigures(Contract):
    """Which names were to choose from; `merged` duplicates were dropped."""

    source: VocabularyName
    n: int
    merged: int
    sha256: Sha256


class LayerCandidates(Contract):
    """What came of the candidates in one layer: `added` names are new to the vocabulary, which then has `n`.

    Components without evidence are not asked about, nor, in contrastive grids, those without a silent picture;
    `unanswered` are those whose answer held no usable name.
    """

    layer: LayerName
    asked: int
    unanswered: int
    added: int
    n: int
    vocabulary_sha256: Sha256


class CandidateFigures(Contract):
    """Who proposed candidates, what it was asked, and what came of it.

    `fingerprint` is of a local model's files, or of a served model's name and address.
    """

    adapter: Literal["transformers", "openai"]
    model: str
    fingerprint: Sha256
    prompt: str
    grid: CandidateGrid
    canvas: int
    layers: list[LayerCandidates]


class LabelSet(Contract):
    """Labels of a snapshot's layers by several scorers; immutable."""

    id: LabelSetId
    snapshot: str
    layers: list[LayerName]
    scorers: list[str]
    vocabulary: VocabularyFigures
    templates: list[str]
    text: TextMode
    candidates: CandidateFigures | None = None
    encoder: str
    simulator: str
    request: LabelRequest
    lineage: str
    created_at: datetime


class Estimate(Contract):
    """A figure with its 95 % bootstrap interval."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    n: int


class LeaderboardRow(Contract):
    """One scorer's means over the components of a layer, on held-out samples. Controls must stay at chance.

    `behind` is the paired difference to the best scorer, `p_behind` its Holm-corrected p.
    """

    scorer: str
    control: bool
    correlation: Estimate | None
    auprc: Estimate | None
    f1: Estimate | None
    iou: Estimate | None
    labelled: int
    unlabelled: int
    unsure: int
    behind: Estimate | None = None
    p_behind: FiniteFloat | None = None


class LayerLeaderboard(Contract):
    """The scorers of one layer, best simulation correlation first, then the controls."""

    layer: LayerName
    probe: int
    tune: int
    held_out: int
    held_out_groups: int
    rows: list[LeaderboardRow]


class Leaderboard(Contract):
    """The leaderboards of all labelled layers."""

    snapshot: str
    labels: LabelSetId
    layers: list[LayerLeaderboard]


class Label(Contract):
    """A name with its score; `index` is its place in the vocabulary (for INVERT: among its formulas)."""

    text: str
    score: FiniteFloat
    index: int
    origin: Literal["vocabulary", "candidate", "formula"]


class LabelEvaluation(Contract):
    """How well the first label predicts the component's held-out activations; None where undefined."""

    correlation: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    auprc: FiniteFloat | None
    f1: FiniteFloat | None
    iou: FiniteFloat | None
    random_correlation: FiniteFloat | None
    p: FiniteFloat | None = None
    q: FiniteFloat | None = None


class ScorerLabels(Contract):
    """What one scorer says about a component, best first; `margin` is the distance to the runner-up."""

    scorer: str
    status: LabelStatus
    labels: list[Label]
    margin: FiniteFloat
    evaluation: LabelEvaluation


class ComponentLabels(Contract):
    """All labels of a component. Without enough evidence there are none.

    `candidates` are what a vision-language model proposed for it, known to the vocabulary or not.
    """

    snapshot: str
    labels: LabelSetId
    layer: LayerName
    index: int
    sign: Literal[1, -1]
    status: LabelStatus
    n_valid: int
    vocabulary_sha256: Sha256
    candidates: list[str] = []
    scorers: list[ScorerLabels]
