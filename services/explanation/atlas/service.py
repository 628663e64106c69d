"""What a user can ask about sparse autoencoders, atlases and alignments."""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np

from contracts.atlas import Atlas, AtlasAlignment, AtlasLabel, UnitHits, UnitLabels, UnitSearch
from contracts.base import Binary, Caller, Page
from contracts.errors import CorruptArtifact
from contracts.sae import LatentExample, Sae, SaeLatent, UnknownLatent
from services.explanation.atlas.building import TIERS
from services.explanation.atlas.carried import Carried
from services.explanation.atlas.codes import Codes
from services.explanation.atlas.repository import alignment_row, atlas_row, sae_row
from services.explanation.atlas.rows import AtlasAlignmentRow, AtlasRow, SaeRow
from services.explanation.encoders.registry import EncoderCache
from services.explanation.labels.vocabularies import TEMPLATES, text_vectors
from services.kit.arrays import load_arrays
from services.kit.artifacts import find_artifacts
from services.kit.blobs import Blobs
from services.kit.db import Database
from services.kit.named import newest_first
from services.kit.pictures import Manifest

EXAMPLES = 20
FEWEST = 5


class Atlases:
    """Implements `contracts.atlas.AtlasService`."""

    def __init__(self, database: Database, blobs: Blobs, encoders: EncoderCache) -> None:
        self.database, self.blobs, self.encoders = database, blobs, encoders
        self.codes = lru_cache(maxsize=8)(Codes.load)

    def saes(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Sae]:
        """List the sparse autoencoders of the workspace, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, SaeRow, caller.workspace, limit, cursor)
        return Page[Sae](items=[Sae.model_validate(row.record) for row in rows], next=more)

    def sae(self, caller: Caller, sae: str) -> Sae:
        """Show one sparse autoencoder with its figures on held-out rows."""
        return self._sae(caller, sae)[0]

    def sae_latent(self, caller: Caller, sae: str, latent: int) -> SaeLatent:
        """Show one latent: how often it fires, and on which samples most."""
        found, files = self._sae(caller, sae)
        if latent >= found.latents:
            raise UnknownLatent(f"{found.name} has no latent {latent}", field="latent", latents=found.latents)
        codes = self.codes(files["codes"])
        column = codes.column(latent)
        labels = Manifest.load(files["manifest"], self.blobs).labels()
        order = np.argsort(-column, kind="stable")[:EXAMPLES]
        examples = [
            LatentExample(
                sample=int(at), label=labels[at], value=float(column[at]), held_out=bool(codes.held_out[at])
            )
            for at in order
            if column[at] > 0
        ]  # fmt: skip
        fired = int((column > 0).sum())
        named = Counter(one.label for one in examples if one.label is not None).most_common(1)
        return SaeLatent(
            sae=found.id, index=latent, density=fired / len(column), maximum=float(column.max(initial=0)),
            state="dead" if not fired else "insufficient_evidence" if fired < FEWEST else "ok",
            label=named[0][0] if named else None, label_share=named[0][1] / len(examples) if named else None,
            examples=examples,
        )  # fmt: skip

    def export_sae(self, caller: Caller, sae: str) -> Binary:
        """Export as a zip of the folder that SAELens reads."""
        found, files = self._sae(caller, sae)
        return Binary(files["folder"].read_bytes(), "application/zip", found.lineage)

    def atlases(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Atlas]:
        """List the atlases of the workspace, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, AtlasRow, caller.workspace, limit, cursor)
        return Page[Atlas](items=[Atlas.model_validate(row.record) for row in rows], next=more)

    def atlas(self, caller: Caller, atlas: str) -> Atlas:
        """Show one atlas with the tiers of its labels and their control."""
        with self.database.reading() as db:
            return Atlas.model_validate(atlas_row(db, caller.workspace, atlas).record)

    def atlas_labels(self, caller: Caller, atlas: str) -> Page[AtlasLabel]:
        """List all named latents of an atlas, best first."""
        with self.database.reading() as db:
            files = self._files(db, caller.workspace, dict(atlas_row(db, caller.workspace, atlas).artifacts))
        arrays, names = load_arrays(files["labels"]), _names(files)
        found = [
            AtlasLabel(
                latent=int(at), text=names[int(arrays["index"][at])], margin=float(arrays["margin"][at]),
                tier=TIERS[arrays["tier"][at]],
                **{name: _number(arrays[name][at]) for name in ("auroc", "low", "high", "precision")},
            )
            for at in np.flatnonzero(arrays["index"] >= 0)
        ]  # fmt: skip
        return Page[AtlasLabel](items=sorted(found, key=lambda one: (-(one.low or -1), one.latent)))

    def alignments(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[AtlasAlignment]:
        """List the alignments of the workspace, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, AtlasAlignmentRow, caller.workspace, limit, cursor)
        return Page[AtlasAlignment](items=[AtlasAlignment.model_validate(row.record) for row in rows], next=more)

    def alignment(self, caller: Caller, alignment: str) -> AtlasAlignment:
        """Show one alignment: translators, chosen map, controls and tiers of each layer."""
        with self.database.reading() as db:
            return AtlasAlignment.model_validate(alignment_row(db, caller.workspace, alignment).record)

    def unit_labels(self, caller: Caller, alignment: str, layer: str, unit: int) -> UnitLabels:
        """Show the atlas labels of one unit of the subject, those trusted on both sides only."""
        return self._carried(caller, alignment, layer).unit(unit)

    def search_units(self, caller: Caller, alignment: str, query: UnitSearch) -> UnitHits:
        """Find units of the subject by a text, through the trusted labels of the atlas."""
        carried = self._carried(caller, alignment, query.layer)
        with self.database.reading() as db:
            atlas = Atlas.model_validate(atlas_row(db, caller.workspace, carried.alignment.atlas).record)
        vector = text_vectors(self.encoders.get(atlas.encoder).encode_texts, [query.text], list(TEMPLATES))[0]
        return carried.search(query, vector / max(float(np.linalg.norm(vector)), 1e-12))

    def _carried(self, caller: Caller, alignment: str, layer: str) -> Carried:
        with self.database.reading() as db:
            row = alignment_row(db, caller.workspace, alignment)
            files = self._files(db, caller.workspace, dict(row.artifacts))
        return Carried.open(AtlasAlignment.model_validate(row.record), layer, files, _names(files))

    def _sae(self, caller: Caller, sae: str) -> tuple[Sae, dict[str, Path]]:
        with self.database.reading() as db:
            row = sae_row(db, caller.workspace, sae)
            return Sae.model_validate(row.record), self._files(db, caller.workspace, dict(row.artifacts))

    def _files(self, db: object, workspace: str, keys: dict[str, str]) -> dict[str, Path]:
        """Role -> checked path of each artifact."""
        found = find_artifacts(db, workspace, keys.values())  # type: ignore[arg-type]
        missing = [role for role, key in keys.items() if key not in found]
        if missing:
            raise CorruptArtifact(f"{missing[0]} is no longer stored", field="sae", missing=list(missing))
        return {role: self.blobs.open(found[key].blob) for role, key in keys.items()}


def _names(files: dict[str, Path]) -> list[str]:
    return [str(name) for name in json.loads(files["names"].read_bytes())["names"]]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
