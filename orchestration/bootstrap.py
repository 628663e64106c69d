"""The wiring: the one place that knows the services and decides how an installation runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.base import Caller, Right
from contracts.errors import PathNotAllowed, XsysError
from orchestration import doctor
from orchestration.doctor import Finding
from orchestration.gateway.probes import release
from orchestration.gateway.shared import Announcer
from orchestration.governance.audit_log import record
from orchestration.governance.lineage import Registered
from orchestration.governance.service import Governance
from orchestration.jobs.bell import CeleryBell
from orchestration.jobs.reaper import Reaper
from orchestration.jobs.service import Jobs
from orchestration.jobs.workers import worker_name
from orchestration.migrate import upgrade
from orchestration.pipelines.service import Pipelines, Planners
from orchestration.sessions.service import Sessions
from services.kit.blobs import Blobs
from services.kit.db import Database, ReadSession
from services.kit.objects import open_blobs
from services.kit.settings import Settings
from services.kit.stages import JobPlan, StageRegistry
from services.kit.tokens import load_token_key

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from services.data.service import Data
    from services.explanation.alignments.service import Alignments
    from services.explanation.atlas.service import Atlases
    from services.explanation.audits.service import Audits
    from services.explanation.comparison.service import Comparisons
    from services.explanation.service import Explanation
    from services.model.service import Models


@dataclass(frozen=True)
class Wiring:
    """Everything that runs, put together."""

    settings: Settings
    database: Database
    blobs: Blobs
    registry: StageRegistry
    data: Data
    model: Models
    explanation: Explanation
    alignment: Alignments
    comparison: Comparisons
    audit: Audits
    atlas: Atlases
    core: Jobs
    jobs: Pipelines
    governance: Governance
    sessions: Sessions
    xui: ASGIApp | None

    def close(self) -> None:
        """Close what holds connections."""
        self.database.close()


def numerics(settings: Settings) -> dict[str, str | int]:
    """What can change the last bits of a result on this installation; part of every key."""
    return {
        "torch": version("torch"),
        "timm": version("timm"),
        "pillow": version("pillow"),
        "device": "cpu",
        "threads": settings.threads or os.cpu_count() or 1,
    }


def allowed_encoder(caller: Caller, name: str, settings: Settings) -> str:
    """Refuse an encoder that names a local file which the caller may not have read.

    Raises
    ------
    PathNotAllowed : a file outside `import_roots`, for anybody but the operator of the machine.
    """
    _, _, place = name.removeprefix("open_clip:").partition("/")
    path = Path(place)
    names_a_file = name.startswith("open_clip:") and ("/" in place or bool(path.suffix) or path.exists())
    roots = [root.resolve() for root in settings.import_roots]
    within = any(path.resolve().is_relative_to(root) for root in roots)
    if names_a_file and Right.SERVER_PATHS not in caller.rights and not within:
        raise PathNotAllowed("this path lies outside the folders that may be read for you", field="encoder")
    return name


def registered(db: ReadSession, workspace: str, keys: Collection[str]) -> dict[str, Registered]:
    """Name the models and datasets behind keys."""
    from services.data.repository import datasets_behind
    from services.model.repository import models_behind

    models = models_behind(db, workspace, keys)
    datasets = datasets_behind(db, workspace, keys)
    return {key: Registered("dataset", dataset.ref.id, dataset.ref.name) for key, dataset in datasets.items()} | {
        key: Registered("model", model.ref.id, model.ref.name, model.lineage) for key, model in models.items()
    }


def build(settings: Settings) -> Wiring:
    """Put the embedded installation together: SQLite, a local folder of blobs, Celery on the filesystem."""
    from services.data.planning import plan_registration as plan_dataset
    from services.data.service import Data
    from services.data.stages import stages as data_stages
    from services.explanation.alignments.service import Alignments
    from services.explanation.alignments.stages import alignment_stages
    from services.explanation.atlas.capture_plans import plan_capture
    from services.explanation.atlas.labeller import labeller_of
    from services.explanation.atlas.plans import plan_alignment, plan_atlas
    from services.explanation.atlas.sae_plans import plan_sae
    from services.explanation.atlas.service import Atlases
    from services.explanation.atlas.stages import atlas_stages
    from services.explanation.atlas.steering_plans import plan_steering_evaluation
    from services.explanation.audits.corrections import correction_stages, plan_correction
    from services.explanation.audits.plans import plan_audit
    from services.explanation.audits.service import Audits
    from services.explanation.audits.stages import audit_stages
    from services.explanation.comparison.service import Comparisons
    from services.explanation.concepts.discovery.registry import discovery
    from services.explanation.encoders.registry import EncoderCache, describe_encoder
    from services.explanation.label_plans import plan_labels
    from services.explanation.service import Explanation
    from services.explanation.stages import stages as explanation_stages
    from services.model.planning import plan_registration as plan_model
    from services.model.planning_evaluation import plan_evaluation
    from services.model.planning_pruning import plan_pruning
    from services.model.planning_training import plan_training
    from services.model.sae.stages import sae_stages
    from services.model.service import Models
    from services.model.stages import stages as model_stages
    from services.xui.server import xui_app

    settings.home.mkdir(parents=True, exist_ok=True)
    upgrade(settings.resolved_database_url)
    database = Database(settings.resolved_database_url)
    if settings.broker_url is not None:
        database.announcer = Announcer(settings.broker_url.get_secret_value())
    blobs = open_blobs(settings)
    data = Data(database, blobs, settings)
    model = Models(database, blobs, settings, data=data)
    explanation = Explanation(database, blobs, settings, EncoderCache())
    registry = StageRegistry(
        (
            *data_stages(data),
            *model_stages(model),
            *explanation_stages(explanation),
            *alignment_stages(),
            *audit_stages(explanation.encoders_in_memory),
            *correction_stages(),
            *atlas_stages(explanation.encoders_in_memory, lambda: labeller_of(settings)),
            *sae_stages(model),
        )
    )
    atlas = Atlases(database, blobs, explanation.encoders_in_memory, models=model)
    core = Jobs(database, blobs, settings, CeleryBell(settings), registry)

    def over_dataset(plan: Callable[..., JobPlan]) -> Callable[[Caller, Any], JobPlan]:
        """What plans the run of a model over a dataset, told of both and of what is in every key."""
        return lambda caller, body: plan(
            body,
            caller=caller,
            models=model,
            dataset=data.dataset(caller, body.dataset),
            registry=registry,
            numerics=numerics(settings),
        )

    planners = Planners(
        dataset=lambda caller, body: plan_dataset(body, caller=caller, data=data, registry=registry),
        model=lambda caller, body: plan_model(body, caller=caller, models=model, registry=registry),
        training=over_dataset(plan_training),
        pruning=over_dataset(plan_pruning),
        evaluation=over_dataset(plan_evaluation),
        labels=lambda caller, body: plan_labels(
            body, caller=caller, explanation=explanation, registry=registry, numerics=numerics(settings)
        ),
        audit=lambda caller, body: plan_audit(
            body, caller=caller, explanation=explanation, models=model, registry=registry, numerics=numerics(settings)
        ),
        correction=lambda caller, body: plan_correction(
            body,
            caller=caller,
            database=database,
            models=model,
            data=data,
            registry=registry,
            numerics=numerics(settings),
        ),
        capture=lambda caller, body: plan_capture(
            body, caller=caller, models=model, data=data, registry=registry, numerics=numerics(settings)
        ),
        sae=lambda caller, body: plan_sae(
            body, caller=caller, explanation=explanation, models=model, registry=registry, numerics=numerics(settings)
        ),
        atlas=lambda caller, body: plan_atlas(
            body, caller=caller, explanation=explanation, registry=registry, numerics=numerics(settings)
        ),
        alignment=lambda caller, body: plan_alignment(
            body, caller=caller, explanation=explanation, registry=registry, numerics=numerics(settings)
        ),
        steering=lambda caller, body: plan_steering_evaluation(
            body,
            caller=caller,
            models=model,
            atlas=atlas,
            encoders=explanation.encoders_in_memory,
            registry=registry,
            numerics=numerics(settings),
        ),
        describe_encoder=lambda caller, name: describe_encoder(allowed_encoder(caller, name, settings)),
        check_discovery=lambda body: discovery(body.method, body.parameters),
    )
    pipelines = Pipelines(
        core,
        database=database,
        data=data,
        model=model,
        explanation=explanation,
        planners=planners,
        registry=registry,
        numerics=numerics(settings),
    )
    audit = Audits(explanation, model, record)
    key = load_token_key(settings.token_key, settings.home)
    return Wiring(
        settings=settings,
        database=database,
        blobs=blobs,
        registry=registry,
        data=data,
        model=model,
        explanation=explanation,
        alignment=Alignments(database, blobs),
        comparison=Comparisons(explanation),
        audit=audit,
        atlas=atlas,
        core=core,
        jobs=pipelines,
        governance=Governance(database, settings, registry=registered),
        sessions=Sessions(database, key, explanation=explanation, audit=audit, data=data, model=model),
        xui=xui_app(),
    )


def language_pair(folder: Path) -> Path:
    """Write a corpus and two tiny language models trained on it."""
    from services.model.language.pair import write_pair

    return write_pair(folder)


def open_reaper(settings: Settings) -> Reaper:
    """Put together what the reaper needs: database, store and broker, and none of the services."""
    database = Database(settings.resolved_database_url)
    return Reaper(database, open_blobs(settings), settings, bell=CeleryBell(settings), name=worker_name())


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that an installation stands on, and say what to do about what is wrong."""
    settings.home.mkdir(parents=True, exist_ok=True)
    blobs = open_blobs(settings)
    database = doctor.examine_database(settings)
    return [
        doctor.examine_settings(settings),
        doctor.examine_storage(settings, blobs),
        database,
        doctor.examine_broker(settings),
        doctor.examine_worker(settings),
        doctor.examine_services(settings, release()),
        *([_examine_index(settings)] if database.ok else []),
        *_examine_packages(),
    ]


