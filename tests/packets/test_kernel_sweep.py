"""The real data plane's sweep, and the flows it tells of."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from lbctl.core.model import Protocol
from lbctl.core.tables import Tables, reference
from lbctl.dataplane.layout import FLOW, FLOW_KEY4, FlowState
from lbctl.dataplane.port import IdleLimits
from tests.packets.cases import USUAL
from tests.packets.frames import CLIENT, forwarded, tcp, udp
from tests.packets.rig import VIP, Rig

LIMITS = IdleLimits(open_s={1: 3600.0, 2: 30.0}, default_s=600.0, closing_s=120.0, reset_s=10.0)


def put_flows(rig: Rig, count: int, seed: int) -> dict[int, tuple[int, float, int, int]]:
    """Random flows in both tables: by client port, (backend reference, idle seconds, state, service). No idle time is
    nearer than five seconds to a limit."""
    draw, now, hz = random.Random(seed), rig.clock.jiffies(), rig.clock.hz
    found = {}
    keys, values = np.zeros(count, FLOW_KEY4), np.zeros(count, FLOW)
    for i in range(count):
        backend = draw.choice([reference(1, 7)] * 4 + [reference(2, 7), reference(2, 6), reference(9, 1), 0])
        idle_s, state = draw.choice([0, 4, 15, 25, 35, 110, 130, 590, 610, 3590, 3610]), draw.choice(list(FlowState))
        service = draw.choice([1, 2, 3])
        keys[i] = (int(CLIENT), int(VIP), 1000 + i, 104, 0)
        values[i] = (backend, now - idle_s * hz & 0xFFFFFFFF, service, state, 0, 0, 0, 0)
        found[1000 + i] = (backend, float(idle_s), int(state), service)
    half = count // 2
    rig.flows["lb_flows_tcp4"].set_all(keys[:half], values[:half])
    rig.flows["lb_flows_udp4"].set_all(keys[half:], values[half:])
    return found


def is_due(backend: int, idle_s: float, state: int, service: int, *, live: set[int]) -> bool:
    """The rule in plain words: the backend is gone, or the flow was idle for longer than its service and state allow."""
    limit = {1: 3600.0, 2: 30.0}.get(service, 600.0)
    limit = {FlowState.OPEN: limit, FlowState.CLOSING: min(limit, 120.0), FlowState.RESET: min(limit, 10.0)}[
        FlowState(state)
    ]
    return backend not in live or idle_s > limit


@pytest.mark.parametrize("seed", range(3))
def test_sweep_deletes_exactly_what_is_due(rig: Rig, seed: int) -> None:
    rig.hold(USUAL.tables)
    flows = put_flows(rig, 20_000, seed)
    live = {reference(number, 7) for number in (1, 2, 3)}
    kept = {port: flow for port, flow in flows.items() if not is_due(*flow, live=live)}

    swept = rig.dataplane.sweep(LIMITS)

    assert swept.expired == len(flows) - len(kept)
    assert swept.flows == {ref: sum(flow[0] == ref for flow in kept.values()) for ref in live if ref != reference(3, 7)}
    assert swept.vips == {VIP: len(kept)}
    found = rig.dataplane.flows(limit=1 << 20)
    assert {flow.client_port: flow.backend for flow in found} == {port: flow[0] for port, flow in kept.items()}
    assert all(abs(flow.idle_s - kept[flow.client_port][1]) < 5 for flow in found)
    assert rig.dataplane.sweep(LIMITS).expired == 0


def test_sweep_ends_the_flows_of_a_freed_backend_and_of_no_other(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    for port in range(50_000, 50_300):
        rig.run(udp(client_port=port))
    before = rig.dataplane.sweep(LIMITS).flows
    rows_left = {number: row for number, row in USUAL.tables.backends.items() if number != 2}

    rig.hold(replace(USUAL.tables, backends=rows_left, slots=replace_owner(USUAL.tables, 2, by=1)))
    after = rig.dataplane.sweep(LIMITS)

    assert after.expired == before[reference(2, 7)]
    assert after.flows == {ref: count for ref, count in before.items() if ref != reference(2, 7)}


def replace_owner(tables: Tables, number: int, *, by: int) -> dict[int, np.ndarray[tuple[int], np.dtype[np.uint32]]]:
    """The slots with one backend's given to another."""
    gone, heir = tables.reference(number), tables.reference(by)
    return {pool: np.where(slots == gone, np.uint32(heir), slots) for pool, slots in tables.slots.items()}


def test_flows_are_told_as_they_are_and_no_more_than_asked_for(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    rig.run(tcp("FA"))
    for port in range(50_000, 50_010):
        rig.run(udp(client_port=port))

    (first, *rest) = rig.dataplane.flows(limit=4)

    assert len(rest) == 3
    assert (first.protocol, first.client, first.client_port) == (Protocol.TCP, CLIENT, 40_000)
    assert (first.vip, first.vip_port, first.state) == (VIP, 104, "closing")
    assert rig.run(tcp("A")).data == forwarded(tcp("A"), first.backend & 0xFFFF)
    assert 0 <= first.idle_s < 10


def test_flows_of_one_backend_are_found_among_all_the_others(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    for port in range(50_000, 50_060):
        rig.run(tcp("A", client_port=port))
    counts = rig.flow_backends()
    ref, count = min(counts.items(), key=lambda item: item[1])

    found = rig.dataplane.flows(limit=1000, references=[ref])

    assert (len(found), {flow.backend for flow in found}) == (count, {ref})
    assert len(rig.dataplane.flows(limit=2, references=[ref])) == 2
    assert rig.dataplane.flows(limit=9, references=[]) == []


@pytest.mark.parametrize("gone", [[0], [3], [9], [0, 1, 2], [2, 5, 8, 9], list(range(10))])
def test_deleting_many_entries_goes_on_behind_those_that_are_gone(rig: Rig, gone: list[int]) -> None:
    table = rig.flows["lb_flows_tcp4"]
    keys, values = np.zeros(10, FLOW_KEY4), np.zeros(10, FLOW)
    keys["client_port"] = range(10)
    table.set_all(keys, values)
    for i in gone:
        table.remove_all(keys[i : i + 1])

    table.remove_all(keys)

    assert sum(len(found) for found, _ in table.batches()) == 0


def test_sweep_leaves_a_flow_that_came_back_to_life_meanwhile(rig: Rig) -> None:
    keys, flows = np.zeros(3, FLOW_KEY4), np.zeros(3, FLOW)
    keys["client_port"] = [1, 2, 3]
    rig.flows["lb_flows_tcp4"].set_all(keys, flows)
    touched = flows[1:2].copy()
    touched["last_seen"] = 1
    rig.flows["lb_flows_tcp4"].set_all(keys[1:2], touched)
    assert rig.flows["lb_flows_tcp4"].remove_unchanged(keys, flows).tolist() == [True, False, True]
    ((left, _),) = rig.flows["lb_flows_tcp4"].batches()
    assert left["client_port"].tolist() == [2]
