"""A generation as server-sent events: what is written is read from the model service and passed on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from contracts.base import Caller, Right
from contracts.errors import TooManyRequests, UnknownModel, XsysError
from contracts.language import GENERATION_REFUSALS, GenerationRequest, GenerationState
from contracts.model import ModelId, ModelService
from orchestration.gateway.access import Lasting, Require
from orchestration.gateway.events import Streams
from services.kit.expose import documented_refusals

router = APIRouter(tags=["model"])
CanSearch = Annotated[Caller, Depends(Require(Right.SEARCH))]


@dataclass(frozen=True)
class Opened:
    """A generation that has begun: whatever is refused is refused before the stream."""

    state: GenerationState
    caller: Caller
    models: ModelService
    streams: Streams
    lasting: Lasting


def opened_of(request: Request, caller: CanSearch, model: ModelId, query: GenerationRequest) -> Opened:
    """Check access and begin to write."""
    streams: Streams = request.app.state.streams
    streams.refuse_too_many(caller)
    models: ModelService = request.app.state.wiring.model
    lasting = Lasting(request, Right.SEARCH, streams.check_seconds)
    return Opened(models.open_generation(caller, model=model, query=query), caller, models, streams, lasting)


async def states(opened: Opened) -> AsyncIterator[GenerationState]:
    """Yield the text whenever it grew, until it has ended."""
    state, told = opened.state, -1
    while True:
        if state.version > told or state.ended:
            told = state.version
            yield state
        if state.ended:
            return
        await opened.lasting()
        state = await run_in_threadpool(
            opened.models.generation, opened.caller, generation=state.id, after=state.version
        )


@router.post(
    "/models/{model}/generations/events",
    operation_id="model_generation_events",
    summary="Continue a prompt: one event for every few tokens, with all rows as far as they are",
    response_class=EventSourceResponse,
    responses=documented_refusals(UnknownModel, TooManyRequests, *GENERATION_REFUSALS),
    openapi_extra={"x-right": str(Right.SEARCH)},
)
async def events(caller: CanSearch, opened: Annotated[Opened, Depends(opened_of)]) -> AsyncIterator[ServerSentEvent]:
    """`event: text` with the rows, `event: end` when all are done. Who closes the stream stops the writing."""
    with opened.streams.counted(caller):
        ended = False
        try:
            async for state in states(opened):
                ended = state.ended
                yield ServerSentEvent(event="text", id=str(state.version), data=state)
            yield ServerSentEvent(event="end", data={"generation": opened.state.id})
        except XsysError as error:  # the model refused while it was writing: headers are sent already
            yield ServerSentEvent(event="refused", data={"title": type(error).__name__, "detail": error.detail})
        finally:
            if not ended:
                _close(opened)


def _close(opened: Opened) -> None:
    """Stop writing. Not awaited: a cancelled stream may await nothing, and this takes no longer than a look-up."""
    try:
        opened.models.close_generation(opened.caller, generation=opened.state.id)
    except XsysError:
        return  # it has ended or was forgotten: there is nothing left to stop
