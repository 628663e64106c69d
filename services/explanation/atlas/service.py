"""What a user can ask about captures, sparse autoencoders, atlases and alignments."""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np

from contracts.atlas import Atlas, AtlasAlignment, AtlasLabel, UnitHits, UnitLabels, UnitSearch
from contracts.atlas_reading import Agreement, DirectionQuery, SteeringDirection, TextQuery, TokenReading
from contracts.base import Binary, Caller, Page
from contracts.captures import Capture, NotOfText
from contracts.errors import CorruptArtifact, UnknownLayer
from contracts.language import TokenQuery
from contracts.model import ModelService
from contracts.sae import LatentExample, Sae, SaeLatent, UnknownLatent
from services.explanation.atlas.building import TIERS
from services.explanation.atlas.carried import Carried
from services.explanation.atlas.codes import Codes
from services.explanation.atlas.reading import (
    Labels,
    agreement_of,
    direction_of,
    encode,
    reading_of,
    translator_in,
)
from services.explanation.atlas.repository import alignment_row, atlas_row, capture_row, sae_row
from services.explanation.atlas.rows import AtlasAlignmentRow, AtlasRow, CaptureRow, SaeRow
from services.explanation.atlas.text_latents import text_latent
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

    def __init__(self, database: Database, blobs: Blobs, encoders: EncoderCache, *, models: ModelService) -> None:
        self.database, self.blobs, self.encoders, self.models = database, blobs, encoders, models
        self.codes = lru_cache(maxsize=8)(Codes.load)

    def captures(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Capture]:
        """List the captures of language models, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, CaptureRow, caller.workspace, limit, cursor)
        return Page[Capture](items=[Capture.model_validate(row.record) for row in rows], next=more)

    def capture(self, caller: Caller, capture: str) -> Capture:
        """Show one capture with its layers."""
        with self.database.reading() as db:
            return Capture.model_validate(capture_row(db, caller.workspace, capture).record)

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
        if found.capture is not None:
            return text_latent(found, latent, codes, files)
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
        arrays, names, methods = load_arrays(files["labels"]), _names(files), _methods(files)
        found = [
            AtlasLabel(
                latent=int(at), text=names[int(arrays["index"][at])], margin=float(arrays["margin"][at]),
                tier=TIERS[arrays["tier"][at]], method=methods[at] if methods else None,
                density=float(arrays["density"][at]) if "density" in arrays else None,
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
        return carried.search(query, self._embedded(atlas, query.text))

    def read_text(self, caller: Caller, atlas: str, query: TextQuery) -> TokenReading:
        """Read a text token by token: which labelled latents of the atlas's own model are active where."""
        found, files = self._atlas(caller, atlas)
        _require_text(found, query.layer)
        tokens = self.models.token_activations(caller, found.model, TokenQuery(text=query.text, layer=found.layer))
        labels = Labels(load_arrays(files["labels"]), _names(files))
        codes = encode(files["sae"], tokens["values"])
        usable = labels.trusted if query.trusted else np.ones(codes.shape[1], bool)
        return reading_of(
            query, codes, labels, tokens, model=found.model, layer=found.layer, translator=None, usable=usable
        )

    def localise(self, caller: Caller, alignment: str, query: TextQuery) -> TokenReading:
        """Read a text token by token in the subject: which carried labels its activations have where."""
        found = self.alignment(caller, alignment)
        if found.capture is None:
            raise NotOfText(f"{found.name} is an alignment of pictures", field="alignment")
        layer = query.layer or found.layers[0].layer
        carried = self._carried(caller, alignment, layer)
        tokens = self.models.token_activations(caller, found.model, TokenQuery(text=query.text, layer=layer))
        labels = Labels(carried.labels, carried.names)
        chosen = next(one.chosen for one in found.layers if one.layer == layer)
        codes = translator_in(carried).read(tokens["values"])
        usable = carried.trusted if query.trusted else labels.arrays["index"] >= 0
        return reading_of(
            query, codes, labels, tokens, model=found.model, layer=layer, translator=chosen, usable=usable
        )

    def atlas_direction(self, caller: Caller, atlas: str, query: DirectionQuery) -> SteeringDirection:
        """Make a steering direction in the atlas's own model from decoder rows."""
        found, files = self._atlas(caller, atlas)
        _require_text(found, query.layer)
        labels = Labels(load_arrays(files["labels"]), _names(files))
        maps = {"native": load_arrays(files["sae"], ["decoder"])["decoder"]}
        embedded = self._embedded(found, query.text) if query.text else None
        norm = float(json.loads(files["norms"].read_bytes())[found.layer])
        return direction_of(
            query, maps, labels, usable=labels.trusted, embedded=embedded, model=found.model, layer=found.layer,
            norm=norm,
        )  # fmt: skip

    def alignment_direction(self, caller: Caller, alignment: str, query: DirectionQuery) -> SteeringDirection:
        """Make a steering direction in the subject from latents of the atlas."""
        found = self.alignment(caller, alignment)
        layer = query.layer or found.layers[0].layer
        with self.database.reading() as db:
            files = self._files(db, caller.workspace, dict(alignment_row(db, caller.workspace, alignment).artifacts))
            atlas = Atlas.model_validate(atlas_row(db, caller.workspace, found.atlas).record)
        carried = Carried.open(found, layer, files, _names(files))
        read = translator_in(carried).columns().T
        maps = {name: carried.map[name] for name in ("write", "cov") if name in carried.map} | {"read": read}
        norms = json.loads(files["subject_norms"].read_bytes()) if "subject_norms" in files else {}
        return direction_of(
            query, maps, Labels(carried.labels, carried.names), usable=carried.trusted,
            embedded=self._embedded(atlas, query.text) if query.text else None, model=found.model, layer=layer,
            norm=norms.get(layer),
        )  # fmt: skip

    def agreement(self, caller: Caller, alignment: str, other: str, layer: str | None = None) -> Agreement:
        """Compare what two atlases say about the units of one subject."""
        layer = layer or self.alignment(caller, alignment).layers[0].layer
        return agreement_of(self._carried(caller, alignment, layer), self._carried(caller, other, layer))

    def _embedded(self, atlas: Atlas, text: str) -> np.ndarray:
        """Unit vector of a text in the space of an atlas's labels."""
        templates = list(TEMPLATES) if atlas.capture is None else ["{}"]
        vector = text_vectors(self.encoders.get(atlas.encoder).encode_texts, [text], templates)[0]
        unit: np.ndarray = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return unit

    def _atlas(self, caller: Caller, atlas: str) -> tuple[Atlas, dict[str, Path]]:
        with self.database.reading() as db:
            row = atlas_row(db, caller.workspace, atlas)
            return Atlas.model_validate(row.record), self._files(db, caller.workspace, dict(row.artifacts))

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


def _methods(files: dict[str, Path]) -> list[str] | None:
    found = json.loads(files["names"].read_bytes()).get("methods")
    return None if found is None else [str(one) for one in found]


def _require_text(atlas: Atlas, layer: str | None) -> None:
    if atlas.capture is None:
        raise NotOfText(f"{atlas.name} is an atlas of pictures", field="atlas")
    if layer is not None and layer != atlas.layer:
        raise UnknownLayer(f"{atlas.name} is of {atlas.layer}", field="layer", closest=[atlas.layer])


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
