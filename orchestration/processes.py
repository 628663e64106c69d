"""The processes of the distributed mode: what can be started alone, what each answers, and where."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from contracts.alignment import AlignmentService
from contracts.atlas import AtlasService
from contracts.audit import AuditService
from contracts.comparison import ComparisonService
from contracts.data import DataService
from contracts.explanation import ExplanationService
from contracts.model import ModelService
from services.kit.settings import Settings


class Process(enum.StrEnum):
    """What `xsys serve` can start alone."""

    GATEWAY = "gateway"
    XUI = "xui"
    DATA = "data"
    MODEL = "model"
    EXPLANATION = "explanation"


HOMES: Mapping[type, Process] = {
    DataService: Process.DATA,
    ModelService: Process.MODEL,
    ExplanationService: Process.EXPLANATION,
    AlignmentService: Process.EXPLANATION,
    ComparisonService: Process.EXPLANATION,
    AuditService: Process.EXPLANATION,
    AtlasService: Process.EXPLANATION,
}  # every other contract is answered by the gateway itself


def url_of(settings: Settings, process: Process) -> str:
    """Return where a process answers."""
    return str(getattr(settings, f"{process}_url"))
