"""Events of an analysis session as sentences for people."""

from __future__ import annotations

from contracts.explanation import ComponentTerm, SampleTerm, SearchQuery, TextTerm
from contracts.session_events import (
    AuditSeen,
    Happened,
    Moved,
    NoteWritten,
    Pinned,
    Search,
    Steer,
    Undone,
    Unpin,
    View,
)  # fmt: skip
from contracts.snapshots import ComponentRef

LONGEST = 80


def sentence(action: Happened) -> str:
    """Say what happened; who did it stands beside it."""
    match action:
        case Search(query=query, pictures=pictures, hits=hits):
            asked = [*([] if query is None else [query_text(query)]), *("a picture" for _ in pictures)]
            return f"searched for {' and '.join(asked)}: {len(hits)} component{'' if len(hits) == 1 else 's'} recorded"
        case View(path=path, title=title):
            return f"looked at {title or path}"
        case Steer(model=model, request=request, flipped=flipped):
            sample = f"sample {request.sample.index}" if request.sample is not None else "a picture"
            layers = sorted({one.target.layer for one in request.interventions})
            ending = {True: ": the first output changed", False: ": the first output stayed", None: ""}[flipped]
            return f"steered {model} in {', '.join(layers)} on {sample}{ending}"
        case Pinned(component=component):
            return f"pinned {component_name(component)}"
        case Unpin(layer=layer, index=index, sign=sign):
            return f"took away the pin of {layer} · {index}{' · −' if sign < 0 else ''}"
        case NoteWritten() as written:
            return _note(written)
        case AuditSeen(audit=audit, passed=passed):
            return f"looked at audit {audit}, which {'passed' if passed else 'failed'}"
        case Moved(name=name, snapshot=snapshot):
            return f"moved the session to snapshot {name} ({snapshot})"
        case Undone(event=taken):
            return f"took back event {taken}"
    raise AssertionError(f"an event without a sentence: {action.kind}")


def component_name(component: ComponentRef) -> str:
    """`layer · index`, with the sign where it is the negative one."""
    return f"{component.layer} · {component.index}{' · −' if component.sign < 0 else ''}"


def query_text(query: SearchQuery) -> str:
    """The terms of a query in words."""
    words = []
    for term in query.terms:
        match term:
            case TextTerm(text=text):
                words.append(f"“{text}”")
            case ComponentTerm(layer=layer, index=index):
                words.append(f"what is like {layer} · {index}")
            case SampleTerm(sample=sample):
                words.append(f"what is like sample {sample}")
    return " and ".join(words)


def _note(written: NoteWritten) -> str:
    first = written.after.strip().partition("\n")[0]
    if not first:
        return "took a note away"
    shown = first if len(first) <= LONGEST else f"{first[: LONGEST - 1]}…"
    how = {"none": "wrote", "clean": "wrote in the same note as somebody else", "both": "changed the same lines"}
    return f"{how[written.merge]}: {shown}"
