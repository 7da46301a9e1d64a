"""What must outlast the machine is on the disk; what cannot be written is told, and stops nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from lbctl.daemon import keeping
from lbctl.daemon.keeping import Keeper
from lbctl.daemon.state.store import ActiveStore, AssignmentStore
from lbctl.errors import KernelError
from tests.unit.daemon.desk import CT, Desk
from tests.unit.daemon.rig import declared

FEEDS = declared("a", "b", keys="policy: failover")
PRIVATE = declared("a", "b", kind="archive", keys="storage: private")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, FEEDS)


def keeper_of(desk: Desk) -> Keeper:
    return Keeper(desk.reconciler, desk.assigner, desk.state)


def test_active_one_is_on_the_disk_after_each_switch(desk: Desk) -> None:
    keeper = keeper_of(desk)
    desk.hear(keeper.keep(desk.facts))
    assert json.loads((desk.state / "failover.json").read_text()) == {"active": {"p": "a"}}
    desk.rig.fail("a")
    desk.rig.reconcile()
    desk.hear(keeper.keep(desk.facts))
    assert ActiveStore(desk.state).load().active == {"p": "b"}


def test_active_one_that_stays_is_not_written_again(desk: Desk) -> None:
    desk.hear(keeper_of(desk).keep(desk.facts))
    desk.disk_refuses("failover")
    desk.hear(keeper_of(desk).keep(desk.facts))
    assert desk.facts.last_error is None


def test_pool_that_no_longer_fails_over_is_forgotten(desk: Desk) -> None:
    keeper = keeper_of(desk)
    desk.hear(keeper.keep(desk.facts))
    desk.reconciler.declare(declared("a", "b"), now=desk.rig.now)
    desk.rig.reconcile()
    desk.hear(keeper.keep(desk.facts))
    assert ActiveStore(desk.state).load().active == {}


def test_disk_that_refuses_is_told_with_what_follows_and_tried_again(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = keeper_of(desk)
    desk.disk_refuses("failover")
    desk.hear(keeper.keep(desk.facts))
    assert "failover.json cannot be written: Is a directory" in str(desk.operator.reporter.status().daemon.last_error)
    assert "until then a restart may make another backend the active one" in caplog.text
    desk.disk_recovers("failover")
    desk.hear(keeper.keep(desk.facts))
    assert ActiveStore(desk.state).load().active == {"p": "a"}


def test_active_one_is_saved_also_when_assignments_cannot_be(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse() -> None:
        raise KernelError("reading a map: as the test wants it")

    monkeypatch.setattr(desk.assigner, "settle", refuse)
    desk.hear(keeper_of(desk).keep(desk.facts))
    assert ActiveStore(desk.state).load().active == {"p": "a"}
    assert desk.facts.last_error == "reading a map: as the test wants it"


def test_loop_keeps_what_the_program_assigned_in_the_meantime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "INTERVAL_S", 0.01)
    desk = Desk(tmp_path, PRIVATE)

    async def scene() -> None:
        loop = asyncio.create_task(keeper_of(desk).keep_forever(asyncio.Lock(), desk.facts))
        desk.connect(CT, "a")
        async with asyncio.timeout(10):
            while AssignmentStore(tmp_path).load().pools != {"p": {CT: "a"}}:  # noqa: ASYNC110 (the keeper has no event for a test)
                await asyncio.sleep(0.005)  # the pause between two looks
        assert not loop.done()
        loop.cancel()

    asyncio.run(scene())


def test_loop_waits_while_somebody_changes_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "INTERVAL_S", 0.0)
    desk = Desk(tmp_path, PRIVATE)
    desk.connect(CT, "a")

    async def scene() -> None:
        changing = asyncio.Lock()
        async with changing:
            loop = asyncio.create_task(keeper_of(desk).keep_forever(changing, desk.facts))
            for _ in range(50):
                await asyncio.sleep(0)  # lets the loop run up to the lock
            assert desk.assigner.books == {}
        async with asyncio.timeout(10):
            while not desk.assigner.books:  # noqa: ASYNC110 (the keeper has no event for a test)
                await asyncio.sleep(0.005)  # the pause between two looks
        loop.cancel()

    asyncio.run(scene())
