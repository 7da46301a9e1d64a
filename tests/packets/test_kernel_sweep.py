"""The real data plane's sweep, and the flows it tells of."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lbctl.core.model import Protocol
from lbctl.core.tables import Tables, reference
from lbctl.dataplane.addresses import address_field
from lbctl.dataplane.flows import PROTOCOLS
from lbctl.dataplane.layout import FLOW, FLOW_KEY4, FLOW_MAPS, MAPS, FlowState
from lbctl.dataplane.port import FlowEntry, IdleLimits
from tests.packets.cases import USUAL
from tests.packets.families import FAMILIES, IPV4, IPV6, Family
from tests.packets.frames import CLIENT, forwarded, tcp, udp
from tests.packets.rig import Rig
from tests.packets.world import VIP, VIP6

LIMITS = IdleLimits(open_s={1: 3600.0, 2: 30.0}, default_s=600.0, closing_s=120.0, reset_s=10.0)


def put_flows(rig: Rig, count: int, seed: int) -> dict[int, tuple[int, float, int, int]]:
    """Random flows in all tables: by client port, (backend reference, idle seconds, state, service). No idle time is
    nearer than five seconds to a limit."""
    draw, now, hz = random.Random(seed), rig.clock.jiffies(), rig.clock.hz
    found = {}
    values = np.zeros(count, FLOW)
    for i in range(count):
        backend = draw.choice([reference(1, 7)] * 4 + [reference(2, 7), reference(2, 6), reference(9, 1), 0])
        idle_s, state = draw.choice([0, 4, 15, 25, 35, 110, 130, 590, 610, 3590, 3610]), draw.choice(list(FlowState))
        service = draw.choice([1, 2, 3])
        values[i] = (backend, now - idle_s * hz & 0xFFFFFFFF, service, state, *bytes(len(FLOW.names or ()) - 4))
        found[1000 + i] = (backend, float(idle_s), int(state), service)
    for nth, name in enumerate(FLOW_MAPS):
        ports = np.arange(1000, 1000 + count)[nth :: len(FLOW_MAPS)]
        rig.flows[name].set_all(keys_of(FAMILIES[name.endswith("6")], ports.tolist()), values[nth :: len(FLOW_MAPS)])
    return found


def keys_of(family: Family, client_ports: list[int]) -> NDArray[Any]:
    """Of flows from the family's client to its VIP."""
    keys = np.zeros(len(client_ports), MAPS[f"lb_flows_tcp{family.version}"].key)
    keys["client"], keys["vip"] = address_field(family.client), address_field(family.vip)
    keys["client_port"], keys["vip_port"] = client_ports, 104
    return keys


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
    assert swept.vips == {
        vip: sum((port - 1000) % 4 in nths for port in kept) for vip, nths in ((VIP, (0, 1)), (VIP6, (2, 3)))
    }
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


# Both families -------------------------------------------------------------------------------------------------------


def the_flow(rig: Rig) -> FlowEntry:
    """The only one."""
    (found,) = rig.dataplane.flows(limit=9)
    return found


@pytest.mark.parametrize("family", FAMILIES, ids=("ipv4", "ipv6"))
def test_flow_tells_how_many_bytes_went_each_way(rig: Rig, family: Family) -> None:
    rig.hold(USUAL.tables)
    wrapping = (1 << 32) - 500
    rig.run(family.tcp("A", seq=wrapping, ack=7))
    assert (the_flow(rig).sent, the_flow(rig).returned) == (0, 0)

    rig.run(family.tcp("A", seq=wrapping, ack=7, data=bytes(1000)))
    rig.run(family.tcp("A", seq=500, ack=1_000_007))

    flow = the_flow(rig)
    assert (flow.client, flow.vip, flow.protocol) == (family.client, family.vip, Protocol.TCP)
    assert (flow.sent, flow.returned) == (1000, 1_000_000)


@pytest.mark.parametrize("family", FAMILIES, ids=("ipv4", "ipv6"))
def test_clients_of_a_backend_that_is_given_up_are_told_of_and_their_flows_end_soon(rig: Rig, family: Family) -> None:
    rig.hold(USUAL.tables)
    rig.run(family.tcp("A", seq=5, ack=99))
    rig.run(family.udp())
    ref = next(flow.backend for flow in rig.dataplane.flows(limit=9) if flow.protocol is Protocol.TCP)

    assert rig.dataplane.give_up([reference(9, 9)]) == []
    (waiting,) = rig.dataplane.give_up([ref])

    assert (waiting.client, waiting.vip, waiting.vip_port) == (family.client, family.vip, 104)
    assert (waiting.backend, waiting.acked, waiting.next, waiting.was_open) == (ref, 99, 5, True)
    assert rig.dataplane.give_up([ref]) == []
    assert {flow.state for flow in rig.dataplane.flows(limit=9) if flow.protocol is Protocol.TCP} == {"reset"}


@pytest.mark.parametrize("family", FAMILIES, ids=("ipv4", "ipv6"))
def test_quiet_connections_are_those_that_are_open_and_silent_for_long(rig: Rig, family: Family) -> None:
    rig.hold(USUAL.tables)
    now, hz, ref = rig.clock.jiffies(), rig.clock.hz, reference(1, 7)
    values = np.zeros(3, FLOW)
    values["backend"], values["state"] = ref, [FlowState.OPEN, FlowState.OPEN, FlowState.CLOSING]
    values["last_seen"] = [now - 20 * hz & 0xFFFFFFFF, now, now - 20 * hz & 0xFFFFFFFF]
    rig.flows[f"lb_flows_tcp{family.version}"].set_all(keys_of(family, [1, 2, 3]), values)

    assert [(each.client, each.client_port) for each in rig.dataplane.quiet([ref], idle_s=10, limit=9)] == [
        (family.client, 1)
    ]


def test_capacity_and_fill_are_those_of_all_tables(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    for family in (IPV4, IPV6):
        rig.run(family.tcp("A"))
    swept = rig.dataplane.sweep(LIMITS)

    assert swept.capacity == sum(MAPS[name].max_entries for name in PROTOCOLS)
    assert swept.fill == pytest.approx(1 / MAPS["lb_flows_tcp4"].max_entries)
    assert swept.total == 2
