"""What may be asked of the orchestration: submit, watch, cancel and retry jobs."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field

from contracts.alignment import ComparisonRequest
from contracts.atlas import (
    AlignmentRequest,
    AtlasMismatch,
    AtlasRequest,
    LabellerUnavailable,
    NoMatchingConcept,
    UnknownAlignment,
    UnknownAtlas,
    WindowMismatch,
)
from contracts.attribution import UnknownMethod
from contracts.attribution_evaluation import AttributionEvaluation, EvaluationRequest
from contracts.audit import AuditRequest, BadPolicy, UnknownAudit, UnknownReadout
from contracts.base import Caller, Cursor, Limit, Page, Right, operation
from contracts.captures import CaptureRequest, CorpusTooSmall, UnknownCapture
from contracts.corpora import CorpusTooLarge, HoldsPictures, HoldsText
from contracts.corrections import CorrectionRequest, NothingCorrected
from contracts.data import DatasetRegistration
from contracts.errors import (
    BadTemplate,
    Conflict,
    EmptyVocabulary,
    IdempotencyConflict,
    InsufficientEvidence,
    InvalidRequest,
    JobNotRetryable,
    LabelsMissingError,
    LabelTooLong,
    NoTextSide,
    PathNotAllowed,
    UnknownArchitecture,
    UnknownDataset,
    UnknownEncoder,
    UnknownJob,
    UnknownLayer,
    UnknownMask,
    UnknownModel,
    UnknownPooling,
    UnknownScorer,
    UnknownSnapshot,
    UnreadableSource,
    WrongWeights,
)
from contracts.labels import LabelRequest, VisionModelUnavailable
from contracts.language import (
    BrokenLanguageFile,
    GenerationOverBudget,
    MissingLanguagePackage,
    ReadsPictures,
    ReadsText,
)
from contracts.model import ModelId, ModelRegistration
from contracts.progress import Failure as Failure
from contracts.progress import Job as Job
from contracts.progress import JobId as JobId
from contracts.progress import Repair as Repair
from contracts.progress import Stage as Stage
from contracts.progress import State as State
from contracts.progress import Usage as Usage
from contracts.sae import SaeRequest, TooFewRows, TooManyActive, UnknownLatent, UnknownSae, UnsupportedSae
from contracts.snapshots import SnapshotRequest
from contracts.steering import DegenerateDirection, WidthMismatch
from contracts.steering_evaluation import MeasuredSteering, SteeringEvaluation, SteeringEvaluationRequest
from contracts.training import Curve, Pruning, PruningRequest, TrainingRequest

PICTURES_ONLY = (ReadsText, HoldsText)
IdempotencyKey = Annotated[str, Field(min_length=1, max_length=200)]


class JobService(Protocol):
    """What may be asked of jobs. Router, client and OpenAPI come from this class."""

    @operation(
        "POST",
        "/datasets",
        right=Right.REGISTER,
        refuses=(IdempotencyConflict, UnreadableSource, PathNotAllowed, CorpusTooLarge),
    )
    def register_dataset(
        self, caller: Caller, body: DatasetRegistration, idempotency_key: IdempotencyKey | None = None
    ) -> Job:
        """Read pictures from a source, check and store them, and publish them as a dataset."""
        ...

    @operation(
        "POST",
        "/models",
        right=Right.REGISTER,
        refuses=(
            IdempotencyConflict,
            UnknownArchitecture,
            WrongWeights,
            PathNotAllowed,
            MissingLanguagePackage,
            BrokenLanguageFile,
        ),
    )
    def register_model(
        self, caller: Caller, body: ModelRegistration, idempotency_key: IdempotencyKey | None = None
    ) -> Job:
        """Convert and hash the weights, run the model once to find its layers, and publish it."""
        ...

    @operation(
        "POST",
        "/snapshots",
        right=Right.SUBMIT,
        refuses=(
            IdempotencyConflict,
            UnknownModel,
            UnknownDataset,
            UnknownLayer,
            UnknownEncoder,
            UnknownPooling,
            *PICTURES_ONLY,
        ),
    )
    def build_snapshot(
        self, caller: Caller, body: SnapshotRequest, idempotency_key: IdempotencyKey | None = None
    ) -> Job:
        """Compute a snapshot; what is there already is reused."""
        ...

    @operation(
        "POST",
        "/trainings",
        right=Right.REGISTER,
        refuses=(
            IdempotencyConflict,
            UnknownModel,
            UnknownDataset,
            LabelsMissingError,
            Conflict,
            WrongWeights,
            *PICTURES_ONLY,
        ),
    )
    def train_model(self, caller: Caller, body: TrainingRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Train a registered model on a labelled dataset, epoch by epoch, and register the result."""
        ...

    @operation(
        "POST",
        "/prunings",
        right=Right.REGISTER,
        refuses=(IdempotencyConflict, UnknownModel, UnknownDataset, LabelsMissingError, Conflict, *PICTURES_ONLY),
    )
    def prune_model(self, caller: Caller, body: PruningRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Cut channels out of a registered model within a loss of accuracy, and register the smaller one."""
        ...

    @operation("GET", "/jobs/{job}/pruning", right=Right.LOOK, refuses=(UnknownJob,))
    def pruning(self, caller: Caller, job: JobId) -> Pruning:
        """Show how accuracy fell as channels went, and what was cut; empty until then and for other jobs."""
        ...

    @operation(
        "POST",
        "/attribution-evaluations",
        right=Right.SUBMIT,
        refuses=(
            IdempotencyConflict, UnknownModel, UnknownDataset, UnknownMethod, UnknownMask, LabelsMissingError,
            InvalidRequest, *PICTURES_ONLY,
        ),
    )  # fmt: skip
    def evaluate_attributions(
        self, caller: Caller, body: EvaluationRequest, idempotency_key: IdempotencyKey | None = None
    ) -> Job:
        """Judge attribution methods over samples of a dataset, with intervals."""
        ...

    @operation("GET", "/jobs/{job}/attribution-evaluation", right=Right.LOOK, refuses=(UnknownJob,))
    def attribution_evaluation(self, caller: Caller, job: JobId) -> AttributionEvaluation:
        """Show how the methods did; empty until then and for other jobs."""
        ...

    @operation(
        "POST",
        "/steering-evaluations",
        right=Right.SUBMIT,
        refuses=(
            IdempotencyConflict, UnknownModel, UnknownLayer, UnknownAtlas, UnknownAlignment, UnknownLatent,
            ReadsPictures, AtlasMismatch, NoMatchingConcept, InsufficientEvidence, DegenerateDirection,
            GenerationOverBudget,
        ),
        max_body=8 << 20,
    )  # fmt: skip
    def evaluate_steering(
        self, caller: Caller, body: SteeringEvaluationRequest, idempotency_key: IdempotencyKey | None = None
    ) -> Job:
        """Judge ways of steering a language model, by concept and fluency; needs the right `steer` too."""
        ...

    @operation("GET", "/jobs/{job}/steering-evaluation", right=Right.LOOK, refuses=(UnknownJob,))
    def steering_evaluation(self, caller: Caller, job: JobId) -> SteeringEvaluation:
        """Show what steering gained and cost; empty until then and for other jobs."""
        ...

    @operation("GET", "/models/{model}/steering-evaluations", right=Right.LOOK, refuses=(UnknownModel,))
    def steering_evaluations(
        self, caller: Caller, model: ModelId, limit: Limit = 50, cursor: Cursor | None = None
    ) -> Page[MeasuredSteering]:
        """List what evaluations of steering a model measured, newest first: recommended strengths by arm and layer."""
        ...

    @operation("GET", "/jobs/{job}/curve", right=Right.LOOK, refuses=(UnknownJob,))
    def curve(self, caller: Caller, job: JobId) -> Curve:
        """Show the epochs of a training so far; empty for jobs of other kinds."""
        ...

    @operation(
        "POST",
        "/comparisons",
        right=Right.SUBMIT,
        refuses=(IdempotencyConflict, UnknownModel, UnknownDataset, UnknownLayer, UnknownPooling, *PICTURES_ONLY),
    )
    def compare(self, caller: Caller, body: ComparisonRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Find the concepts of layers of one or more models and compare them; what is there already is reused."""
        ...

    @operation(
        "POST",
        "/labels",
        right=Right.SUBMIT,
        refuses=(
            IdempotencyConflict,
            UnknownSnapshot,
            UnknownLayer,
            UnknownScorer,
            InvalidRequest,
            NoTextSide,
            BadTemplate,
            EmptyVocabulary,
            LabelTooLong,
            VisionModelUnavailable,
        ),
        max_body=64 << 20,
    )
    def build_labels(self, caller: Caller, body: LabelRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Label the components of a snapshot by several scorers, and judge the labels on held-out samples."""
        ...

    @operation(
        "POST",
        "/audits",
        right=Right.SUBMIT,
        refuses=(IdempotencyConflict, UnknownSnapshot, BadPolicy, BadTemplate, NoTextSide),
    )
    def audit(self, caller: Caller, body: AuditRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Judge a snapshot by a policy; the job's result is the audit."""
        ...

    @operation(
        "POST",
        "/corrections",
        right=Right.REGISTER,
        refuses=(
            IdempotencyConflict, UnknownAudit, UnknownReadout, UnknownLayer, UnknownDataset, NothingCorrected,
            LabelsMissingError, Conflict,
        ),
    )  # fmt: skip
    def correct(self, caller: Caller, body: CorrectionRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Suppress what an audit flagged, measure what that does, and register the result as a model."""
        ...

    @operation(
        "POST",
        "/captures",
        right=Right.SUBMIT,
        refuses=(
            IdempotencyConflict, UnknownModel, UnknownDataset, UnknownLayer, ReadsPictures, HoldsPictures,
            CorpusTooSmall,
        ),
    )  # fmt: skip
    def capture_text(self, caller: Caller, body: CaptureRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Keep a language model's activations over a corpus; the job's result is the capture's id."""
        ...

    @operation(
        "POST",
        "/saes",
        right=Right.SUBMIT,
        refuses=(
            IdempotencyConflict, UnknownSnapshot, UnknownCapture, UnknownLayer, TooManyActive, TooFewRows,
            PathNotAllowed, UnsupportedSae, WidthMismatch,
        ),
    )  # fmt: skip
    def train_sae(self, caller: Caller, body: SaeRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Train a sparse autoencoder on a layer of a snapshot or capture, or import one; the job's result is its id."""
        ...

    @operation(
        "POST",
        "/atlases",
        right=Right.SUBMIT,
        refuses=(
            IdempotencyConflict,
            UnknownSae,
            UnknownSnapshot,
            UnknownCapture,
            NoTextSide,
            EmptyVocabulary,
            LabelTooLong,
            HoldsText,
            LabellerUnavailable,
        ),
        max_body=64 << 20,
    )
    def build_atlas(self, caller: Caller, body: AtlasRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Name the latents of an autoencoder and judge the names on other samples."""
        ...

    @operation(
        "POST",
        "/alignments",
        right=Right.SUBMIT,
        refuses=(IdempotencyConflict, UnknownAtlas, UnknownSnapshot, UnknownCapture, UnknownLayer, WindowMismatch),
    )
    def align_atlas(self, caller: Caller, body: AlignmentRequest, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Carry an atlas over to the layers of another snapshot of the same dataset, with trust figures."""
        ...

    @operation("POST", "/repairs", right=Right.SUBMIT, refuses=(IdempotencyConflict, UnknownSnapshot))
    def repair_snapshot(self, caller: Caller, body: Repair, idempotency_key: IdempotencyKey | None = None) -> Job:
        """Recompute the damaged artifacts of a snapshot; everything intact stays."""
        ...

    @operation("GET", "/usage", right=Right.LOOK)
    def usage(self, caller: Caller) -> Usage:
        """Show what the workspace uses of its quotas, and which kinds of results take most."""
        ...

    @operation("GET", "/jobs", right=Right.LOOK)
    def jobs(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[Job]:
        """List the jobs of the workspace, newest first."""
        ...

    @operation("GET", "/jobs/{job}", right=Right.LOOK, refuses=(UnknownJob,))
    def job(self, caller: Caller, job: JobId) -> Job:
        """Show one job with the progress of its stages."""
        ...

    @operation("POST", "/jobs/{job}/cancel", right=Right.SUBMIT, refuses=(UnknownJob,), idempotent=True)
    def cancel(self, caller: Caller, job: JobId) -> Job:
        """Ask a job to stop; its running parts end at their next batch."""
        ...

    @operation("POST", "/jobs/{job}/retry", right=Right.SUBMIT, refuses=(UnknownJob, JobNotRetryable))
    def retry(self, caller: Caller, job: JobId) -> Job:
        """Run a failed or cancelled job again from where it stopped."""
        ...
