"""Walks from an artifact back to what it was computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from contracts.base import Caller
from contracts.lineage import Lineage, LineageEdge, LineageOrigin, LineageStep, UnknownArtifact
from services.kit.artifacts import ArtifactRow, ancestors, artifact_rows
from services.kit.db import Database, ReadSession

SHOWN = 20
UNKNOWN = "not recorded"
MODEL = "model"


@dataclass(frozen=True)
class Registered:
    """A model or dataset behind a key; `key` is the artifact that it was registered by, if that is another one."""

    kind: str
    id: str
    name: str
    key: str | None = None


Registry = Callable[[ReadSession, str, Collection[str]], Mapping[str, Registered]]


def nothing_registered(db: ReadSession, workspace: str, keys: Collection[str]) -> Mapping[str, Registered]:
    """A registry that knows no names."""
    return {}


@dataclass
class _Graph:
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    registered: dict[str, Registered] = field(default_factory=dict)


class Lineages:
    """Answers where results come from."""

    _database: Database
    _registry: Registry

    def lineage(self, caller: Caller, of: str) -> Lineage:
        """Show what an artifact was computed from, step by step, back to weights and pictures."""
        with self._database.reading() as db:
            graph = self._graph(db, caller.workspace, of)
            rows = artifact_rows(db, caller.workspace, graph.inputs)
        if of not in rows and not graph.inputs[of]:
            raise UnknownArtifact(f"nothing is stored or recorded under {of[:12]}", field="of")
        return _summed(of, graph, rows)

    def _graph(self, db: ReadSession, workspace: str, of: str) -> _Graph:
        """Follow edges, and from the hash of a model's content to the artifact that registered it."""
        graph, front = _Graph(), {of}
        while front:
            found = ancestors(db, workspace, front, known=graph.inputs)
            graph.inputs |= found
            named = self._registry(db, workspace, found)
            graph.registered |= named
            front = set()
            for key, one in named.items():
                if one.key is not None and one.key != key:
                    graph.inputs[key] = {**graph.inputs[key], "registered": one.key}
                    front |= {one.key} - graph.inputs.keys()
        return graph


def _summed(of: str, graph: _Graph, rows: Mapping[str, ArtifactRow]) -> Lineage:
    kinds = {key: _kind(key, graph, rows) for key in graph.inputs}
    levels: dict[str, int] = defaultdict(int)
    for key, level in _levels(of, graph.inputs).items():
        levels[kinds[key]] = max(levels[kinds[key]], level)
    order = sorted(levels, key=lambda kind: (kind != kinds[of], levels[kind], kind))
    place = {kind: number for number, kind in enumerate(order)}
    keys_of: dict[str, list[str]] = defaultdict(list)
    edges: dict[tuple[str, str], int] = defaultdict(int)
    for key, inputs in graph.inputs.items():
        keys_of[kinds[key]].append(key)
        for other in inputs.values():
            edges[kinds[key], kinds[other]] += 1
    steps = []
    for kind in order:
        kept = [rows[key] for key in keys_of[kind] if key in rows]
        moments = [row.created_at for row in kept]
        steps.append(
            LineageStep(
                kind=kind,
                level=levels[kind],
                artifacts=len(keys_of[kind]),
                gone=0 if kind == MODEL else len(keys_of[kind]) - len(kept),
                bytes=sum(row.size for row in kept),
                keys=sorted(keys_of[kind])[:SHOWN],
                first_at=min(moments, default=None),
                last_at=max(moments, default=None),
                computed_from=[
                    LineageEdge(step=place[other], inputs=edges[kind, other])
                    for other in order
                    if (kind, other) in edges
                ],
            )
        )
    whole = sum(step.bytes for step in steps)
    origins = _origins(graph, {key: place[kind] for key, kind in kinds.items()})
    return Lineage(of=of, artifacts=len(rows), bytes=whole, steps=steps, origins=origins)


def _origins(graph: _Graph, place: Mapping[str, int]) -> list[LineageOrigin]:
    """Each model and dataset once: a model by its content's hash where something was computed by it."""
    found: dict[str, LineageOrigin] = {}
    for key, one in sorted(graph.registered.items(), key=lambda item: item[1].key == item[0]):
        told = {"kind": one.kind, "id": one.id, "name": one.name, "sha256": key, "step": place[key]}
        found.setdefault(one.id, LineageOrigin.model_validate(told))
    return sorted(found.values(), key=lambda origin: (origin.kind, origin.name))


def _kind(key: str, graph: _Graph, rows: Mapping[str, ArtifactRow]) -> str:
    if key in rows:
        return rows[key].kind
    known = graph.registered.get(key)
    return UNKNOWN if known is None else known.kind


def _levels(of: str, inputs: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """Longest way from the result to each key. Keys are hashes of their inputs' keys, so there is no way round."""
    waiting: dict[str, int] = defaultdict(int)
    for ways in inputs.values():
        for other in set(ways.values()):
            waiting[other] += 1
    levels, ready = dict.fromkeys(inputs, 0), [of]
    while ready:
        key = ready.pop()
        for other in set(inputs[key].values()):
            levels[other] = max(levels[other], levels[key] + 1)
            waiting[other] -= 1
            if waiting[other] == 0:
                ready.append(other)
    return levels
