"""The last touches to FastAPI's OpenAPI documents."""

from __future__ import annotations

from typing import Any

from services.kit.problems import Problem

UNUSED = ("HTTPValidationError", "ValidationError")


def as_document(openapi: dict[str, Any]) -> dict[str, Any]:
    """Add the problem's schema, drop schemas that are never sent, and sort, so that equal contracts give equal text."""
    schemas = openapi.setdefault("components", {}).setdefault("schemas", {})
    for name in UNUSED:
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    openapi["components"]["schemas"] = dict(sorted(schemas.items()))
    openapi["paths"] = dict(sorted(openapi["paths"].items()))
    return openapi
