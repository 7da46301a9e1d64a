"""Acts with archives: one is drained and removed, one fails its checks, and all the while a store is in progress."""

from __future__ import annotations

from collections.abc import Callable

from lbctl.lab.demo.ledger import Phase
from lbctl.lab.demo.life.chorus import Chorus
from lbctl.lab.demo.life.configuration import ARCHIVES, WEB_PORT, configuration
from lbctl.lab.demo.life.stage import (
    Stage,
    expect_elsewhere,
    expect_stored,
    go_on,
    pause_at,
)
from lbctl.lab.demo.scene import undone_by
from lbctl.lab.dicom import Store
from lbctl.lab.lines import spread

_LINES = 40


def drain_and_remove(stage: Stage, phase: Phase) -> None:
    """An archive is drained at a third of a store, and taken out of the file at two thirds."""
    store = stage.store(stage.clients[0], stage.studies[0])
    phase.now("a modality stores a study in one association", _progress(store))
    stored = pause_at(store, store.count // 3)
    archive = stage.archive_of(store)
    callers = stage.clients[1:] * 3
    with stage.told("drain", "archives", archive):
        phase.now(f"{archive} is drained; new associations are made", _progress(store))
        state = stage.backend("archives", archive)["state"]
        phase.expect_equal(f"{archive} is drained at image {stored}", expected="draining", seen=state)
        expect_elsewhere(stage, phase, archive, callers=callers)
        go_on(store)
        removed_at = pause_at(store, 2 * store.count // 3)
    with stage.reloaded(configuration(stage.lab, archives=[name for name in ARCHIVES if name != archive])):
        phase.now(f"{archive} was removed from the file; the store goes on", _progress(store))
        removed = {row["name"]: row for row in stage.daemon.status()["removed"]}
        flows = removed.get(f"archives/{archive}", {}).get("connections", 0)
        phase.expect(
            flows >= 1,
            f"removed from the file at image {removed_at}, {archive} keeps its association",
            expected=1,
            seen=flows,
        )
        expect_elsewhere(stage, phase, archive, callers=callers)
        go_on(store)
        expect_stored(phase, store)
    stage.daemon.wait_states("archives", {archive: "up"})
    phase.result = (
        f"drained at image {stored}, removed at {removed_at}: all {store.stored} of {store.count} stored there"
    )


def fail_checks(stage: Stage, phase: Phase) -> None:
    """An archive no longer answers new associations, so it fails every C-ECHO; the store that it has goes on."""
    store = stage.store(stage.clients[0], stage.studies[1])
    phase.now("a modality stores a study in one association", _progress(store))
    stored = pause_at(store, store.count // 3)
    name = stage.archive_of(store)
    archive = stage.archives[name]

    def undo() -> None:
        archive.recover()
        stage.daemon.wait_states("archives", {name: "up"})

    archive.hang()
    with undone_by(undo):
        phase.now(f"{name} hangs: it still takes connections, and answers no C-ECHO", _progress(store))
        stage.daemon.wait_states("archives", {name: "down"})
        reason = stage.backend("archives", name)["reason"]
        phase.expect(True, f"{name} fails its checks at image {stored}", expected="down", seen=f"down: {reason}")
        expect_elsewhere(stage, phase, name, callers=stage.clients[1:] * 3)
        go_on(store)
        expect_stored(phase, store)
        state = stage.backend("archives", name)["state"]
        phase.expect_equal(f"and {name} is still down at its end", expected="down", seen=state)
    phase.result = f"down at image {stored}: all {store.stored} of {store.count} stored there, new ones elsewhere"


def restart(stage: Stage, phase: Phase) -> None:
    """The daemon is killed, started, reloaded, stopped and started while connections talk and a study is stored."""
    store = stage.store(stage.clients[0], stage.studies[2])
    with (
        undone_by(stage.ensure_directed),
        Chorus(stage.clients[1], port=WEB_PORT, count=_LINES) as chorus,
    ):
        phase.now(f"{_LINES} connections talk, and a modality stores", chorus.progress)
        stored = pause_at(store, store.count // 4)
        phase.now("the daemon is killed (SIGKILL)", chorus.progress)
        stage.daemon.kill()
        go_on(store)
        without = pause_at(store, 3 * store.count // 4)
        new = spread(stage.clients[0], 20, port=WEB_PORT).total()
        phase.expect_equal("without a daemon, new connections are served", expected=20, seen=new)
        phase.expect(
            without > stored, "and the store goes on", expected=f"beyond image {stored}", seen=f"to image {without}"
        )
        took_s = _change_everything(stage, phase, chorus.progress)
        go_on(store)
        expect_stored(phase, store)
    phase.expect_equal("no connection broke, and none was moved", expected=0, seen=chorus.faults)
    phase.fates["went on"] += _LINES - chorus.faults
    phase.fates["cut"] += chorus.faults
    phase.fates["served"] += new
    phase.result = (
        f"{chorus.messages:,} messages on {_LINES} connections: {chorus.faults} broken; daemon back in {took_s:.1f} s"
    )


def _change_everything(stage: Stage, phase: Phase, progress: Callable[[], str]) -> float:
    """Start after the crash, reload, stop, start. Return how long the first start took."""
    phase.now("the daemon starts and adopts what the kernel holds", progress)
    took_s = stage.start_daemon()
    phase.now("the configuration is reloaded", progress)
    with stage.reloaded(configuration(stage.lab, weights={"server1": 10})):
        pass
    phase.now("the daemon is stopped and started", progress)
    stage.daemon.stop()
    stage.start_daemon()
    return took_s


def _progress(store: Store) -> Callable[[], str]:
    return lambda: f"{store.stored} of {store.count} images"
