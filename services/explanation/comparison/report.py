"""Comparisons and drift as one page that needs nothing else, or as CSV with a line for every component."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from html import escape

from contracts.comparison import ComparedComponent, ComparedSide, SnapshotComparison, SnapshotDrift
from contracts.snapshots import ComponentRef, Example
from services.explanation.comparison.compare import STATES, Compared
from services.explanation.comparison.drift import FATES
from services.explanation.comparison.drifting import FIGURES, Drifted
from services.explanation.components import measured
from services.explanation.search import reference_of

Thumbnail = Callable[[int], bytes]
SHADE = "rgb(0 114 178 / {:.3f})"
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}img{width:56px;height:56px;object-fit:cover;margin-right:2px}
small{color:#555}
"""


# --- CSV ------------------------------------------------------------------------------------------
def comparison_csv(compared: Compared) -> str:
    """One line for every component of both sides: its nearest on the other side, and whether that is its like."""
    head = ("side", "snapshot", "layer", "index", "sign", "clarity", "nearest_layer", "nearest_index", "nearest_sign",
            "cosine", "chance", "ceiling", "relative", "state", "pair_layer", "pair_index", "pair_sign")  # fmt: skip
    pairs = dict(zip(compared.pairs[0].tolist(), compared.pairs[1].tolist(), strict=True))
    back = {theirs: ours for ours, theirs in pairs.items()}
    sides = (("ours", compared.ours, compared.theirs, pairs), ("theirs", compared.theirs, compared.ours, back))

    def lines() -> Iterable[Sequence[object]]:
        for side, half, other, paired in sides:
            for row in range(len(half.table)):
                near = int(half.best[1][row])
                yield (
                    side, half.opened.snapshot.id, *_named(half.reference(row)), half.table.figures["clarity"][row],
                    *_named(other.reference(near) if near >= 0 else None), half.best[0][row],
                    half.chance.expected[-1][row], half.placed.ceiling[row], measured(half.relative[row]),
                    STATES[int(half.state[row])], *_named(other.reference(paired[row]) if row in paired else None),
                )  # fmt: skip

    return _csv(head, lines())


def drift_csv(drifted: Drifted) -> str:
    """One line for every component of the layers that both states have."""
    head = ("layer", "index", "sign", "fate", *FIGURES, "nearest_index", "nearest_sign", "nearest_cosine")

    def lines() -> Iterable[Sequence[object]]:
        for layer, drift in drifted.layers.items():
            for row in range(len(drift.fate)):
                near = int(drift.nearest[row])
                nearest = reference_of(drifted.new, layer, near) if near >= 0 else None
                figures = (measured(getattr(drift, name)[row]) for name in FIGURES)
                yield (
                    *_named(reference_of(drifted.new, layer, row)), FATES[int(drift.fate[row])], *figures,
                    *_named(nearest)[1:], measured(drift.nearest_cosine[row]),
                )  # fmt: skip

    return _csv(head, lines())


def _csv(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in line] for line in lines)
    return out.getvalue()


def _cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _named(reference: ComponentRef | None) -> tuple[object, object, object]:
    return (None, None, None) if reference is None else (reference.layer, reference.index, reference.sign)


# --- HTML -----------------------------------------------------------------------------------------
def comparison_page(told: SnapshotComparison, ours: Thumbnail, theirs: Thumbnail) -> str:
    """Write the page of a comparison; everything that comes from users is escaped, and there is no script in it.

    Parameters
    ----------
    ours, theirs : sample of that side's dataset -> WebP bytes.
    """
    title = f"{told.ours.name} and {told.theirs.name}"
    pairs = [
        [_word(p.ours), _pictures(p.ours.examples, ours), _word(p.theirs), _pictures(p.theirs.examples, theirs),
         _number(p.cosine), _number(p.relative)]
        for p in told.pairs
    ]  # fmt: skip
    sections = [
        "<p>Similarity is the mean cosine of each component to its nearest on the other side; read it beside what as "
        "many random sets of pictures reach (chance). Relative is 0 at chance and 1 at the most that "
        f"is possible; from {told.threshold:g} on a component counts as known. "
        f"{'Both sides saw the same pictures.' if told.same_dataset else 'The sides saw different pictures.'}</p>",
        _sides([told.ours, told.theirs]),
        "<h2>Layers</h2>" + _matrix(told),
        f"<h2>What both know</h2><p>{told.paired:,} pairs ({escape(told.pairing)}), the most alike first.</p>",
        _table(["ours", "", "theirs", "", "cosine", "relative"], pairs, text=4),
    ]
    for who, rows, own in (("ours", told.only_ours, ours), ("theirs", told.only_theirs, theirs)):
        lines = [
            [_word(one.component), _pictures(one.component.examples, own), escape(_reference(one.nearest)),
             _number(one.component.clarity), _number(one.cosine), _number(one.chance), _number(one.relative)]
            for one in rows
        ]  # fmt: skip
        head = ["component", "", "nearest", "clarity", "cosine", "chance", "relative"]
        sections += [f"<h2>Only {who} knows</h2>", _table(head, lines, text=3)]
    return _page(title, sections)


