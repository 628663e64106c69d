"""The page that `xsys steer --html` writes: tables, the curve over strengths, heat maps before and after."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from contracts.steering import CurvePoint, SteeringPreview, SteeringRequest

WIDE, HIGH, EDGE = 560, 200, 32
STYLE = (
    "body{font:15px system-ui;margin:2em auto;max-width:60em;color:#1c1f23}table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.25em .8em;text-align:right}td:first-child,th:first-child{text-align:left}"
    "th{border-bottom:1px solid #889}figure{display:inline-block;margin:.5em 1em .5em 0}"
    "img{width:14em;image-rendering:pixelated}code{font-size:90%}"
)


def steering_page(answer: SteeringPreview, query: SteeringRequest) -> str:
    """Write one self-contained page."""
    changes = [
        (each.name or f"output {each.index}", f"{each.before:.2%}", f"{each.after:.2%}", f"{each.change:+.2%}")
        for each in answer.changes
    ]
    plans = "".join(
        f"<li><code>{escape(each.model_dump_json(exclude_defaults=True))}</code>" for each in query.interventions
    )
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Steering</title>",
        f"<style>{STYLE}</style><h1>Steering of {escape(answer.model)}</h1><ul>{plans}</ul>",
        f"<p>Total variation {answer.variation:.3f}; the first output {'changed' if answer.flipped else 'stayed'}.",
        _table(("output", "before", "after", "change"), changes),
    ]
    if answer.curve:
        parts += ["<h2>Curve</h2>", _curve(answer), f"<p>{escape(_window(answer))}"]
    for maps in answer.maps:
        same = "undefined" if maps.correlation is None else f"{maps.correlation:.3f}"
        parts.append(f"<h2>{escape(maps.method)}</h2><p>correlation of the maps: {same}<br>")
        for word, heat in (("before", maps.before), ("after", maps.after)):
            source = base64.b64encode(heat.heatmap).decode()
            parts.append(
                f'<figure><img alt="heat map {word}" src="data:image/png;base64,{source}">'
                f"<figcaption>{word}, largest {heat.absmax:.3g}</figcaption></figure>"
            )
    return "\n".join(parts) + "\n</html>\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _window(answer: SteeringPreview) -> str:
    if answer.window is None:
        return f"No recommended strength: {answer.window_note}."
    window = answer.window
    return f"Recommended strength {window.recommended:g}; it works from {window.low:g} to {window.high:g}."


def _curve(answer: SteeringPreview) -> str:
    points = sorted((point for point in answer.curve if point.finite), key=lambda point: point.strength)
    low, high = min(point.strength for point in answer.curve), max(point.strength for point in answer.curve)
    span = high - low or 1.0
    lines = (("#1f77b4", "probability of the watched output", "target"), ("#d62728", "total variation", "variation"),
             ("#2ca02c", "closeness", "closeness"))  # fmt: skip

    def place(point: CurvePoint, value: float) -> str:
        across = EDGE + (point.strength - low) / span * (WIDE - 2 * EDGE)
        return f"{across:.1f},{HIGH - EDGE - max(0.0, value) * (HIGH - 2 * EDGE):.1f}"

    drawn, legend = [], []
    for colour, name, field in lines:
        values = [(point, getattr(point, field)) for point in points]
        path = " ".join(place(point, value) for point, value in values if value is not None)
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        legend.append(f'<span style="color:{colour}">{name}</span>')
    base = HIGH - EDGE
    axis = f'<path d="M{EDGE} {EDGE}V{base}H{WIDE - EDGE}" fill="none" stroke="#889"/>'
    ends = (
        f'<text x="{EDGE}" y="{HIGH - 8}">{low:g}</text>'
        f'<text x="{WIDE - EDGE}" y="{HIGH - 8}" text-anchor="end">{high:g}</text>'
    )
    opening = f'<svg width="{WIDE}" height="{HIGH}" role="img" aria-label="curve over strengths">'
    figure = f"{opening}{axis}{''.join(drawn)}{ends}</svg>"
    rows = [
        (
            f"{point.strength:g}", "not finite" if point.top is None else point.top.name or f"output {point.top.index}",
            *("–" if value is None else f"{value:.3f}" for value in (point.target, point.variation, point.closeness)),
        )
        for point in answer.curve
    ]  # fmt: skip
    table = _table(("strength", "first output", "watched", "variation", "closeness"), rows)
    return f"{figure}<p>{', '.join(legend)}{table}"
