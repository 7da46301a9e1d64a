"""The daemon on fakes: what it keeps on the disk and brings back, and whom it tells that a connection is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lbctl.core.ids import identity
from lbctl.core.model import Protocol
from lbctl.core.tables import reference
from lbctl.core.targets import named
from lbctl.daemon import daemon as running
from lbctl.daemon import keeping
from lbctl.daemon.state.store import AssignmentStore
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import Assigned, FlowEntry, IdleLimits, Sweep
from lbctl.network.port import MARK_BASE
from lbctl.network.tcp import Reset
from tests.unit.daemon.desk import CT, MR
from tests.unit.daemon.rig import VIP, file
from tests.unit.daemon.stage import Stage

PRIVATE = file("a", "b", kind="archive", keys="storage: private")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe succeeds here, for the director's address is nobody's on this machine."""
    monkeypatch.setattr(running, "FIRST_VERDICTS_S", 0.05)
    monkeypatch.setattr(running, "SWEEP_INTERVAL_S", 0.05)
    monkeypatch.setattr(keeping, "INTERVAL_S", 0.02)


class Sweeping(FakeDataplane):
    """Tells also which connections are open."""

    def sweep(self, limits: IdleLimits) -> Sweep:
        found = super().sweep(limits)
        return replace(found, open={flow.backend: 1 for flow in self.live_flows if flow.state == "open"})


def ref(dataplane: FakeDataplane, name: str) -> int:
    wanted = identity(f"p/{name}@{ADDRESSES[name]}")
    return next(reference(n, row.generation) for n, row in dataplane.backends.items() if row.identity == wanted)


ADDRESSES: Mapping[str, IPv4Address] = {"a": IPv4Address("192.0.2.11"), "b": IPv4Address("192.0.2.12")}
CLIENT = IPv4Address("10.0.0.1")
TO_CLIENT = Reset(source=VIP, source_port=104, destination=CLIENT, destination_port=40_000, seq=1)


def to_server(stage: Stage, label: str) -> Reset:
    mark = stage.surroundings.mark(label)
    assert mark > MARK_BASE
    return Reset(source=CLIENT, source_port=40_000, destination=VIP, destination_port=104, seq=2, mark=mark)


def flow(backend: int) -> FlowEntry:
    return FlowEntry(
        protocol=Protocol.TCP,
        client=CLIENT,
        client_port=40_000,
        vip=VIP,
        vip_port=104,
        backend=backend,
        idle_s=1.0,
        state="open",
    )


def state_before(directory: Path, name: str, content: object) -> None:
    """What the daemon before this one left."""
    (directory / "state").mkdir(exist_ok=True)
    (directory / "state" / name).write_text(json.dumps(content))


# The disk ------------------------------------------------------------------------------------------------------------


def test_daemon_with_a_disk_that_refuses_goes_on_says_so_and_saves_as_soon_as_it_can(tmp_path: Path) -> None:
    stage = Stage(tmp_path, text=PRIVATE)
    in_the_way = stage.state / "assignments.next"
    in_the_way.mkdir(parents=True)

    async def scene() -> None:
        stage.dataplane.assigned[Assigned(pool_id=1, source=CT)] = ref(stage.dataplane, "a")
        await stage.eventually(lambda: "assignments.json cannot be written" in str(stage.status().daemon.last_error))
        assert (await stage.daemon.operator.drain(named("p/a"))).startswith("p/a drained")
        assert set(stage.dataplane.vips) == {VIP}
        in_the_way.rmdir()
        await stage.eventually(lambda: AssignmentStore(stage.state).load().pools == {"p": {CT: "a"}})
        await stage.eventually(lambda: stage.status().daemon.last_error is None)

    asyncio.run(stage.play(scene))


def test_daemon_saves_what_the_program_assigns_while_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SWEEP_INTERVAL_S", 3600.0)
    stage = Stage(tmp_path, text=PRIVATE)

    async def scene() -> None:
        for sources in ([CT], [CT, MR]):
            stage.dataplane.assigned[Assigned(pool_id=1, source=sources[-1])] = ref(stage.dataplane, "a")
            expected = {"p": dict.fromkeys(sources, "a")}
            await stage.eventually(lambda e=expected: AssignmentStore(stage.state).load().pools == e)  # type: ignore[misc]

    asyncio.run(stage.play(scene))


def test_daemon_gives_the_program_the_saved_assignments_before_it_serves(tmp_path: Path) -> None:
    state_before(tmp_path, "assignments.json", {"pools": {"p": {str(CT): "a", str(MR): "b"}}})
    stage = Stage(tmp_path, text=PRIVATE)

    async def scene() -> None:
        found = {key.source: backend for key, backend in stage.dataplane.assigned.items()}
        assert found == {CT: ref(stage.dataplane, "a"), MR: ref(stage.dataplane, "b")}
        assert stage.status().pools[0].assigned_sources == 2

    asyncio.run(stage.play(scene))


def test_daemon_begins_with_the_active_one_and_the_halts_of_before(tmp_path: Path) -> None:
    state_before(tmp_path, "failover.json", {"active": {"p": "b"}})
    state_before(tmp_path, "overrides.json", {"halted": ["p/a"]})
    stage = Stage(tmp_path, text=file("a", "b", keys="policy: failover"))

    async def scene() -> None:
        assert stage.status().pools[0].active == "b"
        assert [backend.state for backend in stage.status().pools[0].backends] == ["halted", "unknown"]

    asyncio.run(stage.play(scene))


# Resets ---------------------------------------------------------------------------------------------------------------


def test_halt_tells_client_and_server(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def scene() -> None:
        stage.dataplane.live_flows.append(flow(ref(stage.dataplane, "a")))
        await stage.daemon.operator.halt(named("p/a"))
        await stage.eventually(lambda: len(stage.network.segments) == 2)
        assert stage.network.segments == [TO_CLIENT, to_server(stage, "p/a")]

    asyncio.run(stage.play(scene))


def test_drain_tells_nobody(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    async def scene() -> None:
        stage.dataplane.live_flows.append(flow(ref(stage.dataplane, "a")))
        await stage.daemon.operator.drain(named("p/a"))
        await stage.daemon.operator.halt(named("p/b"))  # whatever had to be told of a would be told by now
        await stage.daemon.close()
        assert stage.network.segments == []

    asyncio.run(stage.play(scene))


def test_daemon_tells_those_whom_the_one_before_did_not_come_to_tell(tmp_path: Path) -> None:
    """It halted a backend, and was killed."""
    first = Stage(tmp_path, dataplane=Sweeping())

    async def halted() -> None:
        await first.daemon.operator.halt(named("p/a"))

    asyncio.run(first.play(halted))
    first.dataplane.live_flows.append(flow(ref(first.dataplane, "a")))
    second = Stage(tmp_path, dataplane=first.dataplane)

    async def scene() -> None:
        await second.eventually(lambda: len(second.network.segments) == 2)
        assert second.network.segments == [TO_CLIENT, to_server(second, "p/a")]

    asyncio.run(second.play(scene))
