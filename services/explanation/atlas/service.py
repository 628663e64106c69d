"""What a user can ask about sparse autoencoders."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np

from contracts.base import Binary, Caller, Page
from contracts.errors import CorruptArtifact
from contracts.sae import LatentExample, Sae, SaeLatent, UnknownLatent
from services.explanation.atlas.codes import Codes
from services.explanation.atlas.repository import sae_row
from services.explanation.atlas.rows import SaeRow
from services.kit.artifacts import find_artifacts
from services.kit.blobs import Blobs
from services.kit.db import Database
from services.kit.named import newest_first
from services.kit.pictures import Manifest

EXAMPLES = 20
FEWEST = 5


class Atlases:
    """Implements `contracts.atlas.AtlasService`."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self.database, self.blobs = database, blobs
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
