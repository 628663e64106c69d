"""What a user can ask about snapshots as wholes."""

from __future__ import annotations

from contracts.base import Binary, Caller
from contracts.comparison import Layout
from services.explanation.comparison.maps import Maps
from services.explanation.service import Explanation


class Comparisons:
    """Implements `contracts.comparison.ComparisonService`; `explanation` opens the snapshots."""

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation
        self._maps = Maps(explanation.database, explanation.blobs)

    def semantic_map(self, caller: Caller, snapshot: str, layout: Layout = "umap") -> Binary:
        """Deliver the plane on which components of like meaning lie near each other."""
        return self._maps.read(caller.workspace, self._explanation.opened(caller, snapshot), layout)
