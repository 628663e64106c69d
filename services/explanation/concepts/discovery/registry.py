"""Discovery methods by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from contracts.errors import InvalidRequest
from services.explanation.concepts.discovery.linear import Codes, KMeans, NonNegative, PrincipalDirections, Subspaces
from services.explanation.concepts.discovery.manifold import DenseRegions, Manifold
from services.explanation.concepts.discovery.port import Discovery

METHODS: dict[str, type] = {
    kind.method: kind for kind in (Manifold, DenseRegions, KMeans, PrincipalDirections, NonNegative, Subspaces, Codes)
}


def discovery(method: str, parameters: Mapping[str, Any] | None = None) -> Discovery:
    """Make a discovery method from its name and parameters; what is not named keeps its default.

    Raises
    ------
    InvalidRequest : an unknown method or parameter, with those that there are.
    """
    if method not in METHODS:
        raise InvalidRequest(f"there is no discovery method {method}", field="method", known=sorted(METHODS))
    known = {item.name for item in fields(METHODS[method])}
    unknown = sorted(set(parameters or {}) - known)
    if unknown:
        raise InvalidRequest(
            f"{method} has no parameter {unknown[0]}", field=f"parameters.{unknown[0]}", known=sorted(known)
        )
    made: Discovery = METHODS[method](**dict(parameters or {}))
    return made
