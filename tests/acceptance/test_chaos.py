"""The seeded fault run: a short one, a long one for ``make long``, and proofs that it tells what it is there to tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbctl.core.ids import identity
from lbctl.core.tables import id_of
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.layout import MAPS, sized
from lbctl.dataplane.maps import HashMap, shared_array
from lbctl.lab.chaos import kerneltables
from lbctl.lab.chaos.holders import ALL
from lbctl.lab.chaos.run import Run, lab_plan, set_stage
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.steps import steps
from lbctl.lab.chaos.world import TCP_FLOWS, UDP_FLOWS, VIPS, World, first_world
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until
from tests.netns.pinned import PinnedBackends

pytestmark = pytest.mark.alone

SHORT = {"seed": 4638, "steps": 16, "sessions": 100}
"""Of many kinds, each of the operator's words among them, a death and a drain of who is active alone, and few starts of the
daemon, which take the most time."""
LONG = {"seed": 2024, "steps": 300, "sessions": 550}


@contextmanager
def running(*, seed: int, sessions: int) -> Iterator[Run]:
    """A run whose connections are open."""
    with Lab(lab_plan()) as lab, set_stage(lab, seed=seed, sessions=sessions, say=print) as run:
        run.open(print)
        yield run


def run_through(*, seed: int, steps_: int, sessions: int) -> Run:
    with running(seed=seed, sessions=sessions) as run:
        for step in steps(seed, steps_):
            if not run.take(step):
                break
        else:
            run.close()
        print(f"{run.tally.taken.total()} steps, {run.ledger.fates}, {run.ledger.visits}")
    assert run.tally.failures == [], run.tally.log_tail
    return run


def test_chaos_short_run_breaks_no_protected_connection_and_leaks_nothing() -> None:
    run = run_through(seed=SHORT["seed"], steps_=SHORT["steps"], sessions=SHORT["sessions"])
    assert len(run.tally.taken) > 10
    assert {Kind.ACTIVATE, Kind.WEIGHT, Kind.ASSIGN} <= run.tally.taken.keys()
    assert set(run.ledger.chronicle.holders.known) == ALL
    assert run.ledger.receivers.heard > SHORT["sessions"]
    assert run.ledger.fates["kept to their end"] >= SHORT["sessions"]
    assert run.ledger.visits["succeeded"] > 10
    assert run.tally.last is not None


@pytest.mark.long
def test_chaos_long_run_breaks_no_protected_connection_and_leaks_nothing() -> None:
    run = run_through(seed=LONG["seed"], steps_=LONG["steps"], sessions=LONG["sessions"])
    assert run.tally.taken.keys() == set(Kind)
    assert sorted(run.crowd.held)[len(run.crowd.held) // 2] >= 500


# That it can fail ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run() -> Iterator[Run]:
    with running(seed=1, sessions=60) as started:
        yield started


def quiet_step(before: World, number: int = 1) -> Step:
    """One that touches nobody's connection."""
    after = replace(before, drops_wrong_ports=not before.drops_wrong_ports)
    return Step(number=number, kind=Kind.CHANGE, words="nothing much", before=before, after=after)


def flows_of(pins: Path) -> HashMap:
    """The table of the size that the run's file asks for."""
    spec = sized(tcp_flows=TCP_FLOWS, udp_flows=UDP_FLOWS, has_ipv6=True)["lb_flows_tcp4"]
    return HashMap(bpf.open_pin(loader.pin_path("lb_flows_tcp4", spec, pins)), spec)


def feed_until_breach(run: Run) -> str:
    def told() -> bool:
        run.crowd.feed(run.ledger)
        return bool(run.ledger.breaches)

    wait_until(told, deadline_s=60, what="the ledger to tell")
    return run.ledger.breaches[0]


def test_chaos_flow_entries_that_somebody_deletes_are_told_as_broken_connections(run: Run) -> None:
    """The member has no slot any more, so a connection that is forgotten is picked up by another server."""
    world, pins = first_world(), run.stage.daemon.pins
    pool = world.pools["p2"]
    members = {**pool.members, "m1": replace(pool.members["m1"], weight=0)}
    after = world.with_pool("p2", replace(pool, members=members))
    assert run.take(Step(number=1, kind=Kind.CHANGE, words="weight", before=world, after=after))
    flows, backends = flows_of(pins), PinnedBackends(pins)
    address = next(node.address for node in run.stage.lab.backends if node.name == "backend4")
    for keys, entries in flows.batches():
        its = np.array([backends.address_of(ref) == address for ref in entries["backend"].tolist()])
        flows.remove_all(keys[its])
    words = feed_until_breach(run)
    assert "(backend4, as p2/m1) is " in words
    assert not run.take(quiet_step(after, 2))


def test_chaos_slots_that_somebody_overwrites_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbctl.lab.chaos.run.SETTLED_WITHIN_S", 3.0)
    pins = run.stage.daemon.pins
    fd = bpf.open_pin(loader.pin_path("lb_slots", MAPS["lb_slots"], pins))
    slots = shared_array(fd, MAPS["lb_slots"])
    owners = {id_of(int(ref)) for ref in np.unique(slots[slots > 0])}
    assert len(owners) > 1
    slots[: first_table_size(run)] = slots[0]
    world = first_world()
    cable = Step(number=1, kind=Kind.SERVER_CABLE, words="backend4", before=world, after=world, node="backend4")
    assert not run.take(cable)
    assert "p1 has slots" in run.tally.failures[0]
    assert "server's cable out and in: backend4" in run.tally.failures[0]


def first_table_size(run: Run) -> int:
    held = kerneltables.read(run.stage.daemon.pins, vips=VIPS)
    return sum(held.slots[identity("p1")].values())


def test_chaos_connection_that_breaks_for_no_reason_is_told_with_its_step(run: Run) -> None:
    assert run.take(quiet_step(first_world()))
    run.crowd.cut(1)
    words = feed_until_breach(run)
    assert "is reset: the client itself did it, for a proof" in words
    assert words.endswith("into step 1, change of the file: nothing much")
