"""What may be asked of the daemon: status, flows, assignments, and events as they happen."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Annotated, Protocol

from fastapi import FastAPI, Query
from fastapi.responses import StreamingResponse

from lbctl.daemon.models import LABEL, MAX_NAME, NAME, Assignments, EventStatus, Flows, Status

MAX_FLOWS = 10_000
"""More rows would keep the daemon from its probes while they are written."""
NDJSON = "application/x-ndjson"


class Telling(Protocol):
    """What is asked of the daemon."""

    async def status(self) -> Status:
        """Everything, as of now, once no change is under way, or one that takes too long."""
        ...

    def flows(self, limit: int, backend: str | None) -> Flows:
        """Live flows, of one backend (``pool/name``) or of all. Called in another thread."""
        ...

    def events(self, *, flows: bool, drops: bool) -> AsyncIterator[tuple[EventStatus, ...]]:
        """Batches of events from now on, the first one and others perhaps empty. Raises `KernelError` before the first."""
        ...

    def assignments(self, pool: str | None) -> Assignments:
        """Of one pool with private storage, or of all. Called in another thread."""
        ...


def tell(app: FastAPI, controls: Telling) -> None:
    """That which may be long is made in a thread, one at a time."""
    one_at_a_time = threading.Lock()

    @app.get("/v1/status", summary="Everything that `lbctl status` shows")
    async def status() -> Status:
        return await controls.status()

    @app.get("/v1/flows", summary="Live flows, in no order")
    def flows(
        limit: Annotated[int, Query(ge=1, le=MAX_FLOWS)] = 1000,
        backend: Annotated[str | None, Query(max_length=2 * MAX_NAME + 1, pattern=LABEL)] = None,
    ) -> Flows:
        with one_at_a_time:
            return controls.flows(limit, backend)

    @app.get("/v1/assignments", summary="Which source has which backend, in pools with private storage")
    def assignments(pool: Annotated[str | None, Query(max_length=MAX_NAME, pattern=NAME)] = None) -> Assignments:
        with one_at_a_time:
            return controls.assignments(pool)


def stream_events(app: FastAPI, controls: Telling) -> None:
    """A line each."""
    description = "An object a line, of this schema; an empty line every few seconds while nothing happens."
    content = {NDJSON: {"schema": EventStatus.model_json_schema()}}  # a ``model`` would be described as one JSON text

    @app.get(
        "/v1/events",
        summary="New flows and drops as they happen, until the connection is closed",
        response_class=StreamingResponse,
        responses={200: {"content": content, "description": description}},
    )
    async def events(flows: bool = True, drops: bool = True) -> StreamingResponse:
        batches = controls.events(flows=flows, drops=drops)
        await anext(batches)  # what goes wrong is told by the status, while that is not sent yet
        return StreamingResponse(_lines(batches), media_type=NDJSON)


async def _lines(batches: AsyncIterator[tuple[EventStatus, ...]]) -> AsyncIterator[str]:
    yield "\n"  # who waits for the first event knows that it will be told
    async for batch in batches:
        yield "".join(f"{event.model_dump_json()}\n" for event in batch) or "\n"
