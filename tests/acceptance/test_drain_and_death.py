"""Backends that leave: drained in the middle of a store, killed, unplugged, without the VIP, or full."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from lbctl.lab import dicom
from lbctl.lab.archives import AE_TITLE, DICOM_PORT
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.studies import Study
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance.stage import (
    DETECTION_S,
    PEER,
    POOL,
    ArchiveStage,
    HeldAssociation,
    backends_by_name,
    backends_of,
    new_connections,
    slots_by_backend,
    wait_state,
)

MOST_ASSOCIATIONS = 2
IN_A_ROW = 20
"""So many successes in a row are not luck while a third of the connections would fail."""


def test_store_of_400_images_survives_the_drain_of_its_archive(archives: ArchiveStage, long_study: Study) -> None:
    known = archives.count_instances()
    store = archives.store(archives.clients[0], long_study.files, name="drained")
    wait_until(lambda: store.stored >= store.count // 2, deadline_s=60, what="half of the store")
    drained = archives.serving(archives.clients[0])
    archives.daemon.ctl("drain", f"{POOL}/{drained}")
    at_drain = store.stored
    before = new_connections(archives.daemon)[drained]
    echoes = [dicom.echo(node, PEER).succeeded for node in archives.clients * 2]
    went_there = new_connections(archives.daemon)[drained] - before
    row = backends_by_name(archives.daemon)[drained]
    was_running = store.is_running
    result = store.wait()

    assert at_drain < store.count
    assert was_running  # through all of the echoes
    assert (row.state, row.reason) == ("draining", "drained by an operator")
    assert (all(echoes), went_there) == (True, 0)
    assert result.succeeded  # exit code 0, and every instance acknowledged
    assert store.stored == store.count == 400
    assert archives.count_instances() - known == 400
    print(f"drained at image {at_drain} of 400, all stored; of {len(echoes)} associations after that, 0 went there")


def kill_process(archives: ArchiveStage, name: str) -> None:
    """Its kernel goes on, and refuses connections."""
    archives.archives[name].kill()


def freeze_process(archives: ArchiveStage, name: str) -> None:
    """Its kernel goes on, and accepts connections that nobody serves."""
    archives.archives[name].freeze()


def unplug(archives: ArchiveStage, name: str) -> None:
    """Not a word comes from it any more."""
    archives.lab.cut(archives.lab.node(name))


@pytest.fixture
def victim(archives: ArchiveStage) -> Iterator[str]:
    """The archive that a test takes down in whatever way."""
    name = "backend2"
    yield name
    archives.archives[name].thaw()
    archives.lab.mend(archives.lab.node(name))


@pytest.mark.parametrize("take_down", [kill_process, freeze_process, unplug])
def test_associations_succeed_elsewhere_after_an_archive_died(
    archives: ArchiveStage, victim: str, executor: ThreadPoolExecutor, take_down: Callable[[ArchiveStage, str], None]
) -> None:
    died = time.monotonic()
    take_down(archives, victim)
    out_of_slots = executor.submit(_wait_without_slots, archives, victim)
    failed_at = _echo_until_all_succeed(archives.clients)
    out_of_slots_s = out_of_slots.result() - died
    before = new_connections(archives.daemon)[victim]
    echoes = [dicom.echo(node, PEER).succeeded for node in archives.clients * 4]
    row = backends_by_name(archives.daemon)[victim]

    assert all(echoes)
    assert new_connections(archives.daemon)[victim] == before
    assert row.state in ("down", "unresolved")
    last_s = max(failed_at, default=died) - died
    print(
        f"out of the slots {out_of_slots_s:.2f} s after its death (fall × interval + time-out is {DETECTION_S:g} s); "
        f"{len(failed_at)} associations failed, the last began after {last_s:.2f} s; then {row.state}: {row.reason}"
    )


def test_backend_without_the_vip_is_down_with_that_reason_until_it_is_back(archives: ArchiveStage) -> None:
    node = archives.lab.backends[1]
    began = time.monotonic()
    node.remove_vip(VIP)
    try:
        row = wait_state(archives.daemon, node.name, "down", deadline_s=5 * (DETECTION_S + 2))
        down_s = time.monotonic() - began
        assert row.reason.startswith("VIP not accepted")
        assert row.reason.endswith(f"put {VIP} on the backend's loopback")
        assert all(dicom.echo(client, PEER).succeeded for client in archives.clients * 2)
    finally:
        node.add_vip(VIP)
    began = time.monotonic()
    wait_state(archives.daemon, node.name, "up", deadline_s=30)
    up_s = time.monotonic() - began
    assert slots_by_backend(archives.daemon, archives.lab)[node.name] > 0
    print(f"down after {down_s:.2f} s: {row.reason}; up {up_s:.2f} s after the VIP was back")


@pytest.fixture
def small_archives() -> Iterator[tuple[Lab, Daemon]]:
    """Two DCMTK archives that take two associations each."""
    with Lab(plan_lab(backends=2, clients=1)) as lab:
        for node in lab.backends:
            _start_dcmqrscp(lab, node)
        daemon = Daemon(lab, config=_small_configuration(lab))
        daemon.start()
        daemon.wait_states("small", {node.name: "up" for node in lab.backends})
        yield lab, daemon


def test_backend_at_its_association_limit_is_busy_and_stays_in_the_slots(small_archives: tuple[Lab, Daemon]) -> None:
    lab, daemon = small_archives
    names = [node.name for node in lab.backends]
    share = slots_by_backend(daemon, lab)
    with ExitStack() as held:
        _take_all_associations(held, lab.clients[0], count=MOST_ASSOCIATIONS * len(names))
        rows = [wait_state(daemon, name, "busy", deadline_s=20) for name in names]
        assert all("local limit exceeded" in row.reason for row in rows)
        assert slots_by_backend(daemon, lab) == share
    for name in names:
        wait_state(daemon, name, "up", deadline_s=20)
    print(f"busy, with its share of new connections kept ({rows[0].share:.0%}): {rows[0].reason}")


def _wait_without_slots(archives: ArchiveStage, name: str) -> float:
    """The moment at which the kernel no longer sends new connections there."""
    wait_until(
        lambda: slots_by_backend(archives.daemon, archives.lab)[name] == 0,
        deadline_s=5 * DETECTION_S,
        what=lambda: f"{name} to be out of the slots\n{archives.daemon.log_tail()}",
    )
    return time.monotonic()


def _echo_until_all_succeed(clients: tuple[Node, ...]) -> list[float]:
    """Associate again and again until enough attempts in a row succeed; when those began that failed."""
    failed_at: list[float] = []
    in_a_row = 0
    deadline = time.monotonic() + 10 * DETECTION_S
    while in_a_row < IN_A_ROW:
        began = time.monotonic()
        assert began < deadline, f"{len(failed_at)} associations failed"
        if _associates(clients[in_a_row % len(clients)]):
            in_a_row += 1
        else:
            in_a_row = 0
            failed_at.append(began)
    return failed_at


def _associates(client: Node) -> bool:
    """Whether an association is accepted, answers an echo and is released, each within a second."""
    try:
        return HeldAssociation(client, PEER, timeout_s=1.0).echo_and_release()
    except OSError:
        return False


def _take_all_associations(held: ExitStack, client: Node, *, count: int) -> None:
    """Open so many associations, wherever the director sends them, and hold them. What is refused was sent to a server
    that is full, and tried again from another port."""
    accepted = 0
    deadline = time.monotonic() + 30
    while accepted < count:
        assert time.monotonic() < deadline, f"{accepted} of {count} associations were accepted"
        association = HeldAssociation(client, PEER)
        held.callback(association.drop)
        accepted += association.is_open


def _start_dcmqrscp(lab: Lab, node: Node) -> None:
    database = lab.directory / f"{node.name}-database"
    database.mkdir()
    file = lab.directory / f"{node.name}.cfg"
    file.write_text(
        f"NetworkTCPPort = {DICOM_PORT}\nMaxPDUSize = 16384\nMaxAssociations = {MOST_ASSOCIATIONS}\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{AE_TITLE} {database} RW (9, 64mb) ANY\nAETable END\n"
    )
    node.popen(["dcmqrscp", "-c", file])
    wait_until(lambda: node.listens_on(DICOM_PORT), deadline_s=20, what=f"the archive of {node.name}")


def _small_configuration(lab: Lab) -> str:
    check = f"type: dicom-echo, called_ae: {AE_TITLE}, interval: 500ms, timeout: 400ms, fall: 2, rise: 2"
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/24}}
services:
  pacs: {{vip: {VIP}, ports: [{DICOM_PORT}], pool: small}}
pools:
  small: {{kind: archive, storage: shared, check: {{{check}}}, backends: {backends_of(lab)}}}
"""
