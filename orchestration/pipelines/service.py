"""Jobs as users ask for them: each request becomes a plan, each plan a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from contracts.alignment import ComparisonRequest
from contracts.atlas import AlignmentRequest, AtlasRequest
from contracts.attribution_evaluation import AttributionEvaluation, EvaluationRequest
from contracts.audit import AuditRequest
from contracts.base import Caller, Contract, Page
from contracts.captures import CaptureRequest
from contracts.corpora import HoldsText
from contracts.corrections import CorrectionRequest
from contracts.data import DataService, DatasetRegistration
from contracts.errors import StaleArtifact
from contracts.explanation import ExplanationService
from contracts.jobs import Job, Repair, Usage
from contracts.labels import LabelRequest
from contracts.language import ReadsText
from contracts.model import ModelRegistration, ModelService
from contracts.sae import SaeRequest
from contracts.snapshots import Encoder, SnapshotRequest
from contracts.steering_evaluation import MeasuredSteering, SteeringEvaluation, SteeringEvaluationRequest
from contracts.training import Curve, Pruning, PruningRequest, TrainingRequest
from orchestration.jobs.service import Jobs
from orchestration.pipelines.comparison import ComparisonPlanner
from orchestration.pipelines.snapshot import SnapshotPlanner, require_rule
from services.kit.artifacts import forget_artifacts
from services.kit.db import Database
from services.kit.keys import sha256_of
from services.kit.stages import JobPlan, StageRegistry


@dataclass(frozen=True)
class Planners:
    """What only the services know how to plan or describe; passed in by bootstrap."""

    dataset: Callable[[Caller, DatasetRegistration], JobPlan]
    model: Callable[[Caller, ModelRegistration], JobPlan]
    training: Callable[[Caller, TrainingRequest], JobPlan]
    pruning: Callable[[Caller, PruningRequest], JobPlan]
    evaluation: Callable[[Caller, EvaluationRequest], JobPlan]
    labels: Callable[[Caller, LabelRequest], JobPlan]
    audit: Callable[[Caller, AuditRequest], JobPlan]
    correction: Callable[[Caller, CorrectionRequest], JobPlan]
    capture: Callable[[Caller, CaptureRequest], JobPlan]
    sae: Callable[[Caller, SaeRequest], JobPlan]
    atlas: Callable[[Caller, AtlasRequest], JobPlan]
    alignment: Callable[[Caller, AlignmentRequest], JobPlan]
    steering: Callable[[Caller, SteeringEvaluationRequest], JobPlan]
    describe_encoder: Callable[[Caller, str], Encoder]
    check_discovery: Callable[[ComparisonRequest], object]


class Pipelines:
    """Implements `contracts.jobs.JobService`: plans are made here, everything else is the jobs' business."""

    def __init__(
        self,
        jobs: Jobs,
        *,
        database: Database,
        data: DataService,
        model: ModelService,
        explanation: ExplanationService,
        planners: Planners,
        registry: StageRegistry,
        numerics: dict[str, str | int],
    ) -> None:
        self._jobs = jobs
        self._database = database
        self._data, self._model, self._explanation = data, model, explanation
        self._planners = planners
        self._registry = registry
        self._numerics = numerics

    def register_dataset(self, caller: Caller, body: DatasetRegistration, idempotency_key: str | None = None) -> Job:
        """Read pictures from a source, check and store them, and publish them as a dataset."""
        return self._submit(caller, body, idempotency_key, self._planners.dataset(caller, body))

    def register_model(self, caller: Caller, body: ModelRegistration, idempotency_key: str | None = None) -> Job:
        """Convert and hash the weights, run the model once to find its layers, and publish it."""
        return self._submit(caller, body, idempotency_key, self._planners.model(caller, body))

    def build_snapshot(self, caller: Caller, body: SnapshotRequest, idempotency_key: str | None = None) -> Job:
        """Compute a snapshot; what is there already is reused."""
        return self._submit(caller, body, idempotency_key, self.plan_snapshot(caller, body))

    def train_model(self, caller: Caller, body: TrainingRequest, idempotency_key: str | None = None) -> Job:
        """Train a registered model on a labelled dataset, epoch by epoch, and register the result."""
        self._require_pictures(caller, [body.model], body.dataset)
        return self._submit(caller, body, idempotency_key, self._planners.training(caller, body))

    def prune_model(self, caller: Caller, body: PruningRequest, idempotency_key: str | None = None) -> Job:
        """Cut channels out of a registered model within a loss of accuracy, and register the smaller one."""
        self._require_pictures(caller, [body.model], body.dataset)
        return self._submit(caller, body, idempotency_key, self._planners.pruning(caller, body))

    def pruning(self, caller: Caller, job: str) -> Pruning:
        """Show how accuracy fell as channels went, and what was cut; empty until then and for other jobs."""
        return self._jobs.pruning(caller, job)

    def evaluate_attributions(self, caller: Caller, body: EvaluationRequest, idempotency_key: str | None = None) -> Job:
        """Judge attribution methods over samples of a dataset, with intervals."""
        self._require_pictures(caller, [body.model], body.dataset)
        return self._submit(caller, body, idempotency_key, self._planners.evaluation(caller, body))

    def attribution_evaluation(self, caller: Caller, job: str) -> AttributionEvaluation:
        """Show how the methods did; empty until then and for other jobs."""
        return self._jobs.attribution_evaluation(caller, job)

    def curve(self, caller: Caller, job: str) -> Curve:
        """Show the epochs of a training so far; empty for jobs of other kinds."""
        return self._jobs.curve(caller, job)

    def build_labels(self, caller: Caller, body: LabelRequest, idempotency_key: str | None = None) -> Job:
        """Label the components of a snapshot by several scorers, and judge the labels on held-out samples."""
        return self._submit(caller, body, idempotency_key, self._planners.labels(caller, body))

    def audit(self, caller: Caller, body: AuditRequest, idempotency_key: str | None = None) -> Job:
        """Judge a snapshot by a policy; the job's result is the audit."""
        return self._submit(caller, body, idempotency_key, self._planners.audit(caller, body))

    def correct(self, caller: Caller, body: CorrectionRequest, idempotency_key: str | None = None) -> Job:
        """Suppress what an audit flagged, measure what that does, and register the result as a model."""
        return self._submit(caller, body, idempotency_key, self._planners.correction(caller, body))

    def capture_text(self, caller: Caller, body: CaptureRequest, idempotency_key: str | None = None) -> Job:
        """Keep a language model's activations over a corpus; the job's result is the capture's id."""
        return self._submit(caller, body, idempotency_key, self._planners.capture(caller, body))

    def train_sae(self, caller: Caller, body: SaeRequest, idempotency_key: str | None = None) -> Job:
        """Train a sparse autoencoder on a layer of a snapshot or capture; the job's result is its id."""
        return self._submit(caller, body, idempotency_key, self._planners.sae(caller, body))

    def build_atlas(self, caller: Caller, body: AtlasRequest, idempotency_key: str | None = None) -> Job:
        """Name the latents of an autoencoder and judge the names on other samples."""
        return self._submit(caller, body, idempotency_key, self._planners.atlas(caller, body))

    def align_atlas(self, caller: Caller, body: AlignmentRequest, idempotency_key: str | None = None) -> Job:
        """Carry an atlas over to the layers of another snapshot of the same dataset, with trust figures."""
        return self._submit(caller, body, idempotency_key, self._planners.alignment(caller, body))

    def evaluate_steering(
        self, caller: Caller, body: SteeringEvaluationRequest, idempotency_key: str | None = None
    ) -> Job:
        """Judge ways of steering a language model, by concept and fluency."""
        return self._submit(caller, body, idempotency_key, self._planners.steering(caller, body))

    def steering_evaluation(self, caller: Caller, job: str) -> SteeringEvaluation:
        """Show what steering gained and cost; empty until then and for other jobs."""
        return self._jobs.steering_evaluation(caller, job)

    def steering_evaluations(
        self, caller: Caller, model: str, limit: int = 50, cursor: str | None = None
    ) -> Page[MeasuredSteering]:
        """List what evaluations of steering a model measured, newest first: recommended strengths by arm and layer."""
        return self._jobs.steering_evaluations(caller, self._model.model(caller, model).ref.id, limit, cursor)

    def plan_snapshot(self, caller: Caller, body: SnapshotRequest) -> JobPlan:
        """Plan a snapshot without submitting it: the keys of everything that it would make."""
        self._require_pictures(caller, [body.model], body.dataset)
        methods = self._model.attribution_methods(caller).items
        model = self._model.model(caller, body.model)
        require_rule(body, model, [method.name for method in methods if method.family == "composite"])
        planner = SnapshotPlanner(
            body,
            model=model,
            dataset=self._data.dataset(caller, body.dataset),
            encoder=self._planners.describe_encoder(caller, body.encoder),
            registry=self._registry,
            numerics=self._numerics,
        )
        return planner.plan()

    def compare(self, caller: Caller, body: ComparisonRequest, idempotency_key: str | None = None) -> Job:
        """Find the concepts of layers of one or more models and compare them; what is there already is reused."""
        self._require_pictures(caller, [side.model for side in body.sides], body.dataset)
        planner = ComparisonPlanner(
            body,
            models=[self._model.model(caller, side.model) for side in body.sides],
            dataset=self._data.dataset(caller, body.dataset),
            registry=self._registry,
            numerics=self._numerics,
        )
        self._planners.check_discovery(body)
        return self._submit(caller, body, idempotency_key, planner.plan())

    def repair_snapshot(self, caller: Caller, body: Repair, idempotency_key: str | None = None) -> Job:
        """Recompute the damaged artifacts of a snapshot; everything intact stays."""
        snapshot = self._explanation.snapshot(caller, body.snapshot)
        plan = self.plan_snapshot(caller, snapshot.request)
        if plan.result != snapshot.id:
            raise StaleArtifact(f"this version computes {snapshot.id} otherwise, as {plan.result}", field="snapshot")
        damaged = self._explanation.check(caller, snapshot.id).damaged
        with self._database.writing() as db:
            forget_artifacts(db, caller.workspace, damaged)
        return self._submit(caller, body, idempotency_key, plan)

    def usage(self, caller: Caller) -> Usage:
        """Show what the workspace uses of its quotas."""
        return self._jobs.usage(caller)

    def jobs(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Job]:
        """List the jobs of the workspace, newest first."""
        return self._jobs.jobs(caller, limit, cursor)

    def job(self, caller: Caller, job: str) -> Job:
        """Show one job with the progress of its stages."""
        return self._jobs.job(caller, job)

    def cancel(self, caller: Caller, job: str) -> Job:
        """Ask a job to stop; its running parts end at their next batch."""
        return self._jobs.cancel(caller, job)

    def retry(self, caller: Caller, job: str) -> Job:
        """Run a failed or cancelled job again from where it stopped."""
        return self._jobs.retry(caller, job)

    def watch(self, caller: Caller, job: str, last_event_id: int | None = None) -> Iterator[tuple[int, Job]]:
        """Yield (version, job) whenever something changed, until the job has ended."""
        return self._jobs.watch(caller, job, last_event_id)

    def _require_pictures(self, caller: Caller, models: Iterable[str], dataset: str) -> None:
        """Refuse language models and text corpora where only pictures can be worked on."""
        for model in models:
            found = self._model.model(caller, model)
            if found.ref.preprocessing is None:
                raise ReadsText(f"{found.ref.name} reads text, no pictures", field="model")
        held = self._data.dataset(caller, dataset)
        if held.kind == "text":
            raise HoldsText(f"{held.ref.name} holds text, no pictures", field="dataset")

    def _submit(self, caller: Caller, body: Contract, idempotency_key: str | None, plan: JobPlan) -> Job:
        digest = sha256_of({"kind": plan.kind, "body": body})
        return self._jobs.submit(caller, plan, idempotency_key=idempotency_key, body_hash=digest)
