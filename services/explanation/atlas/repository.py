"""Every SQL statement about captures, sparse autoencoders, atlases and alignments."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.atlas import Atlas, AtlasAlignment, UnknownAlignment, UnknownAtlas
from contracts.captures import Capture, UnknownCapture
from contracts.sae import Sae, UnknownSae
from services.explanation.atlas.rows import AtlasAlignmentRow, AtlasRow, CaptureRow, SaeRow
from services.kit.db import ReadSession, WriteSession
from services.kit.named import by_id_or_name

Row = type[CaptureRow] | type[SaeRow] | type[AtlasRow] | type[AtlasAlignmentRow]


def capture_row(db: ReadSession, workspace: str, capture: str) -> CaptureRow:
    """Return a capture's row by id or name; one of another workspace is unknown."""
    row = by_id_or_name(db, CaptureRow, workspace, capture)
    if row is None:
        raise UnknownCapture(f"there is no capture {capture}", field="capture")
    return row


def sae_row(db: ReadSession, workspace: str, sae: str) -> SaeRow:
    """Return an autoencoder's row by id or name; one of another workspace is unknown."""
    row = by_id_or_name(db, SaeRow, workspace, sae)
    if row is None:
        raise UnknownSae(f"there is no sparse autoencoder {sae}", field="sae")
    return row


def atlas_row(db: ReadSession, workspace: str, atlas: str) -> AtlasRow:
    """Return an atlas's row by id or name; one of another workspace is unknown."""
    row = by_id_or_name(db, AtlasRow, workspace, atlas)
    if row is None:
        raise UnknownAtlas(f"there is no atlas {atlas}", field="atlas")
    return row


def alignment_row(db: ReadSession, workspace: str, alignment: str) -> AtlasAlignmentRow:
    """Return an alignment's row by id or name; one of another workspace is unknown."""
    row = by_id_or_name(db, AtlasAlignmentRow, workspace, alignment)
    if row is None:
        raise UnknownAlignment(f"there is no alignment {alignment}", field="alignment")
    return row


def publish_capture(db: WriteSession, workspace: str, capture: Capture, artifacts: Mapping[str, str]) -> None:
    """Write a capture's row; the same one again changes nothing."""
    _publish(db, CaptureRow, workspace, capture, artifacts)


def publish_sae(db: WriteSession, workspace: str, sae: Sae, artifacts: Mapping[str, str]) -> None:
    """Write an autoencoder's row; the same one again changes nothing."""
    _publish(db, SaeRow, workspace, sae, artifacts)


def publish_atlas(db: WriteSession, workspace: str, atlas: Atlas, artifacts: Mapping[str, str]) -> None:
    """Write an atlas's row; the same one again changes nothing."""
    _publish(db, AtlasRow, workspace, atlas, artifacts)


def publish_alignment(
    db: WriteSession, workspace: str, alignment: AtlasAlignment, artifacts: Mapping[str, str]
) -> None:
    """Write an alignment's row; the same one again changes nothing."""
    _publish(db, AtlasAlignmentRow, workspace, alignment, artifacts)


def _publish(
    db: WriteSession,
    row: Row,
    workspace: str,
    found: Capture | Sae | Atlas | AtlasAlignment,
    artifacts: Mapping[str, str],
) -> None:
    if db.get(row, (workspace, found.id)) is None:
        db.add(
            row(
                workspace=workspace, id=found.id, name=found.name, record=found.model_dump(mode="json"),
                artifacts=dict(artifacts), created_at=found.created_at,
            )
        )  # fmt: skip
        db.flush()
