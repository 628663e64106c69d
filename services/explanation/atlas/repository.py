"""Every SQL statement about sparse autoencoders."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.sae import Sae, UnknownSae
from services.explanation.atlas.rows import SaeRow
from services.kit.db import ReadSession, WriteSession
from services.kit.named import by_id_or_name


def sae_row(db: ReadSession, workspace: str, sae: str) -> SaeRow:
    """Return an autoencoder's row by id or name; one of another workspace is unknown."""
    row = by_id_or_name(db, SaeRow, workspace, sae)
    if row is None:
        raise UnknownSae(f"there is no sparse autoencoder {sae}", field="sae")
    return row


def publish_sae(db: WriteSession, workspace: str, sae: Sae, artifacts: Mapping[str, str]) -> None:
    """Write an autoencoder's row; the same one again changes nothing."""
    if db.get(SaeRow, (workspace, sae.id)) is None:
        db.add(
            SaeRow(
                workspace=workspace, id=sae.id, name=sae.name, record=sae.model_dump(mode="json"),
                artifacts=dict(artifacts), created_at=sae.created_at,
            )
        )  # fmt: skip
        db.flush()
