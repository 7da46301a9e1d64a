"""The data plane does not depend on the daemon: it may die in full traffic, and comes back without changing anything."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lbctl.lab import dicom
from lbctl.lab.daemon import Daemon
from lbctl.lab.studies import Study, compare, generate_study
from lbctl.lab.wait import wait_until
from tests.acceptance.stage import (
    AT_A_TIME,
    PEER,
    POOL,
    ArchiveStage,
    HeldAssociation,
    backends_by_name,
    flows_of,
    pinned,
    status_of,
)

STORES = 50
IMAGES_EACH = 4
ASSOCIATIONS = 12


def test_daemon_killed_during_50_stores_and_a_retrieval_breaks_none(
    archives: ArchiveStage, stored_study: Study, tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    fresh = generate_study(tmp_path / "ct", seed=73, instances=STORES * IMAGES_EACH)
    known = archives.count_instances()
    received = tmp_path / "received"
    retrieval = _start_retrieval(archives, stored_study, received)
    wait_until(lambda: _count(received) >= 40, deadline_s=60, what="the first images of the retrieval")
    retrieval.send_signal(signal.SIGSTOP)  # the archive has plenty left to send: it waits in mid-image
    stores = _start_stores(archives, fresh, executor)
    wait_until(lambda: _count_done(stores) >= STORES // 5, deadline_s=60, what="ten stores")
    archives.daemon.kill()
    stored_at_kill, received_at_kill = _count_done(stores), _count(received)
    retrieval.send_signal(signal.SIGCONT)
    failed = [result.output[-1000:] for result in (store.result() for store in stores) if not result.succeeded]

    assert retrieval.wait(timeout=60) == 0
    assert failed == []
    assert stored_at_kill < STORES - AT_A_TIME  # so most of the others began without a daemon
    assert received_at_kill < len(stored_study.files)
    assert not archives.daemon.is_running
    assert archives.count_instances() - known == len(fresh.files)
    assert compare(stored_study, received.iterdir()).is_complete
    print(
        f"killed after {stored_at_kill} of {STORES} stores and {received_at_kill} of {len(stored_study.files)} images of "
        f"the retrieval: 0 stores failed, every image arrived, new associations went on without the daemon"
    )


@contextmanager
def all_up(archives: ArchiveStage) -> Iterator[dict[str, str]]:
    """Nothing is the matter. The states of the archives by name."""
    yield dict.fromkeys(archives.archives, "up")


@contextmanager
def one_drained_one_dead(archives: ArchiveStage) -> Iterator[dict[str, str]]:
    """An operator drained one, and another does not answer."""
    states = {"backend1": "draining", "backend2": "up", "backend3": "down"}
    archives.daemon.ctl("drain", f"{POOL}/backend1")
    archives.archives["backend3"].freeze()
    try:
        archives.daemon.wait_states(POOL, states)
        yield states
    finally:
        archives.archives["backend3"].thaw()


@pytest.mark.parametrize("circumstances", [all_up, one_drained_one_dead])
def test_daemon_restarted_changes_nothing_and_keeps_every_flow(
    archives: ArchiveStage, circumstances: Callable[[ArchiveStage], AbstractContextManager[dict[str, str]]]
) -> None:
    daemon = archives.daemon
    with ExitStack() as held:
        associations = [HeldAssociation(node, PEER) for node in archives.clients * (ASSOCIATIONS // 3)]
        for association in associations:
            held.callback(association.drop)
        with circumstances(archives) as states:
            flows, tables, generation = flows_of(daemon), _tables(daemon), status_of(daemon).daemon.generation
            daemon.kill()
            ready_s = daemon.start()
            wait_until(lambda: _all_probed(daemon), deadline_s=20, what="the first probe of every backend")
            changed = {name for name, before in tables.items() if (pinned(daemon, name) != before).any()}
            flows_now = flows_of(daemon)
            after = status_of(daemon).daemon.generation
            assert {name: row.state for name, row in backends_by_name(daemon).items()} == states

        assert after == generation  # an empty plan: not a single write
        assert changed == set()
        assert {association.end for association in associations} <= flows.keys()
        assert {end: flows_now.get(end) for end in flows} == flows
        assert all(association.echo_and_release() for association in associations)
    print(
        f"ready again after {ready_s:.2f} s, generation {generation} as before, all {len(flows)} flows kept, "
        f"{len(associations)} open associations went on; archives were {states}"
    )


def _start_retrieval(archives: ArchiveStage, study: Study, into: Path) -> subprocess.Popen[str]:
    """A C-GET of the study."""
    into.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study.study_uid}"]
    argv: list[str | Path] = ["getscu", "-S", *keys, "-od", into, *PEER.arguments()]
    return archives.clients[2].popen(argv, environment=dicom.FAST)


def _start_stores(
    archives: ArchiveStage, study: Study, executor: ThreadPoolExecutor
) -> list[Future[dicom.Association]]:
    """So many associations with a few images each, as many at a time as the executor has threads."""

    def store(number: int) -> dicom.Association:
        files = study.files[number * IMAGES_EACH : (number + 1) * IMAGES_EACH]
        return archives.store(archives.clients[number % 2], files, name=f"one-of-many-{number}").wait()

    return [executor.submit(store, number) for number in range(STORES)]


def _count_done(stores: list[Future[dicom.Association]]) -> int:
    return sum(store.done() for store in stores)


def _count(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir())


def _tables(daemon: Daemon) -> Mapping[str, NDArray[np.void]]:
    """What the program decides by, as the kernel holds it."""
    return {name: pinned(daemon, name).copy() for name in ("lb_slots", "lb_pools", "lb_backends", "lb_services")}


def _all_probed(daemon: Daemon) -> bool:
    return all(
        row.probe_latency_s is not None or (row.state == "down" and "not probed yet" not in row.reason)
        for row in backends_by_name(daemon).values()
    )
