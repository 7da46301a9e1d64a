"""Events for people who watch: switched on with the first watcher, off with the last, and each watcher's own reading speed is
nobody else's trouble."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from lbctl.core.tables import Lan
from lbctl.daemon.headers import decode
from lbctl.daemon.models import EventStatus
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reports.naming import backend_names, device_name, interface_names, service_names, vlan_ids
from lbctl.dataplane.layout import Reason
from lbctl.dataplane.port import Dataplane, Event
from lbctl.errors import KernelError

_log = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.1
HEARTBEAT_S = 5.0
"""An empty batch at least so often: a watcher learns that the daemon lives, and the daemon that the watcher does not."""
MOST_WAITING = 5_000
"""Events that wait for a slow watcher; older ones give way, which is told."""
_FIRST_DROP = Reason.NO_SERVICE


class Watcher:
    """Someone who wants to be told of flows, of drops, or of both."""

    def __init__(self, *, flows: bool, drops: bool) -> None:
        self.flows = flows
        self.drops = drops
        self.is_over = False
        self._waiting: deque[EventStatus] = deque()
        self._lost = 0
        self._news = asyncio.Event()

    def tell(self, events: Sequence[EventStatus]) -> None:
        """Queue those that are wanted."""
        wanted = [event for event in events if (self.flows if event.kind == "flow" else self.drops)]
        self._waiting += wanted
        while len(self._waiting) > MOST_WAITING:
            self._lost += 1 + self._waiting.popleft().lost
        if wanted:
            self._news.set()

    def end(self) -> None:
        """There will be no more."""
        self.is_over = True
        self._news.set()

    async def heard(self) -> tuple[EventStatus, ...]:
        """What is waiting, as soon as something is; nothing after a while in which nothing was."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self._news.wait()
        except TimeoutError:
            return ()
        if not self.is_over:
            self._news.clear()
        batch, self._waiting = list(self._waiting), deque()
        if batch and self._lost:
            batch[0], self._lost = batch[0].model_copy(update={"lost": self._lost}), 0
        return tuple(batch)


class Watching:
    """All watchers. One task asks the program for them together."""

    def __init__(self, reconciler: Reconciler, dataplane: Dataplane) -> None:
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._watchers: set[Watcher] = set()
        self._asked = (False, False)
        self._polling: asyncio.Task[None] | None = None

    async def events(self, *, flows: bool, drops: bool) -> AsyncIterator[tuple[EventStatus, ...]]:
        """Batches of events from now on, the first one at once and empty. Raises `KernelError` before that."""
        watcher = Watcher(flows=flows, drops=drops)
        self._watchers.add(watcher)
        try:
            self._ask()
            yield ()
            while not watcher.is_over:
                yield await watcher.heard()
        finally:
            self._watchers.discard(watcher)
            self._ask_less()

    def _ask(self) -> None:
        """Have the program tell what all watchers together want."""
        wanted = (
            any(watcher.flows for watcher in self._watchers),
            any(watcher.drops for watcher in self._watchers),
        )
        if wanted != self._asked:
            if self._watchers:  # asking anew forgets what was told so far
                self._hand_out()
            self._dataplane.watch(flows=wanted[0], drops=wanted[1])
            self._asked = wanted
        if any(wanted) and self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        elif not any(wanted) and self._polling is not None:
            self._polling.cancel()
            self._polling = None

    def _ask_less(self) -> None:
        """Somebody left; if the kernel refuses, the next one to come or go has it asked again."""
        try:
            self._ask()
        except KernelError as error:
            _log.error("%s", error)

    async def _poll(self) -> None:
        try:
            while True:
                await asyncio.sleep(POLL_INTERVAL_S)
                self._hand_out()
        except KernelError as error:
            _log.error("nobody can be told of events any more: %s", error)
            self._give_up()
        except Exception:  # a defect of ours must not leave watchers waiting for what never comes
            _log.exception("events were not told, in a way that should not be")
            self._give_up()

    def _give_up(self) -> None:
        self._polling = None
        self.end_all()

    def _hand_out(self) -> None:
        events = self._dataplane.events() if any(self._asked) else ()
        if events:
            told = self._told(events)
            for watcher in self._watchers:
                watcher.tell(told)

    def _told(self, events: Sequence[Event]) -> list[EventStatus]:
        """In names."""
        tables, index = self._reconciler.current, self._reconciler.index
        backends = backend_names(tables, index, self._reconciler.labels)
        services = service_names(tables, self._reconciler.declaration)
        interfaces = interface_names(self._reconciler.neighbourhood)
        booted_ns = time.time_ns() - time.monotonic_ns()
        told = []
        for event in events:
            packet = decode(event.headers)
            lan = Lan(event.ifindex, event.vlan)
            told.append(
                EventStatus(
                    time=datetime.fromtimestamp((booted_ns + event.time_ns) / 1e9, UTC),
                    kind="drop" if Reason[event.reason.upper()] >= _FIRST_DROP else "flow",
                    reason=event.reason,
                    interface=interfaces.get(lan) or device_name(event.ifindex, self._reconciler.neighbourhood),
                    vlans=vlan_ids(event.vlan),
                    protocol=packet.protocol,
                    source=packet.source,
                    source_port=packet.source_port,
                    destination=packet.destination,
                    destination_port=packet.destination_port,
                    details=packet.details,
                    service=services.get(event.service),
                    backend=backends.get(event.backend),
                    frame_bytes=event.frame_bytes,
                    lost=0,
                )
            )
        return told

    def end_all(self) -> None:
        """Send every watcher away: the daemon stops."""
        for watcher in self._watchers:
            watcher.end()
