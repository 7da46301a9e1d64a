"""After a reboot the tables are empty: the director begins with what it remembers of its backends, and asks them anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbctl.daemon import keeping
from lbctl.daemon.keeping import Keeper
from lbctl.daemon.state.store import HealthStore, Remembered
from lbctl.dataplane.fake import FakeDataplane
from tests.unit.daemon.desk import Desk
from tests.unit.daemon.rig import HEALTHY, REFUSED, Rig, declared, neighbour

TWO = declared("a", "b")
UP, DOWN = Remembered(is_up=True, percent=100), Remembered(is_up=False, percent=100)
A, B = "p/a@192.0.2.11", "p/b@192.0.2.12"


def test_backends_that_were_up_take_connections_before_their_first_probe() -> None:
    rig = Rig(TWO, remembered={A: UP, B: DOWN})
    rig.reconcile()
    assert rig.shares() == {"a": 1.0}
    assert rig.conditions() == {"a": "up", "b": "unknown"}
    rig.probe(REFUSED, "a")
    rig.probe(HEALTHY, "b")
    rig.reconcile()
    assert rig.shares() == {"b": 1.0}


def test_backend_whose_mac_was_not_confirmed_again_gets_nothing() -> None:
    rig = Rig(TWO, remembered={A: UP, B: UP})
    rig.reconciler.neighbour_seen(neighbour(TWO.pools[0].backends[0].address, state="failed"))
    rig.reconcile()
    assert rig.shares() == {"b": 1.0}


def test_backend_under_another_address_is_not_the_one_that_was_remembered() -> None:
    rig = Rig(declared("a address=192.0.2.99", "b"), remembered={A: UP, B: UP})
    rig.reconcile()
    assert rig.shares() == {"b": 1.0}


def test_tables_that_are_there_count_for_more_than_what_is_remembered() -> None:
    rig = Rig(TWO).up()
    rig.fail("a")
    rig.reconcile()
    found = Rig(TWO, dataplane=rig.dataplane, remembered={A: UP, B: DOWN})
    found.reconcile()
    assert found.shares() == {"b": 1.0}


def test_capacity_is_remembered_until_the_agent_is_heard() -> None:
    rig = Rig(declared("a agent", "b agent"), remembered={A: Remembered(is_up=True, percent=25), B: UP})
    rig.reconcile()
    assert rig.shares()["a"] == pytest.approx(0.2, abs=0.01)


def test_spare_receiver_that_was_up_does_not_take_over_before_its_first_probe() -> None:
    feeds = declared("a", "b", keys="policy: failover")
    rig = Rig(feeds, remembered={A: UP, B: UP}, actives={"p": "a"})
    rig.reconciler.neighbour_seen(neighbour(feeds.pools[0].backends[0].address, state="incomplete"))
    rig.reconcile()
    assert rig.reconciler.actives == {"p": "a"}
    rig.meet_all()
    rig.reconcile()
    assert rig.shares() == {"a": 1.0}


# On the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, declared("a agent", "b"))


def keeper_of(desk: Desk) -> Keeper:
    return Keeper(desk.reconciler, desk.assigner, desk.state)


def test_health_is_on_the_disk_after_each_change(desk: Desk) -> None:
    keeper = keeper_of(desk)
    desk.hear(keeper.save_health())
    saved = json.loads((desk.state / "health.json").read_text())
    assert saved == {"backends": {A: {"is_up": True, "percent": 100}, B: {"is_up": True, "percent": 100}}}
    desk.rig.fail("b")
    desk.hear(keeper.save_health())
    assert HealthStore(desk.state).recall() == {A: UP, B: DOWN}


def test_health_that_stays_is_not_written_again(desk: Desk) -> None:
    keeper = keeper_of(desk)
    desk.hear(keeper.save_health())
    desk.disk_refuses("health")
    desk.hear(keeper.save_health())


def test_capacity_that_changes_all_the_time_is_written_now_and_then(desk: Desk) -> None:
    keeper = keeper_of(desk)
    desk.hear(keeper.save_health())
    members = desk.reconciler.observed.members
    versions = []
    for percent in range(keeping.ROUNDS_FOR_PERCENTS):
        members["p/a"] = type(members["p/a"])(members["p/a"].health, type(members["p/a"].capacity)(percent=percent))
        desk.hear(keeper.save_health())
        versions.append(HealthStore(desk.state).recall()[A].percent)
    assert versions == [100] * (keeping.ROUNDS_FOR_PERCENTS - 1) + [keeping.ROUNDS_FOR_PERCENTS - 1]


def test_backend_not_probed_yet_stays_remembered_as_it_was(tmp_path: Path) -> None:
    """A director that is booted twice in a row."""
    HealthStore(tmp_path).save(type(HealthStore(tmp_path).load())(backends={A: DOWN, "p/gone@192.0.2.77": UP}))
    rig = Rig(TWO, dataplane=FakeDataplane(), remembered=HealthStore(tmp_path).recall())
    assert rig.reconciler.observed.to_remember(HealthStore(tmp_path).recall()) == {A: DOWN}


def test_file_that_cannot_be_understood_is_logged_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "health.json").write_text("{")
    assert HealthStore(tmp_path).recall() == {}
    assert "health.json cannot be read" in caplog.text
