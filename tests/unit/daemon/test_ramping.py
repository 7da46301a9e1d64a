"""Slow starts in the daemon: when they begin, how they go on over restarts and failures, and that they end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lbctl.core.standing import Override
from lbctl.core.targets import named
from lbctl.daemon.facts import Facts
from lbctl.daemon.ramping import Ramping
from lbctl.daemon.state.overrides import Overrides, OverrideStore, SlowStart, with_override, with_slow_start
from lbctl.dataplane.fake import FakeDataplane
from tests.unit.daemon.desk import Desk
from tests.unit.daemon.rig import HEALTHY, NOTHING_SAID, Rig, declared

SPAN_S = 90.0
SLOW = with_slow_start(NOTHING_SAID, "p/a", span_s=SPAN_S)
EQUAL = declared("a", "b")


class Scene:
    """A reconciler with slow starts; `at` moves the clock and lets follow what follows."""

    def __init__(self, state: Path, rig: Rig) -> None:
        self.rig, self.news, self.began_s = rig, 0, rig.now
        self.store = OverrideStore(state)
        self.ramping = Ramping(rig.reconciler, self.store, news=self._told, now=rig.now)

    def _told(self) -> None:
        self.news += 1

    def at(self, seconds: float) -> float:
        """A backend's share ``seconds`` after the beginning."""
        self.rig.now = self.began_s + seconds
        self.ramping.advance(now=self.rig.now)
        self.rig.reconcile()
        return self.rig.shares().get("a", 0.0)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    rig = Rig(EQUAL, now=time.monotonic()).up()
    rig.reconciler.overrides = SLOW
    rig.reconciler.ramps = SLOW.ramps(rig.now)
    rig.reconcile()
    return Scene(tmp_path, rig)


def part(percent: int) -> float:
    return percent / (100 + percent)


def test_share_grows_step_by_step_and_the_start_is_forgotten_at_its_end(scene: Scene) -> None:
    shares = [scene.at(seconds) for seconds in (0, 5, 15, 45, 85, 91)]
    assert shares == pytest.approx([part(percent) for percent in (10, 10, 20, 50, 90, 100)], abs=0.001)
    assert scene.rig.reconciler.overrides == NOTHING_SAID
    assert scene.rig.reconciler.ramps == {}
    news = scene.news
    scene.at(200)
    assert scene.news == news


def test_start_begins_when_the_backend_takes_connections_and_anew_after_it_was_down(scene: Scene) -> None:
    scene.at(45)
    scene.rig.fail("a")
    scene.at(46)
    scene.at(80)
    assert scene.rig.reconciler.overrides.slow_starts["p/a"].began_s is None
    scene.rig.probe(HEALTHY, "a", times=3)
    assert scene.at(81) == pytest.approx(part(10), abs=0.001)
    scene.at(82)
    assert scene.at(133) == pytest.approx(part(60), abs=0.001)


def test_start_goes_on_where_the_clock_is_when_the_daemon_was_restarted(scene: Scene, tmp_path: Path) -> None:
    scene.at(0)
    before = scene.at(41)
    again = scene.rig.restarted()  # five seconds later
    resumed = Scene(tmp_path, again)
    assert again.reconcile().is_empty
    assert again.shares()["a"] == pytest.approx(before)
    resumed.began_s = scene.began_s
    assert resumed.at(61) == pytest.approx(part(70), abs=0.001)


def test_start_begins_anew_after_a_reboot_whatever_the_clock_of_the_boot_before_said(tmp_path: Path) -> None:
    for began_s in (10.0, 990.0, 1e6):
        overrides = Overrides(slow_starts={"p/a": SlowStart(span_s=SPAN_S, began_s=began_s)})
        rig = Rig(EQUAL, dataplane=FakeDataplane(), overrides=overrides, now=1000.0)
        scene = Scene(tmp_path, rig)
        rig.probe(HEALTHY, times=3)
        rig.reconcile()
        assert scene.at(0) == pytest.approx(part(10), abs=0.001)
        assert scene.at(50) == pytest.approx(part(60), abs=0.001)


def test_start_of_a_backend_that_left_the_file_begins_anew_when_the_file_is_taken_back(scene: Scene) -> None:
    scene.at(45)
    scene.rig.reconciler.declare(declared("b address=192.0.2.12"), now=scene.rig.now)
    scene.at(46)
    assert scene.ramping.advance(now=scene.rig.now) is False
    scene.rig.reconciler.declare(EQUAL, now=scene.rig.now)
    scene.rig.meet_all()
    scene.rig.probe(HEALTHY, "a", times=3)
    assert scene.at(300) == pytest.approx(part(10), abs=0.001)
    scene.at(301)
    assert scene.at(351) == pytest.approx(part(60), abs=0.001)
    scene.at(392)
    assert scene.rig.reconciler.overrides == NOTHING_SAID


def test_start_is_over_when_the_backend_is_drained_or_enabled_without_one(scene: Scene) -> None:
    assert with_override(SLOW, "p/a", to=Override.DRAINED).slow_starts == {}
    assert with_override(SLOW, "p/a", to=None) == NOTHING_SAID
    assert with_override(SLOW, "p/b", to=None) == SLOW


def test_loop_lets_a_share_grow_while_the_disk_refuses_and_saves_when_it_can(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbctl.daemon.ramping.TICK_S", 0.0)
    facts = Facts(started=0.0, config=tmp_path / "f", director=EQUAL.director)
    obstacle = tmp_path / "overrides.next"
    obstacle.mkdir()

    async def play() -> None:
        looping = asyncio.create_task(scene.ramping.ramp_forever(asyncio.Lock(), facts))
        async with asyncio.timeout(10):
            while not facts.last_error:  # noqa: ASYNC110 (the loop has no event for a test)
                await asyncio.sleep(0)
            assert "cannot be written" in facts.last_error
            obstacle.rmdir()
            while scene.store.load() == NOTHING_SAID:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # the pause between two looks
        looping.cancel()
        with suppress(asyncio.CancelledError):
            await looping

    asyncio.run(play())
    assert scene.store.load().slow_starts["p/a"].began_s is not None


# By command -----------------------------------------------------------------------------------------------------------


def test_enable_with_a_slow_start_says_so_and_begins_with_a_tenth(tmp_path: Path) -> None:
    desk = Desk(tmp_path, EQUAL)
    desk.hear(desk.operator.drain(named("p/a")))
    told = desk.hear(desk.operator.enable(named("p/a"), slow_start_s=60.0))
    assert told == "p/a enabled; its share grows for 60 s from when it takes connections"
    row = desk.backends()["a"]
    assert (row.slow_start_percent, row.effective_weight) == (10, 10.0)
    assert row.share == pytest.approx(part(10), abs=0.001)
    assert OverrideStore(tmp_path).load().slow_starts == {"p/a": SlowStart(span_s=60.0)}
    assert desk.hear(desk.operator.enable(named("p/a"))) == "p/a enabled"
    assert (desk.backends()["a"].slow_start_percent, desk.backends()["a"].effective_weight) == (None, 100.0)


def test_enable_with_a_slow_start_where_one_backend_has_all_is_none(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", "b", keys="policy: failover"))
    desk.hear(desk.operator.drain(named("p/a")))
    told = desk.hear(desk.operator.enable(named("p/a"), slow_start_s=60.0))
    assert "no slow start in pool p, where one backend has all connections" in told
    assert OverrideStore(tmp_path).load() == Overrides()