def _examine_index(settings: Settings) -> Finding:
    """Open the newest snapshot's index, its hashes checked."""
    wiring = build(settings)
    try:
        caller = wiring.governance.operator()
        newest = wiring.explanation.snapshots(caller, limit=1).items
        if not newest:
            return doctor.right("index", "there is no snapshot yet")
        vectors = len(wiring.explanation.opened(caller, newest[0].id).generation)
        return doctor.right("index", f"{newest[0].name}: {vectors:,} vectors, hashes intact")
    except XsysError as refusal:
        return doctor.wrong("index", refusal.detail, "Run `xsys snapshot repair SNAPSHOT`.")
    finally:
        wiring.close()


def _examine_packages() -> list[Finding]:
    from services.explanation.encoders.registry import available_encoders
    from services.kit.packaged import minilm_folder, packaged_checkpoint

    found = {
        "EfficientNet-Lite0": packaged_checkpoint("tf_efficientnet_lite0"),
        "EfficientNet-Lite2": packaged_checkpoint("tf_efficientnet_lite2"),
        "MiniLM-L6": minilm_folder(),
    }
    missing = [name for name, path in found.items() if path is None]
    detail = f"missing: {', '.join(missing)}" if missing else "demo model and offline encoder are installed"
    remedy = "Install with `make install`." if missing else None
    names = ", ".join(encoder.name for encoder in available_encoders())
    return [
        Finding(subject="checkpoints", ok=not missing, detail=detail, remedy=remedy),
        Finding(subject="encoders", ok=bool(names), detail=names or "none loads", remedy=None if names else remedy),
    ]
