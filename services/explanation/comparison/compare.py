"""Two snapshots side by side: what their tables say about each other, and the answer made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from contracts.comparison import (
    ComparedComponent,
    ComparedSide,
    ComparisonQuery,
    ComponentPair,
    DifferentEncoders,
    LayerSimilarity,
    LoneComponent,
    SnapshotComparison,
)
from contracts.snapshots import ComponentRef
from services.explanation.comparison.centring import Placed, mean_direction, place, unit_without
from services.explanation.comparison.pairing import mutual_nearest, one_to_one
from services.explanation.comparison.similarity import (
    Chance,
    Nearest,
    chance_of_nearest,
    nearest_in,
    relative_similarity,
    standard_score,
    too_diffuse,
)
from services.explanation.comparison.together import Together, together
from services.explanation.opened import Opened
from services.explanation.search import examples_at

Integers = NDArray[np.int64]
KNOWN, ALONE, UNDECIDED = 0, 1, 2
STATES = ("known", "alone", "undecided")


def require_one_encoder(ours: Opened, theirs: Opened) -> None:
    """Raise `DifferentEncoders`, naming both, unless two snapshots live in one space and embed alike."""
    a, b = ours.snapshot.encoder, theirs.snapshot.encoder
    if a.fingerprint != b.fingerprint:
        raise DifferentEncoders(
            f"{ours.snapshot.name} was built with {a.name}, {theirs.snapshot.name} with {b.name}",
            field="other",
            ours={"encoder": a.name, "fingerprint": a.fingerprint},
            theirs={"encoder": b.name, "fingerprint": b.fingerprint},
        )
    crops = ours.snapshot.request.crop, theirs.snapshot.request.crop
    if crops[0] != crops[1]:
        raise DifferentEncoders(
            f"{ours.snapshot.name} embeds crops by {crops[0]}, {theirs.snapshot.name} by {crops[1]}", field="other",
            ours={"crop": crops[0]}, theirs={"crop": crops[1]},
        )  # fmt: skip


def same_samples(ours: Opened, theirs: Opened) -> bool:
    """Whether sample numbers mean the same pictures in both."""
    a, b = ours.snapshot.dataset, theirs.snapshot.dataset
    return (a.content_sha256, a.order_sha256) == (b.content_sha256, b.order_sha256)


@dataclass(frozen=True)
class Half:
    """One side as seen from the other.

    Attributes
    ----------
    groups : [G] components of each of its layers. placed : its components as both sides are placed.
    nearest : in each of the other side's layers.
    chance : for each of those layers, and last for all of them. most : [A] the cosine that counts as wholly alike.
    """

    opened: Opened
    layers: list[str]
    table: Together
    placed: Placed
    most: NDArray[np.float64]
    groups: Integers
    nearest: Nearest
    chance: Chance
    threshold: float

    @cached_property
    def best(self) -> tuple[NDArray[np.float32], Integers]:
        """Cosine and row of the nearest on the other side."""
        if not self.nearest.score.shape[1] or not np.isfinite(self.nearest.score).any():
            return np.full(len(self.table), np.nan, np.float32), np.full(len(self.table), -1, np.int64)
        return self.nearest.overall()

    @cached_property
    def relative(self) -> NDArray[np.float64]:
        """Where each best cosine lies between chance and the most that is possible."""
        return relative_similarity(self.best[0], self.chance.expected[-1], self.most)

    @cached_property
    def state(self) -> NDArray[np.int64]:
        """Whether each component is known to the other side."""
        known = self.relative >= self.threshold
        return np.where(known, KNOWN, np.where(too_diffuse(self.relative, self.placed.ceiling), UNDECIDED, ALONE))

    def layer_figures(self, ours: int, theirs: int) -> tuple[float | None, float | None, float | None]:
        """Similarity of one of its layers to one of theirs, with chance and z."""
        end = int(self.groups[: ours + 1].sum())
        score = self.nearest.score[end - int(self.groups[ours]) : end, theirs]
        if not len(score) or not np.isfinite(score).all():
            return None, None, None
        draws = self.chance.groups[theirs, :, ours]
        value = float(score.mean(dtype=np.float64))
        return value, float(draws.mean()), standard_score(value, draws)

    def figures(self) -> ComparedSide:
        """The side's summary."""
        snapshot, count = self.opened.snapshot, len(self.table)
        some = count > 0 and bool(np.isfinite(self.best[0]).all())
        value = float(self.best[0].mean(dtype=np.float64)) if some else None
        draws = self.chance.groups[-1] @ (self.groups / max(count, 1))
        chance = float(draws.mean()) if some else None
        return ComparedSide(
            snapshot=snapshot.id, name=snapshot.name, model=snapshot.model.name, dataset=snapshot.dataset,
            layers=self.layers, components=count, similarity=value, chance=chance,
            excess=None if value is None or chance is None else value - chance,
            z=None if value is None else standard_score(value, draws),
            ceiling=float(self.placed.ceiling.mean()) if some else None,
            **{state: int((self.state == number).sum()) for number, state in enumerate(STATES)},
        )  # fmt: skip

    def reference(self, row: int) -> ComponentRef:
        """Name a component of the table."""
        table = self.table
        layer = self.opened.layer_names[int(table.layer[row])]
        sign = 1 if table.sign[row] > 0 else -1
        return ComponentRef(model=self.opened.snapshot.model.id, layer=layer, index=int(table.index[row]), sign=sign)

    def component(self, row: int, examples: int) -> ComparedComponent:
        """A component with its first examples."""
        reference = self.reference(row)
        shown = np.arange(min(examples, int(self.table.n_valid[row])))
        tables = self.opened.tables(reference.layer).examples
        return ComparedComponent(
            component=reference,
            clarity=float(self.table.figures["clarity"][row]),
            examples=examples_at(self.opened, tables, int(self.table.row[row]), shown),
        )


