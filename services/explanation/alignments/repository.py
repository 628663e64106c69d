"""Every SQL statement about comparisons."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from contracts.alignment import Comparison
from contracts.errors import UnknownComparison
from services.explanation.alignments.rows import ComparisonRow
from services.kit.db import ReadSession, WriteSession
from services.kit.named import by_id_or_name


def comparison_row(db: ReadSession, workspace: str, comparison: str) -> ComparisonRow:
    """Return a comparison's row by id or name; one of another workspace is unknown."""
    row = by_id_or_name(db, ComparisonRow, workspace, comparison)
    if row is None:
        raise UnknownComparison(f"there is no comparison {comparison}", field="comparison")
    return row


def publish_comparison(db: WriteSession, workspace: str, comparison: Comparison, artifacts: Mapping[str, str]) -> None:
    """Write a comparison's row; the same comparison again changes nothing.

    A name that another comparison has moves to this one; the older keeps it with its id behind it.
    """
    if db.get(ComparisonRow, (workspace, comparison.id)) is not None:
        return
    query = select(ComparisonRow).where(ComparisonRow.workspace == workspace, ComparisonRow.name == comparison.name)
    holder = db.scalar(query)
    if holder is not None:
        holder.name = f"{comparison.name[:60]} {holder.id}"
        holder.comparison = {**holder.comparison, "name": holder.name}
        db.flush()
    db.add(
        ComparisonRow(
            workspace=workspace, id=comparison.id, name=comparison.name,
            comparison=comparison.model_dump(mode="json"), artifacts=dict(artifacts), created_at=comparison.created_at,
        )
    )  # fmt: skip
    db.flush()
