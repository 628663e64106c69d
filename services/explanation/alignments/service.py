"""What a user can ask about comparisons."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Literal

from contracts.alignment import (
    Alignment,
    Comparison,
    Concept,
    ConceptDetail,
    ConceptMatch,
    FlowEdge,
    PairReport,
    Representation,
)
from contracts.base import Binary, Caller, Page
from contracts.errors import CorruptArtifact, UnknownConcept, UnknownPair
from services.explanation.alignments.report import csv_of, html_report
from services.explanation.alignments.repository import comparison_row
from services.explanation.alignments.rows import ComparisonRow
from services.kit.artifacts import find_artifacts
from services.kit.blobs import Blobs
from services.kit.db import Database
from services.kit.named import newest_first
from services.kit.pictures import Manifest


class Alignments:
    """Implements `contracts.alignment.AlignmentService`."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self.database = database
        self.blobs = blobs

    def comparisons(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Comparison]:
        """List the comparisons of the workspace, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, ComparisonRow, caller.workspace, limit, cursor)
        return Page[Comparison](items=[Comparison.model_validate(row.comparison) for row in rows], next=more)

    def comparison(self, caller: Caller, comparison: str) -> Comparison:
        """Show one comparison."""
        with self.database.reading() as db:
            return Comparison.model_validate(comparison_row(db, caller.workspace, comparison).comparison)

    def pair(self, caller: Caller, comparison: str, ours: int, theirs: int) -> PairReport:
        """Show two representations concept by concept."""
        return self._opened(caller, comparison).pair(ours, theirs)

    def concept(self, caller: Caller, comparison: str, representation: int, concept: int) -> ConceptDetail:
        """Show one concept with its partners."""
        return self._opened(caller, comparison).concept(representation, concept)

    def report(self, caller: Caller, comparison: str, format: Literal["html", "csv"] = "html") -> Binary:
        """Export a comparison."""
        opened = self._opened(caller, comparison)
        pairs = [opened.pair(ours, theirs) for ours, theirs in opened.comparison.matched]
        if format == "csv":
            return Binary(csv_of(pairs).encode(), "text/csv; charset=utf-8")
        page = html_report(opened.comparison, pairs, opened.manifest().thumbnail_bytes)
        return Binary(page.encode(), "text/html; charset=utf-8")

    def _opened(self, caller: Caller, comparison: str) -> OpenedComparison:
        with self.database.reading() as db:
            row = comparison_row(db, caller.workspace, comparison)
            found = find_artifacts(db, caller.workspace, row.artifacts.values())
        gone = sorted(role for role, key in row.artifacts.items() if key not in found)
        if gone:
            raise CorruptArtifact(f"{', '.join(gone[:3])} of {row.id} must be recomputed", comparison=row.id)
        blobs = {role: found[key].blob for role, key in row.artifacts.items()}
        return OpenedComparison(Comparison.model_validate(row.comparison), blobs, self.blobs)


class OpenedComparison:
    """A comparison with its files.

    Parameters
    ----------
    blobs : role -> sha256 of each artifact's bytes. store : checks each file against its hash when it is opened.
    """

    def __init__(self, comparison: Comparison, blobs: dict[str, str], store: Blobs) -> None:
        self.comparison = comparison
        self._blobs = blobs
        self._store = store

    def manifest(self) -> Manifest:
        """The samples that it was computed on."""
        return Manifest.load(self._store.open(self._blobs["manifest"]), self._store)

    def _record(self, role: str) -> dict[str, Any]:
        return dict(json.loads(self._store.open(self._blobs[role]).read_bytes()))

    def _concepts(self, place: int) -> list[Concept]:
        return [Concept.model_validate(told) for told in self._record(f"profiles/{place}")["concepts"]]

    def representation(self, place: int) -> Representation:
        """Return one representation. Raises `UnknownConcept`."""
        if place >= len(self.comparison.representations):
            most = len(self.comparison.representations) - 1
            raise UnknownConcept(f"there is no representation {place}", field="representation", last=most)
        return self.comparison.representations[place]

    def pair(self, ours: int, theirs: int) -> PairReport:
        """Return two matched representations concept by concept. Raises `UnknownPair`."""
        if (ours, theirs) not in self.comparison.matched:
            known = [list(pair) for pair in self.comparison.matched]
            raise UnknownPair(f"{ours} and {theirs} were not matched", field="ours", matched=known)
        record = self._record(f"matches/{ours}/{theirs}")
        matches = [ConceptMatch.model_validate(match) for match in record["matches"]]
        return PairReport(
            comparison=self.comparison.id,
            ours=self.representation(ours),
            theirs=self.representation(theirs),
            alignment=self._alignment(ours, theirs),
            counts=dict(Counter(match.relation for match in matches)),
            matches=matches,
            our_concepts=self._concepts(ours),
            their_concepts=self._concepts(theirs),
            flow=[FlowEdge.model_validate(edge) for edge in record["flow"]],
        )

    def _alignment(self, ours: int, theirs: int) -> Alignment:
        return next(row for row in self.comparison.alignments if (row.ours, row.theirs) == (ours, theirs))

    def concept(self, place: int, index: int) -> ConceptDetail:
        """Return one concept with its partners, by representation. Raises `UnknownConcept`."""
        told = self.representation(place)
        concepts = self._concepts(place)
        if index >= len(concepts):
            raise UnknownConcept(f"{told.layer} has {len(concepts)} concepts", field="concept", concepts=len(concepts))
        partners = {}
        for ours, theirs in self.comparison.matched:
            if place not in (ours, theirs):
                continue
            matches = self._record(f"matches/{ours}/{theirs}")["matches"]
            side, other = ("ours", theirs) if place == ours else ("theirs", ours)
            match = next((match for match in matches if match[side] == index), None)
            if match is not None:
                partners[other] = ConceptMatch.model_validate(match)
        return ConceptDetail(
            comparison=self.comparison.id, representation=told, concept=concepts[index], partners=partners
        )
