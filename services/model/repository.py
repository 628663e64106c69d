"""Every SQL statement of the model service."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import or_, select

from contracts.errors import Conflict
from contracts.model import Model
from services.kit.artifacts import batched
from services.kit.db import ReadSession, WriteSession
from services.kit.named import by_id_or_name
from services.model.rows import ModelRow


def find_model(db: ReadSession, workspace: str, model: str) -> Model | None:
    """One model by id or name; None for what is not there or belongs to somebody else."""
    row = by_id_or_name(db, ModelRow, workspace, model)
    return None if row is None else Model.model_validate(row.record)


def add_model(db: WriteSession, workspace: str, model: Model) -> None:
    """Write a model's row; the same content under the same name again only renews its lineage.

    Raises
    ------
    Conflict : the name has other content, or the content has another name.
    """
    named = find_model(db, workspace, model.ref.name)
    same = find_model(db, workspace, model.ref.id)
    if named is not None and named.ref.id != model.ref.id:
        raise Conflict(f"another model is named {model.ref.name}", field="name", model=named.ref.id)
    if same is not None and same.ref.name != model.ref.name:
        raise Conflict(f"this model is registered as {same.ref.name}", field="name", model=same.ref.id)
    db.merge(
        ModelRow(
            workspace=workspace,
            id=model.ref.id,
            name=model.ref.name,
            lineage=model.lineage,
            record=model.model_dump(mode="json"),
            created_at=model.created_at,
        )
    )


def models_behind(db: ReadSession, workspace: str, keys: Collection[str]) -> dict[str, Model]:
    """Return the models whose content has one of these hashes, or that were registered as one of these artifacts."""
    found: dict[str, Model] = {}
    for some in batched(sorted(keys), 400):
        ids = [f"m_{key[:16]}" for key in some]
        query = select(ModelRow).where(
            ModelRow.workspace == workspace, or_(ModelRow.id.in_(ids), ModelRow.lineage.in_(some))
        )
        for row in db.scalars(query):
            model = Model.model_validate(row.record)
            found |= {key: model for key in (model.ref.model_sha256, model.lineage) if key in keys}
    return found
