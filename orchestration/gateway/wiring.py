"""What the gateway needs to be given; bootstrap passes an object with these attributes."""

from __future__ import annotations

from typing import Protocol

from starlette.types import ASGIApp

from contracts.alignment import AlignmentService
from contracts.atlas import AtlasService
from contracts.audit import AuditService
from contracts.comparison import ComparisonService
from contracts.data import DataService
from contracts.explanation import ExplanationService
from contracts.jobs import JobService
from contracts.model import ModelService
from orchestration.governance.service import Governance
from orchestration.sessions.service import Sessions
from services.kit.db import Database
from services.kit.settings import Settings


class GatewayWiring(Protocol):
    """The services behind the public API. `xui` delivers the browser UI; None serves the API alone."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> Database: ...
    @property
    def data(self) -> DataService: ...
    @property
    def model(self) -> ModelService: ...
    @property
    def explanation(self) -> ExplanationService: ...
    @property
    def alignment(self) -> AlignmentService: ...
    @property
    def comparison(self) -> ComparisonService: ...
    @property
    def audit(self) -> AuditService: ...
    @property
    def atlas(self) -> AtlasService: ...
    @property
    def jobs(self) -> JobService: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def governance(self) -> Governance: ...
    @property
    def xui(self) -> ASGIApp | None: ...
