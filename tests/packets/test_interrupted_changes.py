"""A change is cut off after each of its steps, by SIGKILL: packets go on as they should, and the next start makes it whole."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lbctl.core.model import Declaration
from lbctl.core.plan import diff
from lbctl.core.tables import Tables
from lbctl.daemon.reconcile import Reconciler
from lbctl.dataplane.kernel import KernelDataplane
from tests.packets.interrupting import (
    AFTER,
    BEFORE,
    Client,
    clients,
    declared,
    director,
    killed_after,
    mac_of,
    meaning,
    meet,
    open_flows,
    taker,
)
from tests.packets.rig import Rig
from tests.tables import dangers

FILES = {"before": declared(BEFORE), "after": declared(AFTER)}
MACS = {mac_of(backend.address) for file in FILES.values() for backend in file.backends()}
LEAST_STEPS = 20


def about_to_change(rig: Rig) -> tuple[Reconciler, KernelDataplane, Mapping[Client, bytes]]:
    """A director of the file before, with live flows, that has just been told of the file after; its data plane, and the
    flows' servers."""
    rig.forget()
    rig.hold(Tables())
    dataplane = KernelDataplane(rig.loaded, rig.pins)
    director(FILES["before"], rig, dataplane=dataplane).reconcile(now=0.0)
    flows = open_flows(rig, FILES["before"])
    reconciler = director(FILES["before"], rig, dataplane=dataplane)
    reconciler.declare(FILES["after"], now=0.0)
    meet(reconciler)
    return reconciler, dataplane, flows


def check_packets(rig: Rig, flows: Mapping[Client, bytes], *, ports: range) -> None:
    """Live flows keep their servers; new ones go to servers that are declared, or were; who is served by both files, is."""
    assert {client: taker(rig, client.next()) for client in flows} == flows
    before, after = (set(clients(file, ports=ports)) for file in FILES.values())
    found = {client: taker(rig, client.first()) for client in before | after}
    assert {mac for mac in found.values() if mac is not None} <= MACS
    assert [client for client in before & after if found[client] is None] == []


def started(rig: Rig, file: Declaration) -> Reconciler:
    """What a daemon that starts with this file makes of what it finds."""
    reconciler = director(file, rig)
    reconciler.reconcile(now=0.0)
    return reconciler


def uninterrupted(rig: Rig, file: Declaration) -> dict[str, object]:
    """What the tables mean in the end if nobody cuts anything off."""
    about_to_change(rig)
    started(rig, file)
    return meaning(rig.dataplane.read(), file)


@pytest.mark.parametrize("next_file", list(FILES))
def test_change_interrupted_at_every_step_is_safe_and_the_next_start_converges(rig: Rig, next_file: str) -> None:
    """``next_file``: the configuration that the next start finds, the one before the change or the one after."""
    file = FILES[next_file]
    with rig.elsewhere():
        expected = uninterrupted(rig, file)
        count = len(about_to_change(rig)[0].plan(now=0.0)[0].steps)
        assert count >= LEAST_STEPS
        for done in range(count):
            reconciler, dataplane, flows = about_to_change(rig)
            killed_after(done, reconciler, dataplane)
            assert dangers(rig.dataplane.read()) == []
            check_packets(rig, flows, ports=range(40_000, 40_004))
            again = started(rig, file)
            assert meaning(rig.dataplane.read(), file) == expected, f"after {done} of {count} steps"
            assert again.plan(now=0.0)[0].is_empty
            assert diff(rig.dataplane.read(), again.current).is_empty
            assert {client: taker(rig, client.next()) for client in flows} == flows
    print(f"{count} steps, cut off after each")
