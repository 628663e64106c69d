"""The committed OpenAPI documents: `python -m orchestration.gateway.documents` writes them, `--check` compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from orchestration.gateway.app import create_app
from orchestration.gateway.internal import internal_app
from orchestration.gateway.protocols import PROTOCOLS
from orchestration.gateway.wiring import GatewayWiring
from services.kit.expose import service_name
from services.kit.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "openapi"


def render_documents() -> dict[str, str]:
    """Render all documents, by service name. Nothing is started: the services are left out."""
    absent = dict.fromkeys(
        (
            "database",
            "governance",
            "data",
            "model",
            "explanation",
            "alignment",
            "comparison",
            "audit",
            "atlas",
            "jobs",
            "sessions",
            "xui",
        )
    )
    gateway = create_app(cast(GatewayWiring, SimpleNamespace(settings=Settings(), **absent)))
    documents = {"gateway": gateway.openapi()}
    for protocol in PROTOCOLS:
        documents[service_name(protocol)] = internal_app(protocol, None, None).openapi()
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents.items()}


def stale_documents() -> list[str]:
    """Name the committed documents that are not what the contracts say today."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    rendered = render_documents()
    return sorted(name for name in found.keys() | rendered.keys() if found.get(name) != rendered.get(name))


def main(arguments: list[str]) -> int:
    """Write the documents; with `--check`, only say which are stale (exit code 1 if any is)."""
    if "--check" in arguments:
        stale = stale_documents()
        if stale:
            sys.stderr.write(f"stale: {', '.join(stale)}; write them with `make contracts`\n")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in render_documents().items():
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
