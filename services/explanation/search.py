"""Search: terms to one direction, the direction to hits with scores, z and examples."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import EncoderMismatch, InsufficientEvidence, NoTextSide
from contracts.explanation import ComponentTerm, PictureTerm, SampleTerm, SearchHit, SearchHits, SearchQuery, TextTerm
from contracts.snapshots import ComponentRef, Example
from services.explanation.encoders.port import EncoderPort, EncodersPort
from services.explanation.index.generation import Filters
from services.explanation.measure import OK
from services.explanation.opened import Opened
from services.explanation.semantics.nulls import bank_moments
from services.explanation.semantics.queries import (
    TEMPLATES,
    background_names,
    mixed_direction,
    template_nulls,
    text_directions,
)
from services.kit.pictures import decode_picture

Floats = NDArray[np.float32]
KEPT_DIRECTIONS = 4096
BACKGROUND = 1000


@dataclass(frozen=True)
class Asked:
    """A query as the index understands it."""

    direction: Floats
    mean: Floats  # of random sets, for each kept number of examples
    deviation: Floats
    kind: str
    truncated: tuple[str, ...]


class Searcher:
    """Answers searches; directions of texts are kept, so that asking again costs one index look-up."""

    def __init__(self, encoders: EncodersPort) -> None:
        self._encoders = encoders
        self._kept: OrderedDict[tuple[object, ...], tuple[Floats, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def search(self, opened: Opened, query: SearchQuery) -> SearchHits:
        """Find components. Raises the refusals that the contract lists."""
        filters = Filters(
            layers=None if query.layers is None else frozenset(opened.layer_number(name) for name in query.layers),
            min_clarity=query.min_clarity,
            without=self._itself(opened, query),
        )
        asked = self._direction(opened, query)
        wanted = query.k if query.min_z is None else len(opened.generation)  # z does not fall with the score
        rows, scores = opened.generation.nearest(asked.direction, wanted, filters)
        z, z_random = self._z(opened, rows, scores, asked)
        good = np.ones(len(rows), dtype=bool)
        if query.min_score is not None:
            good &= scores >= query.min_score
        if query.min_z is not None:
            good &= np.nan_to_num(z, nan=-np.inf) >= query.min_z
        chosen = np.flatnonzero(good)[: query.k]
        hits = [
            _hit(opened, int(rows[place]), scores[place], z[place], z_random[place], examples=query.examples)
            for place in chosen
        ]
        return SearchHits(
            snapshot=opened.snapshot.id,
            lineage=opened.snapshot.lineage,
            hits=hits,
            truncated_texts=list(asked.truncated),
        )

    def encoder_of(self, opened: Opened) -> EncoderPort:
        """The encoder that the snapshot was built with.

        Raises
        ------
        EncoderMismatch : this installation's checkpoint or algorithm is another one.
        """
        due = opened.snapshot.encoder
        port = self._encoders.get(due.name)
        if port.fingerprint != due.fingerprint:
            raise EncoderMismatch(f"{due.name} here is not the one that the snapshot was built with", field="snapshot")
        return port

    def _itself(self, opened: Opened, query: SearchQuery) -> int | None:
        """A search like one component leaves that component out."""
        term = query.terms[0]
        if len(query.terms) > 1 or not isinstance(term, ComponentTerm):
            return None
        return opened.offsets[term.layer] + self._row(opened, term) if term.layer in opened.offsets else None

    def _row(self, opened: Opened, term: ComponentTerm) -> int:
        return opened.tables(term.layer).row(term.layer, term.index, term.sign)

    def _direction(self, opened: Opened, query: SearchQuery) -> Asked:
        directions, weights, truncated = [], [], []
        templates = tuple(query.templates or TEMPLATES)
        for term in query.terms:
            weights.append(term.weight)
            match term:
                case TextTerm():
                    direction, cut = self._text(opened, term.text, templates)
                    if cut:
                        truncated.append(term.text)
                case ComponentTerm():
                    direction = self._component(opened, term)
                case SampleTerm():
                    direction = self._sample(opened, term.sample)
                case PictureTerm():
                    direction = self.encoder_of(opened).encode_images([decode_picture(term.picture)])[0]
            directions.append(direction)
        mixed = mixed_direction(directions, weights)
        moments = [bank_moments(bank, mixed[None]) for bank in opened.banks]
        mean, deviation = (np.concatenate(column) for column in zip(*moments, strict=True))
        kind = "text" if any(isinstance(term, TextTerm) for term in query.terms) else "image"
        return Asked(mixed, mean, deviation, kind, tuple(truncated))

    def _text(self, opened: Opened, text: str, templates: tuple[str, ...]) -> tuple[Floats, bool]:
        encoder = opened.snapshot.encoder
        if not encoder.text:
            raise NoTextSide(f"{encoder.name} reads no text", field="terms")
        key = ("text", encoder.fingerprint, templates, text)
        kept = self._recall(key)
        if kept is None:
            port = self.encoder_of(opened)
            nulls = self._template_nulls(opened, port, templates)
            direction = text_directions(port.encode_texts, [text], templates=templates, nulls=nulls)[0]
            kept = self._keep(key, (direction, port.truncates([text])[0]))
        return kept

    def _template_nulls(self, opened: Opened, port: EncoderPort, templates: tuple[str, ...]) -> Floats:
        if templates == TEMPLATES and "template_nulls" in opened.nulls:
            stored: Floats = opened.nulls["template_nulls"]
            return stored
        key = ("nulls", port.fingerprint, templates)
        kept = self._recall(key)
        if kept is None:
            names = background_names(BACKGROUND) if port.null == "centroid" else []
            nulls = template_nulls(port.encode_texts, templates, null=port.null, background=names)
            kept = self._keep(key, (nulls, False))
        return kept[0]

    def _component(self, opened: Opened, term: ComponentTerm) -> Floats:
        row = self._row(opened, term)
        vectors = opened.tables(term.layer).vectors
        if vectors["state"][row] != OK:
            raise InsufficientEvidence(f"{term.layer} {term.index} has no vector", field="terms")
        direction: Floats = vectors["unit"][row]
        return direction

    def _sample(self, opened: Opened, sample: int) -> Floats:
        key = ("sample", opened.snapshot.encoder.fingerprint, opened.manifest.sample(sample).sha256)
        kept = self._recall(key)
        if kept is None:
            port = self.encoder_of(opened)
            kept = self._keep(key, (port.encode_images([opened.manifest.picture(sample)])[0], False))
        return kept[0]

    def _recall(self, key: tuple[object, ...]) -> tuple[Floats, bool] | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[object, ...], value: tuple[Floats, bool]) -> tuple[Floats, bool]:
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > KEPT_DIRECTIONS:
                self._kept.popitem(last=False)
        return value

    def _z(self, opened: Opened, rows: NDArray[np.int64], scores: Floats, asked: Asked) -> tuple[Floats, Floats]:
        """Z against unrelated queries, and against random sets of pictures; NaN where there is no null."""
        columns = opened.generation.columns
        kept = np.searchsorted(opened.nulls["sizes"], columns["size"][rows], side="right") - 1
        kept = np.maximum(kept, 0)  # random sets of as many pictures, or the next smaller number that is kept
        z_random = (scores - asked.mean[kept]) / asked.deviation[kept]
        median, spread = columns[f"{asked.kind}_median"][rows], columns[f"{asked.kind}_spread"][rows]
        standard = (scores - asked.mean[-1]) / asked.deviation[-1]  # as the background was standardised
        return (standard - median) / spread, z_random


def _hit(opened: Opened, row: int, score: float, z: float, z_random: float, *, examples: int) -> SearchHit:
    generation = opened.generation.columns
    layer = opened.layer_names[int(generation["layer"][row])]
    component, prototype = int(generation["row"][row]), int(generation["prototype"][row])
    tables = opened.tables(layer)
    shown = _members(tables.vectors["members"][component], prototype, examples)
    return SearchHit.model_construct(
        component=reference_of(opened, layer, component),
        score=float(score),
        z=float(z) if np.isfinite(z) else None,
        z_random=float(z_random) if np.isfinite(z_random) else None,
        clarity=float(generation["clarity"][row]),
        prototype=prototype,
        n_valid=int(tables.examples["n_valid"][component]),
        examples=examples_at(opened, tables.examples, component, shown),
    )


def _members(members: NDArray[np.int8], prototype: int, most: int) -> NDArray[np.int64]:
    """Places of the best examples of the prototype that was hit."""
    return np.flatnonzero(members == prototype)[:most]


def reference_of(opened: Opened, layer: str, row: int) -> ComponentRef:
    """Name a component; made without validation, since thousands are made a second and all come from our tables."""
    width = opened.snapshot.layers[opened.layer_names.index(layer)].width
    return ComponentRef.model_construct(
        model=opened.snapshot.model.id, layer=layer, index=row % width, sign=1 if row < width else -1
    )


def examples_at(opened: Opened, table: dict[str, np.ndarray], row: int, places: NDArray[np.int64]) -> list[Example]:
    """Examples of one component at some places of its list."""
    ids, values = table["ids"][row, places], table["values"][row, places]
    relevances = table["relevances"][row, places].tolist() if "relevances" in table else [None] * len(places)
    positions = table["positions"][row, places].tolist() if "positions" in table else [None] * len(places)
    return [
        Example.model_construct(
            sample=sample, label=opened.labels[sample], activation=activation, relevance=relevance, position=position
        )
        for sample, activation, relevance, position in zip(
            ids.tolist(), values.tolist(), relevances, positions, strict=True
        )
        if sample >= 0
    ]
