"""Computes an event of an analysis session again and compares: what an auditor signs should come out twice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from contracts.audit import AuditService
from contracts.base import Caller, Right
from contracts.errors import XsysError
from contracts.explanation import ExplanationService
from contracts.model import ModelService
from contracts.replay import Replay, ReplayVerdict
from contracts.session_events import AuditSeen, Pinned, Search, SessionEvent, Steer
from contracts.snapshots import ComponentRef

NEAR = 1e-6  # of a probability: another number of threads may change last bits
MOST = 20


@dataclass(frozen=True)
class Replayer:
    """Asks the services again. An auditor repeats what an analyst did: what the record holds may be asked."""

    explanation: ExplanationService
    model: ModelService
    audit: AuditService

    def replay(self, caller: Caller, event: SessionEvent, snapshot: str) -> Replay:
        """Compute what an event recorded once more; `snapshot` is where the session stood then."""
        asked = caller.model_copy(update={"rights": caller.rights | {Right.SEARCH, Right.STEER}})
        try:
            checked, differences = self._compared(asked, event, snapshot)
        except XsysError as refusal:
            if refusal.status >= 429:  # overloaded or out of order: that says nothing about the record
                raise
            return _told(event, ReplayVerdict.REFUSED, detail=f"{type(refusal).__name__}: {refusal.detail}")
        if not checked:
            return _told(event, ReplayVerdict.NOTHING, detail=_why(event))
        verdict = ReplayVerdict.DIFFERS if differences else ReplayVerdict.SAME
        return _told(event, verdict, checked=checked, differences=differences[:MOST])

    def _compared(self, caller: Caller, event: SessionEvent, snapshot: str) -> tuple[list[str], list[str]]:
        match event.action:
            case Search(query=query, pictures=[], hits=hits, lineage=lineage) if query and (hits or lineage):
                answer = self.explanation.search(caller, snapshot, query)
                now = [hit.component for hit in answer.hits[: len(hits)]]
                told = {f"{len(hits)} components found": bool(hits), "lineage": lineage is not None}
                return [name for name, there in told.items() if there], [
                    *_components(hits, now),
                    *(_unequal("lineage", lineage, answer.lineage) if lineage is not None else ()),
                ]
            case Pinned(component=ref) as pinned:
                detail = self.explanation.component(caller, pinned.snapshot, ref.layer, ref.index, ref.sign)
                samples = [example.sample for example in detail.examples[: len(pinned.examples)]]
                return ["lineage", "state", "clarity", f"{len(pinned.examples)} examples"], [
                    *_unequal("lineage", pinned.lineage, detail.lineage),
                    *_unequal("state", pinned.state, detail.component.state),
                    *_far("clarity", pinned.clarity, detail.component.clarity),
                    *_unequal("examples", pinned.examples, samples),
                ]
            case Steer(model=model, request=request, flipped=flipped, variation=variation) if (
                flipped is not None or variation is not None
            ):
                steered = self.model.steering_preview(caller, model, request)
                told = {"prediction": flipped is not None, "variation": variation is not None}
                return [name for name, there in told.items() if there], [
                    *(_unequal("flipped", flipped, steered.flipped) if flipped is not None else ()),
                    *(_far("variation", variation, steered.variation) if variation is not None else ()),
                ]
            case AuditSeen(audit=audit, snapshot=of, passed=passed):
                found = self.audit.audit(caller, audit)
                return ["verdict", "snapshot"], [
                    *_unequal("passed", passed, found.passed),
                    *_unequal("snapshot", of, found.snapshot),
                ]
        return [], []


def _told(event: SessionEvent, verdict: ReplayVerdict, **more: object) -> Replay:
    told = {"session": event.session, "seq": event.seq, "kind": event.action.kind, "verdict": verdict, "checked": []}
    return Replay.model_validate({**told, **more})


def _why(event: SessionEvent) -> str:
    match event.action:
        case Search(pictures=[_, *_]):
            return "pictures that were sent along are not kept, so this cannot be asked again"
        case Search() | Steer():
            return "no outcome was recorded"
    return "nothing was computed"


def _components(recorded: list[ComponentRef], now: list[ComponentRef]) -> Iterable[str]:
    names = [[f"{one.layer}·{one.index}{'−' if one.sign < 0 else ''}" for one in some] for some in (recorded, now)]
    for place in range(len(recorded)):
        there = names[1][place] if place < len(now) else "nothing"
        yield from _unequal(f"component {place + 1}", names[0][place], there)


def _unequal(what: str, recorded: object, now: object) -> Iterable[str]:
    if recorded != now:
        yield f"{what}: recorded {recorded}, now {now}"


def _far(what: str, recorded: float | None, now: float | None) -> Iterable[str]:
    near = recorded == now or (
        recorded is not None and now is not None and math.isclose(recorded, now, rel_tol=0, abs_tol=NEAR)
    )
    if not near:
        yield f"{what}: recorded {recorded}, now {now}"
