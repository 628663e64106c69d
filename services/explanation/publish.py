"""The index and publish stages: one immutable generation over all layers, then the snapshot's row."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import JsonValue

from contracts.data import DatasetRef
from contracts.model import Layer, ModelRef
from contracts.snapshots import Encoder, IndexFigures, Snapshot, SnapshotLayer, SnapshotRequest
from services.explanation.index.builder import RECALL_GATE, build_with_gate, write_index
from services.explanation.index.library import faiss
from services.explanation.measure import DEAD, INSUFFICIENT, OK
from services.explanation.repository import publish_snapshot
from services.explanation.semantics.vectors import SPLIT_Z
from services.kit.arrays import load_arrays, save_arrays
from services.kit.pictures import Manifest
from services.kit.stages import Work

HELD_OUT = 256
PER_ROW = ("clarity", "text_median", "text_spread", "image_median", "image_spread")


def index(work: Work) -> None:
    """Join the layers' rows, build the index, and measure its recall on queries that it was not built from."""
    layers = [str(name) for name in cast(list[str], work.spec["layers"])]
    joined = join_rows([work.path(f"vectors/{name}") for name in layers])
    rows = joined["rows"]
    queries = _held_out(work, rows, seed=int(cast(int, work.spec["seed"])))
    built, kind, recall, nprobe = build_with_gate(rows, queries)
    with work.writing("index") as path:
        write_index(built, path)
    with work.writing("rows") as path:
        save_arrays(path, joined, {"layers": layers})
    files = {
        name: {"sha256": work.emitted[name], "bytes": work.blobs.path(work.emitted[name]).stat().st_size}
        for name in ("index", "rows")
    }
    work.emit_record(
        "manifest",
        {
            "files": files,
            "kind": kind,
            "n": len(rows),
            "width": int(rows.shape[1]),
            "metric": "inner product of unit vectors",
            "recall_at_20": recall,
            "recall_gate": RECALL_GATE,
            "queries": {name: hashlib.sha256(asked.tobytes()).hexdigest() for name, asked in queries.items()},
            "nprobe": nprobe,
            "encoder": Encoder.model_validate(work.spec["encoder"]).fingerprint,
            "layers": layers,
            "faiss": faiss().__version__,
            "lineage": work.keys["manifest"],
        },
    )
    work.advance(1)


def join_rows(paths: list[Path]) -> dict[str, np.ndarray]:
    """Put the prototypes of all layers one after the other, in the order of layers."""
    pieces: dict[str, list[np.ndarray]] = {}
    components = 0
    for number, path in enumerate(paths):
        arrays = load_arrays(path)
        of = arrays["row_component"]
        columns = {
            "rows": arrays["row_vectors"],
            "layer": np.full(len(of), number, np.int32),
            "row": of.astype(np.int32),
            "component": (components + of).astype(np.int64),
            "prototype": arrays["row_prototype"],
            "size": (arrays["members"][of] == arrays["row_prototype"][:, None]).sum(axis=1).astype(np.int32),
            **{name: _per_row(arrays, name, of) for name in PER_ROW},
        }
        for name, column in columns.items():
            pieces.setdefault(name, []).append(column)
        components += len(arrays["state"])
    return {name: np.concatenate(column) for name, column in pieces.items()}


def _per_row(arrays: dict[str, np.ndarray], name: str, of: np.ndarray) -> np.ndarray:
    if name not in arrays:
        return np.full(len(of), np.nan, np.float32)
    return arrays[name][of] if name == "clarity" else arrays[name]


