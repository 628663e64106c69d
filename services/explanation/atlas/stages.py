"""Publishing what was trained and built."""

from __future__ import annotations

from datetime import UTC, datetime

from contracts.sae import Sae, SaeRequest
from services.explanation.atlas.building import building_stages
from services.explanation.atlas.repository import publish_sae as write_sae
from services.kit.stages import StageFunction, Work


def atlas_stages() -> tuple[StageFunction, ...]:
    """The stages of autoencoders, atlases and alignments that need no model."""
    return (StageFunction("publish-sae", 1, publish_sae), *building_stages())


def publish_sae(work: Work) -> None:
    """Write the record of an autoencoder, and its row in the transaction that publishes this part."""
    request = SaeRequest.model_validate(work.spec["request"])
    figures, key = work.record("figures"), work.keys["record"]
    sae_id = f"sae_{key[:16]}"
    found = Sae.model_validate(
        {
            "id": sae_id, "name": request.name or sae_id, "snapshot": request.snapshot, "model": work.spec["model_id"],
            "dataset": work.spec["dataset"], "layer": request.layer, "request": request, "lineage": key,
            "created_at": datetime.now(UTC),
            **{name: figures[name] for name in ("architecture", "width", "latents", "quality", "warnings")},
        }
    )  # fmt: skip
    roles = {role: work.keys[role] for role in work.inputs}
    work.emit_record("record", {"sae": found.model_dump(mode="json", exclude={"created_at"}), "artifacts": roles})
    work.when_published(lambda db: write_sae(db, work.workspace, found, roles))
    work.result = found.id
    work.advance(1)
