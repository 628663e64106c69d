"""Publishing what was trained and built."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from contracts.captures import Capture, CaptureRequest
from contracts.sae import Sae, SaeRequest
from services.explanation.atlas.building import building_stages
from services.explanation.atlas.labeller import Labeller
from services.explanation.atlas.repository import publish_capture as write_capture
from services.explanation.atlas.repository import publish_sae as write_sae
from services.explanation.atlas.steering_judging import judging_stages
from services.explanation.atlas.text_alignment import text_alignment_stages
from services.explanation.atlas.text_labels import text_label_stages
from services.explanation.encoders.registry import EncoderCache
from services.kit.arrays import facts_of, load_arrays
from services.kit.stages import StageFunction, Work
from services.kit.windows import SPLITS, order_sha256


def atlas_stages(
    encoders: EncoderCache, labeller: Callable[[], Labeller | None] = lambda: None
) -> tuple[StageFunction, ...]:
    """The stages of captures, autoencoders, atlases and alignments that need no model."""
    return (
        StageFunction("publish-capture", 1, publish_capture),
        StageFunction("publish-sae", 1, publish_sae),
        *building_stages(),
        *text_label_stages(encoders, labeller),
        *text_alignment_stages(),
        *judging_stages(encoders),
    )


def publish_capture(work: Work) -> None:
    """Write the record of a capture, and its row in the transaction that publishes this part."""
    request = CaptureRequest.model_validate(work.spec["request"])
    key, norms, widths = work.keys["record"], work.record("norms"), dict(work.spec["widths"])  # type: ignore[arg-type]
    shards = [f"{number:05d}" for number in range(int(str(work.spec["shards"])))]
    texts = [load_arrays(work.path(f"text/{shard}"), ["window", "split"]) for shard in shards]
    split = np.concatenate([one["split"] for one in texts])
    windows = np.concatenate([one["window"] for one in texts])
    layers = [
        {
            "layer": layer, "width": widths[layer], "norm": norms[layer],
            "tokens": sum(int(str(facts_of(work.path(f"tokens/{layer}/{shard}"))["tokens"])) for shard in shards),
        }
        for layer in request.layers or []
    ]  # fmt: skip
    name = request.name or f"cap_{key[:16]}"
    found = Capture.model_validate(
        {
            "id": f"cap_{key[:16]}", "name": name, "model": request.model, "corpus": request.corpus, "layers": layers,
            "windows": len(split), "splits": {one: int((split == at).sum()) for at, one in enumerate(SPLITS)},
            "order_sha256": order_sha256(str(work.spec["manifest"]), windows), "request": request, "lineage": key,
            "created_at": datetime.now(UTC),
        }
    )  # fmt: skip
    roles = {role: work.keys[role] for role in work.inputs}
    work.emit_record("record", {"capture": found.model_dump(mode="json", exclude={"created_at"}), "artifacts": roles})
    work.when_published(lambda db: write_capture(db, work.workspace, found, roles))
    work.result = found.id
    work.advance(1)


def publish_sae(work: Work) -> None:
    """Write the record of an autoencoder, and its row in the transaction that publishes this part."""
    request = SaeRequest.model_validate(work.spec["request"])
    figures, key = work.record("figures"), work.keys["record"]
    sae_id = f"sae_{key[:16]}"
    if "spliced" in work.inputs:
        recovered = work.record("spliced")["recovered"]
        figures["quality"] = {**figures["quality"], "recovered": recovered}  # type: ignore[dict-item]
    found = Sae.model_validate(
        {
            "id": sae_id, "name": request.name or sae_id, "snapshot": request.snapshot, "capture": request.capture,
            "model": work.spec["model_id"], "dataset": work.spec["dataset"], "layer": request.layer,
            "request": request, "lineage": key, "created_at": datetime.now(UTC),
            **{name: figures[name] for name in ("architecture", "width", "latents", "quality", "warnings")},
        }
    )  # fmt: skip
    roles = {role: work.keys[role] for role in work.inputs}
    work.emit_record("record", {"sae": found.model_dump(mode="json", exclude={"created_at"}), "artifacts": roles})
    work.when_published(lambda db: write_sae(db, work.workspace, found, roles))
    work.result = found.id
    work.advance(1)