@dataclass(frozen=True)
class Compared:
    """Both halves, and the pairs: rows of ours and of theirs, most alike first."""

    query: ComparisonQuery
    ours: Half
    theirs: Half
    pairs: tuple[Integers, Integers]
    cosine: NDArray[np.float32]

    def answer(self) -> SnapshotComparison:
        """The contract's answer, with `k` rows of each list."""
        ours, theirs, query = self.ours, self.theirs, self.query
        sides = [ours.figures(), theirs.figures()]
        both = [side.similarity for side in sides if side.similarity is not None]
        bank = min(len(half.opened.banks[-1]) for half in (ours, theirs))
        return SnapshotComparison(
            ours=sides[0],
            theirs=sides[1],
            similarity=sum(both) / 2 if len(both) == 2 else None,
            encoder=ours.opened.snapshot.encoder.name,
            same_dataset=same_samples(ours.opened, theirs.opened),
            threshold=query.threshold,
            pairing=query.pairing,
            space=query.space,
            null_limited=max(len(ours.table), len(theirs.table)) > bank,
            layers=[self._layers(a, b) for a in range(len(ours.layers)) for b in range(len(theirs.layers))],
            paired=len(self.cosine),
            pairs=[self.pair(place) for place in range(min(query.k, len(self.cosine)))],
            only_ours=[lone(ours, theirs, row, query.examples) for row in alone(ours)[: query.k]],
            only_theirs=[lone(theirs, ours, row, query.examples) for row in alone(theirs)[: query.k]],
        )

    def _layers(self, a: int, b: int) -> LayerSimilarity:
        there, back = self.ours.layer_figures(a, b), self.theirs.layer_figures(b, a)
        return LayerSimilarity(
            ours=self.ours.layers[a], theirs=self.theirs.layers[b], similarity=there[0], chance=there[1], z=there[2],
            back=back[0], back_chance=back[1], back_z=back[2],
        )  # fmt: skip

    def pair(self, place: int) -> ComponentPair:
        """One pair with its examples."""
        a, b = (int(rows[place]) for rows in self.pairs)
        cosine = np.float32(self.cosine[place])
        halves = ((self.ours, a), (self.theirs, b))
        relative = [
            float(relative_similarity(cosine, half.chance.expected[-1][row], half.most[row])) for half, row in halves
        ]
        return ComponentPair(
            ours=self.ours.component(a, self.query.examples),
            theirs=self.theirs.component(b, self.query.examples),
            cosine=float(cosine),
            relative=min(relative) if np.isfinite(relative).all() else None,
        )


def alone(half: Half) -> list[int]:
    """Rows of the components that the other side does not know, clearest first."""
    rows = np.flatnonzero(half.state == ALONE)
    return [int(row) for row in rows[np.argsort(-half.table.figures["clarity"][rows], kind="stable")]]


def lone(half: Half, other: Half, row: int, examples: int) -> LoneComponent:
    """One component that only this side knows."""
    return LoneComponent(
        component=half.component(row, examples),
        nearest=other.reference(int(half.best[1][row])),
        cosine=float(half.best[0][row]),
        chance=float(half.chance.expected[-1][row]),
        ceiling=float(half.placed.ceiling[row]),
        relative=float(half.relative[row]),
    )


def compared(ours: Opened, theirs: Opened, query: ComparisonQuery) -> Compared:
    """Compare two snapshots by their stored vectors.

    Raises
    ------
    DifferentEncoders; UnknownLayer; TooManyToPair
    """
    require_one_encoder(ours, theirs)
    names = [
        opened.layer_names if layers is None else list(dict.fromkeys(layers))
        for opened, layers in ((ours, query.layers), (theirs, query.other_layers))
    ]
    sides = (ours, theirs)
    tables = [together(opened, layers) for opened, layers in zip(sides, names, strict=True)]
    groups = [_groups(table, opened, layers) for table, opened, layers in zip(tables, sides, names, strict=True)]
    banks = ours.banks[-1], theirs.banks[-1]
    direction = mean_direction(*banks) if query.space == "centred" else np.zeros_like(banks[0][0])
    placed = [
        place(table.vectors, table.length, table.figures["clarity"], table.n_valid, direction) for table in tables
    ]
    identical = same_samples(ours, theirs)
    halves = []
    for one, other in ((0, 1), (1, 0)):
        nearest = nearest_in(placed[one].vectors, placed[other].vectors, groups[other])
        sizes = [int(size) for size in groups[other]] + [len(tables[other])]
        bank = unit_without(direction, banks[other])
        chance = chance_of_nearest(placed[one].vectors, groups[one], bank, sizes, seed=query.seed)
        most = np.ones(len(tables[one])) if identical else placed[one].ceiling
        halves.append(
            Half(sides[one], names[one], tables[one], placed[one], most, groups[one], nearest, chance, query.threshold)
        )
    a, b = _paired(halves[0], halves[1], query)
    cosine = np.einsum("pd,pd->p", placed[0].vectors[a], placed[1].vectors[b])
    order = np.argsort(-cosine, kind="stable")
    return Compared(query, halves[0], halves[1], (a[order], b[order]), cosine[order])


def _groups(table: Together, opened: Opened, layers: list[str]) -> Integers:
    return np.array([(table.layer == opened.layer_number(name)).sum() for name in layers], np.int64)


def _paired(ours: Half, theirs: Half, query: ComparisonQuery) -> tuple[Integers, Integers]:
    if not len(ours.table) or not len(theirs.table):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if query.pairing == "one-to-one":
        return one_to_one(ours.placed.vectors, theirs.placed.vectors)
    return mutual_nearest(ours.best[1], theirs.best[1])
