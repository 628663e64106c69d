"""The HTML report of an analysis session: one file with findings, pictures, history and where everything came from."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape

from contracts.base import Caller
from contracts.data import DataService
from contracts.errors import XsysError
from contracts.explanation import ExplanationService
from contracts.session_events import SessionEvent
from contracts.sessions import AnalysisSession, Note, Pin
from contracts.snapshots import Snapshot
from orchestration.sessions.sentences import component_name

STYLE = (
    "body{font:15px/1.5 system-ui;margin:2em auto;max-width:64em;padding:0 1em;color:#1c1f23}"
    "table{border-collapse:collapse;margin:1em 0;width:100%}td,th{padding:.3em .7em;text-align:left;vertical-align:top}"
    "th{border-bottom:1px solid #889}tr.off td{color:#667;text-decoration:line-through}code{font-size:88%}"
    ".note{white-space:pre-wrap;border-left:3px solid #99a;padding:.2em 1em;margin:1em 0}"
    ".pin{display:inline-block;vertical-align:top;border:1px solid #ccd;border-radius:6px;padding:.7em;"
    "margin:0 .7em .7em 0;max-width:20em}.pin img{height:72px;margin:2px}.muted{color:#5b6168}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1em}dd{margin:0;overflow-wrap:anywhere}"
)


def report_page(
    session: AnalysisSession,
    events: Sequence[SessionEvent],
    caller: Caller,
    explanation: ExplanationService,
    data: DataService,
) -> str:
    """Write the page. Nothing in it is fetched from anywhere; what has gone meanwhile is named as gone."""
    state, names = session.state, {member.user: member.name for member in session.members}
    snapshots = [state.snapshot, *(pin.pinned.snapshot for pin in state.pins)]
    off = set(state.undone)
    history = (
        (event.seq, f"{event.at:%Y-%m-%d %H:%M:%S} UTC", event.by, event.what, event.seq in off) for event in events
    )
    record = {"session": session.model_dump(mode="json"), "events": [each.model_dump(mode="json") for each in events]}
    safe = json.dumps(record).replace("<", "\\u003c")
    people = ", ".join(f"{member.name} ({member.access})" for member in session.members)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(session.name)}</title>",
        f"<style>{STYLE}</style><main><h1>{escape(session.name)}</h1>",
        f"<p class=muted>Analysis session <code>{session.id}</code>, as it was after event {state.seq}. "
        f"Members: {escape(people)}.{_parent(session)}",
        "<h2>Notes</h2>",
        *([_note(note, names) for note in state.notes] or ["<p class=muted>None."]),
        "<h2>Pinned components</h2>",
        *([_pin(pin, names, caller, data) for pin in state.pins] or ["<p class=muted>None."]),
        *_audits(session),
        "<h2>Provenance</h2>",
        *(_provenance(snapshot, caller, explanation) for snapshot in dict.fromkeys(snapshots)),
        "<h2>History</h2>",
        "<table><thead><tr><th>#<th>When<th>Who<th>What</thead><tbody>",
        *_rows(history),
        "</tbody></table><p class=muted>Struck out: taken back later.</main>",
        f'<script type="application/json" id="record">{safe}</script>',
    ]
    return "\n".join(parts) + "\n</html>\n"


def _rows(history: Iterable[tuple[int, str, str, str, bool]]) -> Iterable[str]:
    for seq, when, who, what, off in history:
        kind = " class=off" if off else ""
        yield f"<tr{kind}><td>{seq}<td>{when}<td>{escape(who)}<td>{escape(what)}"


def _parent(session: AnalysisSession) -> str:
    return "" if session.parent is None else f" Branched from <code>{session.parent}</code> at {session.parent_seq}."


def _note(note: Note, names: dict[str, str]) -> str:
    writers = ", ".join(names.get(user, user) for user in note.users)
    both = " Two people changed the same lines; both versions stand." if note.both else ""
    return (
        f"<div class=note>{escape(note.text)}</div>"
        f"<p class=muted>{escape(writers)}, {note.at:%Y-%m-%d %H:%M} UTC, version {note.seq}.{both}"
    )


def _pin(pin: Pin, names: dict[str, str], caller: Caller, data: DataService) -> str:
    pinned = pin.pinned
    clarity = "–" if pinned.clarity is None else f"{pinned.clarity:.3f}"
    pictures = "".join(_picture(caller, data, pinned.dataset, sample) for sample in pinned.examples)
    return (
        f"<section class=pin><b>{escape(component_name(pinned.component))}</b><br>{pictures}<br>"
        f"<span class=muted>clarity {clarity}; pinned by {escape(names.get(pin.user, pin.user))} (event {pin.seq}); "
        f"lineage <code>{escape(pinned.lineage[:16])}</code>, snapshot <code>{escape(pinned.snapshot)}</code></span>"
        "</section>"
    )


def _picture(caller: Caller, data: DataService, dataset: str, sample: int) -> str:
    try:
        thumbnail = data.thumbnail(caller, dataset=dataset, index=sample)
    except XsysError as gone:
        return f"<span class=muted>sample {sample}: {escape(type(gone).__name__)}</span>"
    body = base64.b64encode(thumbnail.body).decode()
    return f'<img alt="sample {sample}" src="data:{thumbnail.media_type};base64,{body}">'


def _audits(session: AnalysisSession) -> list[str]:
    audits = session.state.audits
    if not audits:
        return []
    rows = "".join(
        f"<li><code>{one.audit}</code> of <code>{escape(one.snapshot)}</code>: {'passed' if one.passed else 'failed'}"
        for one in audits
    )
    return ["<h2>Audits</h2>", f"<ul>{rows}</ul>"]


def _provenance(snapshot: str, caller: Caller, explanation: ExplanationService) -> str:
    try:
        found = explanation.snapshot(caller, snapshot=snapshot)
    except XsysError as gone:
        return f"<h3>{escape(snapshot)}</h3><p>{escape(gone.detail)}"
    facts = "".join(f"<dt>{name}<dd>{escape(value)}" for name, value in _facts(found))
    return f"<h3>{escape(found.name)}</h3><dl>{facts}</dl>"


def _facts(found: Snapshot) -> list[tuple[str, str]]:
    return [
        ("snapshot", f"{found.id}, built {found.created_at:%Y-%m-%d %H:%M} UTC"),
        ("lineage", found.lineage),
        ("model", f"{found.model.name} ({found.model.architecture}), weights sha256 {found.model.weights_sha256}"),
        ("preprocessing", f"sha256 {found.model.preprocess_sha256}"),
        (
            "dataset",
            f"{found.dataset.name}, {found.dataset.n} samples, content sha256 {found.dataset.content_sha256}, "
            f"order sha256 {found.dataset.order_sha256}",
        ),
        ("encoder", f"{found.encoder.name}, fingerprint {found.encoder.fingerprint}"),
        ("layers", ", ".join(layer.name for layer in found.layers)),
        ("index generation", found.index.generation),
    ]
