"""Events for people: who is told what, and that the program tells nothing while nobody watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from lbctl.daemon import watching
from lbctl.daemon.models import EventStatus
from lbctl.daemon.watching import Watcher, Watching
from lbctl.dataplane.port import Event
from lbctl.errors import KernelError
from tests.unit.daemon.rig import IFINDEX, Rig, declared
from tests.unit.daemon.test_headers import ipv4, tcp

DEADLINE_S = 10.0
BOTH = frozenset({"flows", "drops"})


def event(reason: str = "first_ack", *, vlan: int = 0, backend: int = 0, service: int = 0, time_ns: int = 0) -> Event:
    return Event(
        time_ns=time_ns,
        ifindex=IFINDEX,
        vlan=vlan,
        reason=reason,
        service=service,
        backend=backend,
        frame_bytes=1514,
        headers=ipv4(6, tcp(0x10)),
    )


class Tower:
    """Watchers over a rig's data plane."""

    def __init__(self) -> None:
        self.rig = Rig(declared("a", "b")).up()
        self.dataplane = self.rig.dataplane
        self.watching = Watching(self.rig.reconciler, self.dataplane)

    async def watcher(self, *, flows: bool = True, drops: bool = True) -> AsyncIterator[tuple[EventStatus, ...]]:
        events = self.watching.events(flows=flows, drops=drops)
        assert await anext(events) == ()
        return events

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 (a fake has no event)
                await asyncio.sleep(0.005)  # the pause between two looks


async def leave(events: AsyncIterator[tuple[EventStatus, ...]]) -> None:
    await events.aclose()  # type: ignore[attr-defined]  # it is a generator


def play(scene: Callable[[Tower], Coroutine[Any, Any, None]]) -> None:
    async def playing() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await scene(Tower())

    asyncio.run(playing())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "POLL_INTERVAL_S", 0.01)


def test_event_is_told_in_names() -> None:
    async def scene(tower: Tower) -> None:
        tower.rig.reconciler.neighbourhood.nics = {}  # the interface is gone meanwhile
        events = await tower.watcher()
        service = next(iter(tower.dataplane.services.values())).id
        tower.dataplane.told += [event(backend=tower.rig.reference("b"), service=service, vlan=100 * 4096 + 20)]
        (found,) = await anext(events)
        assert (found.kind, found.reason, found.backend, found.service) == ("flow", "first_ack", "p/b", "s0")
        assert (found.vlans, found.frame_bytes, found.lost) == ((100, 20), 1514, 0)
        assert (str(found.source), found.source_port, str(found.destination)) == ("192.0.2.50", 41022, "192.0.2.100")
        assert (found.protocol, found.details, found.time.tzinfo is not None) == ("tcp", "[.]", True)
        await leave(events)

    play(scene)


def test_program_tells_what_all_watchers_want_together_and_nothing_after_the_last() -> None:
    async def scene(tower: Tower) -> None:
        assert tower.dataplane.watched == frozenset()
        flows = await tower.watcher(drops=False)
        assert tower.dataplane.watched == {"flows"}
        drops = await tower.watcher(flows=False)
        assert tower.dataplane.watched == BOTH
        tower.dataplane.told += [event("first_ack"), event("denied"), event("syn")]
        assert [each.reason for each in await anext(flows)] == ["first_ack", "syn"]
        assert [each.reason for each in await anext(drops)] == ["denied"]
        await leave(flows)
        assert tower.dataplane.watched == {"drops"}
        await leave(drops)
        assert tower.dataplane.watched == frozenset()

    play(scene)


def test_events_that_were_told_before_another_watcher_came_are_not_lost() -> None:
    async def scene(tower: Tower) -> None:
        flows = await tower.watcher(drops=False)
        tower.dataplane.told += [event("syn")]
        drops = await tower.watcher(flows=False)
        assert [each.reason for each in await anext(flows)] == ["syn"]
        await leave(flows)
        await leave(drops)

    play(scene)


def test_watcher_that_hears_nothing_for_a_while_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "HEARTBEAT_S", 0.05)

    async def scene(tower: Tower) -> None:
        events = await tower.watcher()
        assert await anext(events) == ()
        await leave(events)

    play(scene)


def test_watcher_that_reads_slowly_loses_the_oldest_and_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_WAITING", 10)

    async def scene(tower: Tower) -> None:
        slow, quick = await tower.watcher(), await tower.watcher()
        tower.dataplane.told += [event("syn") for _ in range(8)]
        assert len(await anext(quick)) == 8
        tower.dataplane.told += [event("denied") for _ in range(8)]
        assert [each.lost for each in await anext(quick)] == [0] * 8
        heard = await anext(slow)
        assert [each.reason for each in heard] == ["syn"] * 2 + ["denied"] * 8
        assert [each.lost for each in heard] == [6] + [0] * 9
        await leave(slow)
        await leave(quick)

    play(scene)


def test_watchers_are_sent_away_when_the_daemon_stops() -> None:
    async def scene(tower: Tower) -> None:
        events = await tower.watcher()
        tower.watching.end_all()
        assert [batch async for batch in events] == []
        assert tower.dataplane.watched == frozenset()

    play(scene)


def test_watching_that_the_kernel_refuses_is_an_error_before_anything_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**wanted: bool) -> None:
        raise KernelError("writing a map entry: no memory")

    async def scene(tower: Tower) -> None:
        monkeypatch.setattr(tower.dataplane, "watch", refuse)
        with pytest.raises(KernelError):
            await tower.watcher()
        monkeypatch.undo()
        await leave(await tower.watcher())

    play(scene)


def test_watchers_are_sent_away_when_the_kernel_tells_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise KernelError("reading the ring buffer: no memory")

    async def scene(tower: Tower) -> None:
        events = await tower.watcher()
        monkeypatch.setattr(tower.dataplane, "events", refuse)
        assert [batch async for batch in events] == [()]
        assert tower.dataplane.watched == frozenset()

    play(scene)


def test_watcher_is_told_only_of_what_it_wants() -> None:
    watcher = Watcher(flows=False, drops=False)
    watcher.tell([])
    watcher.end()
    assert asyncio.run(watcher.heard()) == ()
