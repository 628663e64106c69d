"""Component pages and listings, from a snapshot's tables."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.base import Page
from contracts.data import Box
from contracts.errors import InvalidRequest
from contracts.explanation import Component, ComponentDetail, Histogram, Neighbour, Prototype
from contracts.snapshots import Example
from services.explanation.index.generation import Filters
from services.explanation.measure import OK, STATES
from services.explanation.opened import LayerTables, Opened
from services.explanation.search import examples_at, reference_of
from services.kit.cursors import decode_cursor, encode_cursor

NEIGHBOURS = 12
SORTS = {"clarity": "clarity", "polysemanticity": "share", "redundancy": "redundancy"}


def measured(value: float) -> float | None:
    """A figure for the contract: None where nothing was measured."""
    return float(value) if np.isfinite(value) else None


def figures(opened: Opened, layer: str, row: int) -> Component:
    """A component's figures."""
    tables = opened.tables(layer)
    examples, vectors = tables.examples, tables.vectors
    groups = int(examples["n_groups"][row])
    return Component(
        ref=reference_of(opened, layer, row),
        state=STATES[int(vectors["state"][row])],
        n_valid=int(examples["n_valid"][row]),
        n_groups=groups if groups >= 0 else None,
        clarity=measured(vectors["clarity"][row]),
        clarity_z=measured(vectors["clarity_z"][row]),
        polysemanticity=measured(vectors["share"][row]),
        polysemanticity_z=measured(vectors["share_z"][row]),
        redundancy=measured(vectors["redundancy"][row]),
        maximum=float(examples["maximum"][row]),
        mean=float(examples["mean"][row]),
        minimum=float(examples["minimum"][row]),
    )


def detail(opened: Opened, layer: str, index: int, sign: int) -> ComponentDetail:
    """All that a component page shows."""
    tables = opened.tables(layer)
    row = tables.row(layer, index, sign)
    examples = tables.examples
    shown = _shown(examples, row)
    crops = opened.crops(layer, row)
    found = examples_at(opened, examples, row, shown)
    if crops is not None:
        found = [one.model_copy(update={"crop": _box(crops[rank])}) for rank, one in enumerate(found)]
    others = opened.others(layer)
    return ComponentDetail(
        snapshot=opened.snapshot.id,
        lineage=opened.snapshot.lineage,
        component=figures(opened, layer, row),
        examples=found,
        others=[] if others is None else examples_at(opened, others, row, _shown(others, row)),
        lowest=_lowest(opened, tables, row),
        histogram=Histogram(
            edges=[float(edge) for edge in examples["edges"][index]],
            counts=[int(count) for count in examples["histogram"][index]],
        ),
        prototypes=_prototypes(tables, row),
        nearest=_nearest(opened, layer, row),
    )


def _shown(table: dict[str, np.ndarray], row: int) -> NDArray[np.int64]:
    """Places of the examples that a page shows: all, but of those by relevance only such as have any."""
    return np.arange(int(table["n_valid"][row]) if "relevances" in table else table["ids"].shape[1])


def _box(edges: np.ndarray) -> Box | None:
    left, top, right, bottom = edges.tolist()
    return Box(left=left, top=top, right=right, bottom=bottom) if right > left else None


def _lowest(opened: Opened, tables: LayerTables, row: int) -> list[Example]:
    ids, values = tables.examples["bottom_ids"][row].tolist(), tables.examples["bottom_values"][row].tolist()
    return [
        Example(sample=sample, label=opened.labels[sample], activation=value)
        for sample, value in zip(ids, values, strict=True)
        if sample >= 0
    ]


def _prototypes(tables: LayerTables, row: int) -> list[Prototype]:
    members = tables.vectors["members"][row]
    count = int((members >= 0).sum())
    return [
        Prototype(
            share=float((members == prototype).sum() / count), members=np.flatnonzero(members == prototype).tolist()
        )
        for prototype in range(int(members.max(initial=-1)) + 1)
    ]


def _nearest(opened: Opened, layer: str, row: int) -> list[Neighbour]:
    vectors = opened.tables(layer).vectors
    if vectors["state"][row] != OK:
        return []
    generation = opened.generation
    filters = Filters(without=opened.offsets[layer] + row)
    rows, scores = generation.nearest(vectors["unit"][row], NEIGHBOURS, filters)
    return [
        Neighbour(
            component=reference_of(
                opened, opened.layer_names[int(generation.columns["layer"][near])], int(generation.columns["row"][near])
            ),
            score=float(score),
        )
        for near, score in zip(rows, scores, strict=True)
    ]


def listing(
    opened: Opened,
    layer: str | None,
    sort: Literal["component", "clarity", "polysemanticity", "redundancy"],
    limit: int,
    cursor: str | None,
) -> Page[Component]:
    """One page of components. A snapshot never changes, so a place in the order is a stable cursor."""
    layers = opened.layer_names if layer is None else [opened.layer_names[opened.layer_number(layer)]]
    ends = np.cumsum([len(opened.tables(name).vectors["state"]) for name in layers])
    order = np.arange(ends[-1])
    if sort != "component":
        column = np.concatenate([opened.tables(name).vectors[SORTS[sort]] for name in layers])
        order = np.argsort(-np.nan_to_num(column, nan=-np.inf), kind="stable")
    start = _start(cursor, sort, layer)
    items = []
    for place in order[start : start + limit].tolist():
        number = int(np.searchsorted(ends, place, side="right"))
        items.append(figures(opened, layers[number], place - (int(ends[number - 1]) if number else 0)))
    more = start + limit < len(order)
    return Page[Component](items=items, next=encode_cursor([sort, layer or "", start + limit]) if more else None)


def _start(cursor: str | None, sort: str, layer: str | None) -> int:
    if cursor is None:
        return 0
    known_sort, known_layer, start = decode_cursor(cursor, length=3)
    if known_sort != sort or known_layer != (layer or "") or not isinstance(start, int) or start < 0:
        raise InvalidRequest("this cursor belongs to another listing", field="cursor")
    return start
