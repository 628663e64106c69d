"""The contracts that the gateway answers under /v1, in the order of the documents."""

from __future__ import annotations

from contracts.alignment import AlignmentService
from contracts.atlas import AtlasService
from contracts.audit import AuditService
from contracts.comparison import ComparisonService
from contracts.data import DataService
from contracts.explanation import ExplanationService
from contracts.governance import GovernanceService
from contracts.jobs import JobService
from contracts.model import ModelService
from contracts.sessions import SessionService

PROTOCOLS: tuple[type, ...] = (
    GovernanceService,
    DataService,
    ModelService,
    ExplanationService,
    AlignmentService,
    ComparisonService,
    AuditService,
    AtlasService,
    JobService,
    SessionService,
)
