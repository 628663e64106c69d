"""The Python script of an analysis session: it asks again what was asked, through the client, and compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pprint import pformat

from contracts.session_events import AuditSeen, Moved, NoteWritten, Pinned, Search, SessionEvent, Steer
from contracts.sessions import AnalysisSession

HEAD = '''"""Repeats the analysis session {name} ({id}), events 1 to {seq}.

Needs the client (`pip install` from the repository of xsys) and two variables: XSYS_SERVER, the address of the server,
and XSYS_TOKEN, an access token (`xsys token create`). Exit code 1: an answer differs from what was recorded.
"""

import sys

from xsys_client import connect

xsys = connect()
snapshot = {snapshot!r}
equal, differing = [], []


def compare(event, answer, recorded):
    """Hold an answer against the record."""
    if answer == recorded:
        equal.append(event)
    else:
        differing.append(event)
        print(f"event {{event}} differs:\\n  recorded {{recorded}}\\n  now      {{answer}}")


def named(components):
    return [(one.layer, one.index, one.sign) for one in components]

'''
TAIL = """
print(f"{len(equal)} answers as recorded, {len(differing)} differ")
sys.exit(1 if differing else 0)
"""


def script_text(session: AnalysisSession, events: Sequence[SessionEvent], first_snapshot: str) -> str:
    """Write the script. What was taken back is left out; notes and visits are comments."""
    off = set(session.state.undone)
    body = "\n".join(
        line for event in events if event.seq not in off and event.action.kind != "undo" for line in _lines(event)
    )
    head = HEAD.format(name=session.name, id=session.id, seq=session.state.seq, snapshot=first_snapshot)
    return head + body + "\n" + TAIL


def _lines(event: SessionEvent) -> Iterator[str]:
    yield ""
    yield from _comment(f"{event.seq} · {event.at:%Y-%m-%d %H:%M:%S} UTC · {event.by} {event.what}")
    match event.action:
        case Search(query=query, hits=hits) if query is not None:
            asked = query.model_dump(mode="json", exclude_defaults=True)
            asked["terms"] = [
                {"kind": term.kind, **given} for term, given in zip(query.terms, asked["terms"], strict=True)
            ]
            found = [(one.layer, one.index, one.sign) for one in hits]
            yield f"hits = xsys.search(snapshot, {_value(asked)})"
            yield f"compare({event.seq}, named(hit.component for hit in hits)[:{len(found)}], {_value(found)})"
        case Search():
            yield "# the picture was not kept; search with your own copy of it"
        case Pinned() as pinned:
            ref = pinned.component
            yield f"pinned = xsys.component({pinned.snapshot!r}, {ref.layer!r}, {ref.index}, {ref.sign})"
            yield f"samples = [one.sample for one in pinned.examples][:{len(pinned.examples)}]"
            yield f"compare({event.seq}, (pinned.lineage, samples), ({pinned.lineage!r}, {pinned.examples!r}))"
        case Steer(model=model, request=request, flipped=flipped):
            asked = request.model_dump(mode="json", exclude_unset=True)
            yield f"steered = xsys.steer({model!r}, {_value(asked)})"
            if flipped is not None:
                yield f"compare({event.seq}, steered.flipped, {flipped!r})"
        case AuditSeen(audit=audit, passed=passed):
            yield f"compare({event.seq}, xsys.audit({audit!r}).passed, {passed!r})"
        case Moved(snapshot=snapshot):
            yield f"snapshot = {snapshot!r}"
        case NoteWritten(after=after):
            yield from _comment(after)


def _comment(text: str) -> Iterator[str]:
    """Yield comment lines; whatever a line may be ended by starts a new comment."""
    for line in text.splitlines():
        yield f"# {line}".rstrip()


def _value(value: object) -> str:
    return pformat(value, width=110, compact=True, sort_dicts=False)
