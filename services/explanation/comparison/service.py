"""What a user can ask about snapshots as wholes."""

from __future__ import annotations

from typing import Literal

from contracts.base import Binary, Caller
from contracts.comparison import ComparisonQuery, Distributions, Layout, SnapshotComparison, SnapshotDrift
from services.explanation.comparison.compare import Compared, compared
from services.explanation.comparison.distributions import layer_distributions
from services.explanation.comparison.drifting import drifted
from services.explanation.comparison.maps import Maps
from services.explanation.comparison.report import comparison_csv, comparison_page, drift_csv, drift_page
from services.explanation.opened import Opened
from services.explanation.service import Explanation

CSV, HTML = "text/csv; charset=utf-8", "text/html; charset=utf-8"
ON_A_PAGE = 40


class Comparisons:
    """Implements `contracts.comparison.ComparisonService`; `explanation` opens the snapshots."""

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation
        self._maps = Maps(explanation.database, explanation.blobs)

    def semantic_map(self, caller: Caller, snapshot: str, layout: Layout = "umap") -> Binary:
        """Deliver the plane on which components of like meaning lie near each other."""
        return self._maps.read(caller.workspace, self._opened(caller, snapshot), layout)

    def distributions(self, caller: Caller, snapshot: str, layer: str | None = None) -> Distributions:
        """Show how the metrics are spread in each layer."""
        opened = self._opened(caller, snapshot)
        names = opened.layer_names if layer is None else [opened.layer_names[opened.layer_number(layer)]]
        return Distributions(
            snapshot=opened.snapshot.id,
            lineage=opened.snapshot.lineage,
            layers=[layer_distributions(opened, name) for name in names],
        )

    def compare(self, caller: Caller, snapshot: str, query: ComparisonQuery) -> SnapshotComparison:
        """Compare two snapshots of one encoder."""
        return self._compared(caller, snapshot, query).answer()

    def comparison_report(
        self, caller: Caller, snapshot: str, query: ComparisonQuery, format: Literal["html", "csv"] = "html"
    ) -> Binary:
        """Export a comparison."""
        found = self._compared(caller, snapshot, query)
        if format == "csv":
            return Binary(comparison_csv(found).encode(), CSV)
        ours, theirs = (half.opened.manifest.thumbnail_bytes for half in (found.ours, found.theirs))
        return Binary(comparison_page(found.answer(), ours, theirs).encode(), HTML)

    def drift(
        self, caller: Caller, snapshot: str, new: str, layer: str | None = None, threshold: float = 0.5, k: int = 20
    ) -> SnapshotDrift:
        """Show what became of each component."""
        return drifted(self._opened(caller, snapshot), self._opened(caller, new), layer, threshold).answer(k)

    def drift_report(
        self,
        caller: Caller,
        snapshot: str,
        new: str,
        layer: str | None = None,
        threshold: float = 0.5,
        format: Literal["html", "csv"] = "html",
    ) -> Binary:
        """Export drift."""
        before, after = self._opened(caller, snapshot), self._opened(caller, new)
        found = drifted(before, after, layer, threshold)
        if format == "csv":
            return Binary(drift_csv(found).encode(), CSV)
        told = found.answer(ON_A_PAGE)
        return Binary(drift_page(told, before.manifest.thumbnail_bytes, after.manifest.thumbnail_bytes).encode(), HTML)

    def _compared(self, caller: Caller, snapshot: str, query: ComparisonQuery) -> Compared:
        return compared(self._opened(caller, snapshot), self._opened(caller, query.other), query)

    def _opened(self, caller: Caller, snapshot: str) -> Opened:
        return self._explanation.opened(caller, snapshot)