def _held_out(work: Work, rows: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Queries of each kind that is served. Those like components lie near rows without being rows."""
    nulls = work.arrays("nulls")
    queries = {
        kind: nulls[f"{kind}/directions"][:HELD_OUT] for kind in ("text", "image") if f"{kind}/directions" in nulls
    }
    if not len(rows):  # every component is dead or has too little evidence
        return {}
    draw = np.random.default_rng(seed)
    near = rows[draw.integers(0, len(rows), HELD_OUT)] + draw.normal(0, 0.02, (HELD_OUT, rows.shape[1])).astype(
        np.float32
    )
    queries["component"] = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    return queries


def publish(work: Work) -> None:
    """Write the snapshot's record, and its row in the transaction that publishes this part."""
    request = SnapshotRequest.model_validate(work.spec["request"])
    model = ModelRef.model_validate(work.spec["model"])
    dataset = DatasetRef.model_validate(work.spec["dataset"])
    layers = [Layer.model_validate(layer) for layer in cast(list[JsonValue], work.spec["layers"])]
    manifest = json.loads(work.path("index/manifest").read_bytes())
    expected = float(load_arrays(work.path("nulls"), ["clarity"])["clarity"][0])
    key = work.keys["snapshot"]
    snapshot_id = f"s_{key[:16]}"
    snapshot = Snapshot(
        id=snapshot_id,
        name=request.name or f"{model.name[:30]} on {dataset.name[:30]} {key[:6]}",
        model=model,
        dataset=dataset,
        encoder=Encoder.model_validate(work.spec["encoder"]),
        request=request,
        layers=[
            layer_figures(work.path(f"vectors/{layer.name}"), layer, expected).model_copy(
                update=_crop_figures(work, layer.name)
            )
            for layer in layers
        ],
        index=IndexFigures(
            generation=work.inputs["index/index"],
            kind=manifest["kind"],
            n=manifest["n"],
            width=manifest["width"],
            recall_at_20=manifest["recall_at_20"],
            nprobe=manifest["nprobe"],
        ),
        lineage=key,
        created_at=datetime.now(UTC),
    )
    # the bytes must be the same for everybody who computes this snapshot: name and time are the row's, not the record's
    unsaid = {"name"} if request.relevance is not None else {"name", "rank_by", "relevance"}  # as before there was any
    facts = snapshot.model_dump(mode="json", exclude={"created_at": True, "name": True, "request": unsaid})
    roles = {role: work.keys[role] for role in work.inputs}
    work.emit_record("snapshot", {"snapshot": facts, "artifacts": roles})
    work.when_published(lambda db: publish_snapshot(db, work.workspace, snapshot, roles))
    work.result = snapshot_id
    work.advance(1)


def layer_figures(path: Path, layer: Layer, expected: float) -> SnapshotLayer:
    """Sum a layer's components up."""
    arrays = load_arrays(path, ["state", "clarity", "share_z", "redundancy"])
    state = arrays["state"]
    good = state == OK
    split = arrays["share_z"][good]
    return SnapshotLayer(
        name=layer.name,
        width=layer.width,
        signed=layer.signed,
        pooling=layer.pooling,
        components=int(good.sum()),
        dead=int((state == DEAD).sum()),
        insufficient_evidence=int((state == INSUFFICIENT).sum()),
        clarity_mean=_mean(arrays["clarity"][good]),
        clarity_null=expected,
        polysemantic_share=float((split >= SPLIT_Z).mean()) if len(split) else None,
        redundancy_mean=_mean(arrays["redundancy"][good]),
    )


def _crop_figures(work: Work, layer: str) -> dict[str, float]:
    """How much of their pictures a layer's crops show, and how many could not be cut."""
    roles = [role for role in work.inputs if role.startswith(f"boxes/{layer}/")]
    if not roles:
        return {}
    found = [load_arrays(work.path(role)) for role in sorted(roles)]
    boxes, state = (np.concatenate([one[name] for one in found]) for name in ("boxes", "state"))
    there = boxes[..., 2] > boxes[..., 0]
    if not there.any():
        return {}
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    ids, place = np.unique(load_arrays(work.path(f"examples/{layer}"), ["ids"])["ids"][there], return_inverse=True)
    samples = [manifest.sample(int(index)) for index in ids]
    whole = np.array([sample.width * sample.height for sample in samples])[place]
    left, top, right, bottom = boxes[there].T
    share = float(np.median((right - left) * (bottom - top) / whole))
    return {"crop_share": share, "crop_whole": float((state[there] != 0).mean())}


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if len(finite) else None