def drift_page(told: SnapshotDrift, before: Thumbnail, after: Thumbnail) -> str:
    """Write the page of a drift report; `before` and `after` give the thumbnails of the two datasets."""
    layers = [
        [escape(one.layer), *(_number(getattr(one, name)) for name in FIGURES), *(str(n) for n in one.fates.values())]
        for one in told.layers
    ]
    rows = [
        [escape(_reference(one.component)), one.fate, _pictures(one.before, before), _pictures(one.after, after),
         escape("–" if one.moved_to is None else _reference(one.moved_to)),
         *(_number(getattr(one, name)) for name in FIGURES)]
        for one in told.rows
    ]  # fmt: skip
    unaligned = ", ".join(told.unaligned)
    return _page(
        f"Drift from {told.old} to {told.new}",
        [
            "<p>Component i against component i. Relative is 0 at what random sets of pictures reach and 1 where "
            f"nothing changed; below {told.threshold:g} it has changed.</p>",
            f"<p>Not compared: {escape(unaligned)}</p>" if unaligned else "",
            _table(["layer", *(name.replace("_", " ") for name in FIGURES), *FATES], layers),
            "<h2>Most changed</h2>",
            _table(
                ["component", "fate", "before", "after", "moved to", *(name.replace("_", " ") for name in FIGURES)],
                rows,
                text=5,
            ),
        ],
    )


def _page(title: str, sections: list[str]) -> str:
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
    return "\n".join([head, f"<h1>{escape(title)}</h1>", *sections]) + "\n</html>\n"


def _sides(sides: list[ComparedSide]) -> str:
    head = ["snapshot", "model", "data", "components", "similarity", "chance", "z", "ceiling", "known", "alone",
            "undecided"]  # fmt: skip
    rows = [
        [escape(s.name), escape(s.model), escape(s.dataset.name), str(s.components), _number(s.similarity),
         _number(s.chance), _number(s.z, 1), _number(s.ceiling), str(s.known), str(s.alone), str(s.undecided)]
        for s in sides
    ]  # fmt: skip
    return _table(head, rows, text=3)


def _matrix(told: SnapshotComparison) -> str:
    known = {(one.ours, one.theirs): one for one in told.layers}
    rows = []
    for ours in told.ours.layers:
        cells = [escape(ours)]
        for theirs in told.theirs.layers:
            one = known[ours, theirs]
            both = [value for value in (one.similarity, one.back) if value is not None]
            value = sum(both) / len(both) if both else None
            chance = f"{_number(one.chance)} and {_number(one.back_chance)}"
            shade = SHADE.format(max(0.0, min(1.0, value or 0.0)))
            cells.append(f'<span style="background:{shade}" title="chance {chance}">{_number(value)}</span>')
        rows.append(cells)
    return _table(["ours \\ theirs", *told.theirs.layers], rows)


def _table(head: list[str], rows: list[list[str]], *, text: int = 1) -> str:
    """A table whose first `text` columns are words and the rest numbers. Cells are HTML."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td{'' if at < text else ' class=n'}>{cell}</td>" for at, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _reference(reference: ComponentRef) -> str:
    return f"{reference.layer} {reference.index}{'' if reference.sign > 0 else '−'}"


def _word(component: ComparedComponent) -> str:
    return escape(_reference(component.component))


def _pictures(examples: list[Example], thumbnail: Thumbnail) -> str:
    return "".join(
        f'<img alt="{escape(one.label or str(one.sample))}" '
        f'src="data:image/webp;base64,{base64.b64encode(thumbnail(one.sample)).decode()}">'
        for one in examples
    )
