"""A comparison as one page that needs nothing else: figures, linked maps as inline SVG, example pictures; or as CSV."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from html import escape

from contracts.alignment import Comparison, Concept, ConceptMatch, PairReport, Representation

Thumbnail = Callable[[int], bytes]
MOST_PAIRS = 12
MOST_ROWS = 40
MOST_PICTURES = 4
SIDE = 360
INK = {"universal": "#0072b2", "shared": "#56b4e9", "weak": "#999999", "unique": "#d55e00", "undecided": "#dddddd"}
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.maps{display:flex;gap:1rem;flex-wrap:wrap}
svg{border:1px solid #ddd;background:#fff}
i{display:inline-block;width:56px;height:56px;margin-right:2px;background-size:cover;background-position:center}
circle{fill-opacity:.55}small{color:#555}
"""


def csv_of(pairs: list[PairReport]) -> str:
    """Write the matches of all pairs as CSV, one line a match or lone concept."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("our_model", "our_layer", "our_concept", "their_model", "their_layer", "their_concept", "relation", "kappa",
         "size_free_distance", "distance", "q", "divided", "our_prevalence", "their_prevalence", "our_label",
         "their_label")
    )  # fmt: skip
    for pair in pairs:
        for match in pair.matches:
            a, b = _sides(pair, match)
            writer.writerow(
                (pair.ours.model, pair.ours.layer, match.ours, pair.theirs.model, pair.theirs.layer, match.theirs,
                 match.relation, match.kappa, match.size_free_distance, match.distance, match.q, match.divided,
                 a and a.prevalence, b and b.prevalence, a and _plain(a.label), b and _plain(b.label))
            )  # fmt: skip
    return out.getvalue()


def _plain(label: str | None) -> str | None:
    """A label that no spreadsheet takes for a formula."""
    return f"'{label}" if label and label[0] in "=+-@\t\r" else label


def html_report(comparison: Comparison, pairs: list[PairReport], thumbnail: Thumbnail) -> str:
    """Write the page. Everything that comes from users is escaped; there is no script in it.

    Parameters
    ----------
    pairs : the matched pairs; the first 12 are shown. thumbnail : sample -> WebP bytes.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(comparison.name)}</title><style>{STYLE}</style>",
        f"<h1>{escape(comparison.name)}</h1>",
        f"<p>{comparison.points:,} points of {escape(comparison.dataset.name)}, method "
        f"{escape(comparison.request.method)}, {comparison.request.seeds} seeds. <small>Comparison {comparison.id}, "
        f"lineage {comparison.lineage}.</small></p>",
        "<p>Read the ceiling first: no figure can be expected above the agreement of a layer with itself under another "
        "seed. ACI is corrected for chance (0 chance, 1 identical); GRI, the index as published, is not. That two "
        "models share a concept does not say that they use it alike.</p>",
        _representations(comparison.representations),
        _matrix(comparison),
        _orders(comparison),
    ]
    shown: set[int] = set()
    sections = [_pair(number, pair, shown) for number, pair in enumerate(pairs[:MOST_PAIRS])]
    parts += [_picture_styles(shown, thumbnail), *sections]
    if len(pairs) > MOST_PAIRS:
        parts.append(f"<p>{len(pairs) - MOST_PAIRS} more pairs are in the CSV and JSON exports.</p>")
    return "\n".join(parts) + "\n</html>\n"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: list[str], rows: list[list[str]], *, text: int = 1) -> str:
    """A table whose first `text` columns are words and the rest numbers. Cells are HTML."""
    kind = ["" if place < text else " class=n" for place in range(len(head))]
    top = "".join(f"<th{how}>{escape(name)}</th>" for how, name in zip(kind, head, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{how}>{cell}</td>" for how, cell in zip(kind, row, strict=True)) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _representations(told: list[Representation]) -> str:
    rows = [
        [
            str(r.place), escape(r.model), escape(r.layer), _number(r.ceiling), str(r.concepts), _number(r.noise_share),
            _number(r.validity), _number(r.dimension, 1), _number(r.label_alignment), _number(r.position_alignment),
        ]
        for r in told
    ]  # fmt: skip
    head = ["", "model", "layer", "ceiling", "concepts", "noise", "validity", "dimension", "ACI labels", "ACI position"]
    advice = "".join(f"<p>{escape(r.layer)}: {escape(r.advice)}</p>" for r in told if r.advice)
    return "<h2>Representations</h2>" + _table(head, rows, text=3) + advice


def _matrix(comparison: Comparison) -> str:
    known = {(row.ours, row.theirs): row.aci for row in comparison.alignments}
    places = [r.place for r in comparison.representations]
    if len(places) < 2:
        return ""
    step = max(14, min(40, SIDE // len(places)))
    cells = []
    for a in places:
        for b in places:
            value = 1.0 if a == b else known.get((min(a, b), max(a, b)))
            shade = "#eeeeee" if value is None else f"rgb(0 114 178 / {max(0.0, min(1.0, value)):.3f})"
            cells.append(
                f'<rect x="{b * step}" y="{a * step}" width="{step - 1}" height="{step - 1}" fill="{shade}">'
                f"<title>{a} and {b}: ACI {_number(value)}</title></rect>"
            )
    size = step * len(places)
    return (
        "<h2>Alignment of all pairs (ACI)</h2>"
        f'<svg width="{size}" height="{size}" role="img" aria-label="ACI of all pairs">{"".join(cells)}</svg>'
    )


def _orders(comparison: Comparison) -> str:
    if not comparison.layer_order:
        return ""
    names = sorted({name for order in comparison.layer_order for name in order.scores})
    rows = [
        [escape(order.model), _number(order.chance), *(_number(order.scores.get(name)) for name in names)]
        for order in comparison.layer_order
    ]
    return "<h2>Layer order</h2>" + _table(["model", "chance", *names], rows)


def _sides(pair: PairReport, match: ConceptMatch) -> tuple[Concept | None, Concept | None]:
    ours = None if match.ours is None else pair.our_concepts[match.ours]
    theirs = None if match.theirs is None else pair.their_concepts[match.theirs]
    return ours, theirs


def _pair(number: int, pair: PairReport, shown: set[int]) -> str:
    a = pair.alignment
    name = f"{escape(pair.ours.model)} {escape(pair.ours.layer)} – {escape(pair.theirs.model)} "
    span = "" if a.low is None or a.high is None else f" (95 % interval {a.low:.3f} to {a.high:.3f})"
    counts = ", ".join(f"{count} {relation}" for relation, count in sorted(pair.counts.items()))
    scalars = "".join(
        f"<td class=n>{_number(value)}</td>"
        for value in (a.gri, a.chance, a.relative, a.crisp, a.cka_unbiased, a.svcca, a.rsa, a.mutual_knn, a.cknna)
    )
    head = ("GRI", "chance", "of ceiling", "crisp", "unbiased CKA", "SVCCA", "RSA", "mutual kNN", "CKNNA")
    titles = "".join(f"<th class=n>{title}</th>" for title in head)
    links = "".join(
        f".p{number}:has(.m{place}:hover) .m{place}{{stroke:#000;stroke-width:3;fill-opacity:1}}"
        for place, match in enumerate(pair.matches)
        if match.ours is not None and match.theirs is not None
    )
    return (
        f"<section class=p{number}><h2>{name}{escape(pair.theirs.layer)}</h2><style>{links}</style>"
        f"<p><b>ACI {_number(a.aci)}</b>{span}: {counts}.</p><table><tr>{titles}</tr><tr>{scalars}</tr></table>"
        f"<div class=maps>{_map(pair, ours=True)}{_map(pair, ours=False)}</div>"
        f"<p><small>Area is prevalence. Concepts matched with each other light up together.</small></p>"
        f"{_matches(pair, shown)}</section>"
    )


def _map(pair: PairReport, *, ours: bool) -> str:
    concepts = pair.our_concepts if ours else pair.their_concepts
    circles = []
    for place, match in enumerate(pair.matches):
        index = match.ours if ours else match.theirs
        if index is None:
            continue
        concept = concepts[index]
        x, y = (SIDE / 2 * (1 + 0.9 * value) for value in (concept.x, concept.y))
        radius = 3 + 60 * concept.prevalence**0.5 / 2
        label = "" if concept.label is None else f", {concept.label}"
        told = escape(f"concept {index}{label}: {match.relation}, kappa {_number(match.kappa)}")
        circles.append(
            f'<circle class=m{place} cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{INK[match.relation]}">'
            f"<title>{told}</title></circle>"
        )
    told = escape((pair.ours if ours else pair.theirs).layer)
    return f'<svg width="{SIDE}" height="{SIDE}" role="img" aria-label="concepts of {told}">{"".join(circles)}</svg>'


def _matches(pair: PairReport, shown: set[int]) -> str:
    rows = []
    for match in pair.matches[:MOST_ROWS]:
        ours, theirs = _sides(pair, match)
        split = " (divided)" if match.divided else ""
        rows.append(
            [
                match.relation + split, _pictures(ours, shown), _pictures(theirs, shown),
                _number(match.kappa), _number(match.size_free_distance), _number(match.q),
                *(_number(None if side is None else side.prevalence) for side in (ours, theirs)),
            ]
        )  # fmt: skip
    head = ["relation", "ours", "theirs", "kappa", "size-free distance", "q", "our share", "their share"]
    more = len(pair.matches) - MOST_ROWS
    return _table(head, rows, text=3) + (f"<p>{more} more in the CSV.</p>" if more > 0 else "")


def _pictures(concept: Concept | None, shown: set[int]) -> str:
    """Example pictures of a concept, by class name; `shown` collects the samples whose bytes the page needs."""
    if concept is None:
        return ""
    samples = [example.sample for example in concept.examples[:MOST_PICTURES]]
    shown.update(samples)
    pictures = "".join(f'<i class="s{sample}" role="img" aria-label="sample {sample}"></i>' for sample in samples)
    label = "" if concept.label is None else f" {escape(concept.label)} {_number(concept.label_share, 2)}"
    return f"{concept.index}{label}<br>{pictures}"


def _picture_styles(samples: set[int], thumbnail: Thumbnail) -> str:
    """Each picture once, however often it is shown."""
    rules = (
        f".s{sample}{{background-image:url(data:image/webp;base64,{base64.b64encode(thumbnail(sample)).decode()})}}"
        for sample in sorted(samples)
    )
    return f"<style>{''.join(rules)}</style>"
