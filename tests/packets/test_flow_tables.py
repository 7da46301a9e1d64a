"""Flow tables of other sizes: what they take, and that live flows come along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lbctl.core.memory import flow_table_bytes
from lbctl.core.tables import reference
from lbctl.dataplane import loader
from lbctl.dataplane.addresses import address_field
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import FLOW, MAPS, FlowState, sized
from lbctl.dataplane.loader import Loaded, load
from lbctl.dataplane.maps import HashMap, memory_of
from lbctl.dataplane.moving import Mover, move_flows
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.dataplane.port import IdleLimits
from lbctl.errors import SystemRequirementError
from tests.packets.connecting import connect_many, limited
from tests.packets.families import FAMILIES, IPV4, IPV6, Family
from tests.packets.rig import Rig

NUMBERS = range(100)
"""Clients' ports, each of a flow."""


def table(loaded: Loaded, family: Family = IPV4) -> HashMap:
    name = f"lb_flows_tcp{family.version}"
    return HashMap(loaded.maps[name], loaded.specs[name])


def fill(
    flows: HashMap,
    numbers: Sequence[int],
    *,
    backend: int = 1,
    last_seen: int = 7,
    state: FlowState = FlowState.OPEN,
    next_: int = 0,
    is_unproven: bool = False,
    family: Family = IPV4,
) -> None:
    keys = np.zeros(len(numbers), MAPS[f"lb_flows_tcp{family.version}"].key)
    keys["client"], keys["vip"] = address_field(family.client), address_field(family.vip)
    keys["client_port"] = numbers
    values = np.zeros(len(numbers), FLOW)
    values["backend"], values["last_seen"] = backend, last_seen
    values["state"], values["next"], values["is_unproven"] = state, next_, is_unproven
    flows.set_all(keys, values)


def held(flows: HashMap) -> dict[int, int]:
    """Backends by number."""
    return {
        port: backend
        for keys, values in flows.batches()
        for port, backend in zip(keys["client_port"].tolist(), values["backend"].tolist(), strict=True)
    }


def states(flows: HashMap) -> dict[int, int]:
    """States by number."""
    return {
        port: state
        for keys, values in flows.batches()
        for port, state in zip(keys["client_port"].tolist(), values["state"].tolist(), strict=True)
    }


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("entries", [1_024, 65_536, 100_000, 131_072, 1_000_000])
def test_flow_table_takes_the_memory_that_check_says(entries: int, version: int) -> None:
    spec = sized(tcp_flows=entries)[f"lb_flows_tcp{version}"]
    made = loader.create_map("sized", spec)

    assert flow_table_bytes(entries, version=version) == pytest.approx(memory_of(made), rel=0.02)


@pytest.mark.parametrize("family", FAMILIES, ids=("ipv4", "ipv6"))
@pytest.mark.parametrize("size", [128, 1 << 18], ids=["smaller", "larger"])
def test_flows_come_along_into_a_table_of_another_size(
    object_file: ObjectFile, fresh_rig: Rig, size: int, family: Family
) -> None:
    fill(table(fresh_rig.loaded, family), NUMBERS[:90], family=family)

    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=size))

    assert move_flows(loaded, fresh_rig.pins) == 90
    assert held(table(loaded, family)) == dict.fromkeys(NUMBERS[:90], 1)
    successor = KernelDataplane(loaded, fresh_rig.pins)
    assert len(successor.flows(limit=1000)) == 90

    fill(table(fresh_rig.loaded, family), NUMBERS[90:], family=family)  # by the program that still runs
    fill(table(loaded, family), NUMBERS[:10], backend=2, last_seen=8, family=family)  # by the one that runs already

    assert move_flows(loaded, fresh_rig.pins) == 10
    assert held(table(loaded, family)) == {**dict.fromkeys(NUMBERS, 1), **dict.fromkeys(NUMBERS[:10], 2)}

    # noted by the program that ran until now
    fill(table(fresh_rig.loaded, family), NUMBERS[50:60], backend=3, last_seen=8, family=family)

    assert move_flows(loaded, fresh_rig.pins) == 10
    assert {held(table(loaded, family))[number] for number in NUMBERS[50:60]} == {3}

    loader.remove_left_overs(fresh_rig.pins, loaded.specs)
    assert move_flows(loaded, fresh_rig.pins) == 0


def test_flow_whose_end_only_the_old_program_saw_is_not_open_in_the_new_table(
    object_file: ObjectFile, fresh_rig: Rig
) -> None:
    """The client's last acknowledgement came to the new program. Who went on from the same port is another connection."""
    fill(table(fresh_rig.loaded), NUMBERS[:3])
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=1 << 18))
    assert move_flows(loaded, fresh_rig.pins) == 3

    fill(table(fresh_rig.loaded), NUMBERS[:2], state=FlowState.CLOSING, next_=501, last_seen=8)
    fill(table(loaded), NUMBERS[:1], next_=501, last_seen=9)
    fill(table(loaded), NUMBERS[1:2], next_=502, last_seen=9)

    assert move_flows(loaded, fresh_rig.pins) == 1
    assert states(table(loaded)) == {0: FlowState.CLOSING, 1: FlowState.OPEN, 2: FlowState.OPEN}


def test_flow_that_both_programs_saw_within_one_tick_is_as_far_as_either_had_come(
    object_file: ObjectFile, fresh_rig: Rig
) -> None:
    """A tick is 4 ms: the old program had the last data, and the new one the client's FIN; or the other way round."""
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=1 << 18))
    fill(table(fresh_rig.loaded), NUMBERS[:1], next_=500)
    fill(table(loaded), NUMBERS[:1], next_=501, state=FlowState.CLOSING)
    fill(table(fresh_rig.loaded), NUMBERS[1:2], next_=501, state=FlowState.CLOSING)
    fill(table(loaded), NUMBERS[1:2], next_=500)

    assert move_flows(loaded, fresh_rig.pins) == 1
    assert states(table(loaded)) == {0: FlowState.CLOSING, 1: FlowState.CLOSING}


def test_flow_that_was_picked_up_elsewhere_by_its_last_packet_goes_back_and_stays_ended(
    object_file: ObjectFile, fresh_rig: Rig
) -> None:
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=1 << 18))
    fill(table(fresh_rig.loaded), NUMBERS[:1], backend=1, next_=500)
    fill(table(loaded), NUMBERS[:1], backend=2, next_=501, last_seen=9, state=FlowState.CLOSING, is_unproven=True)

    assert move_flows(loaded, fresh_rig.pins) == 1
    assert (held(table(loaded)), states(table(loaded))) == ({0: 1}, {0: FlowState.CLOSING})


def test_flow_whose_last_packet_comes_while_it_is_copied_is_not_left_open(
    object_file: ObjectFile, fresh_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's FIN came to the old program; the acknowledgement that ends it comes between the look at the new table and
    the write."""
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=1 << 18))
    fill(table(fresh_rig.loaded), NUMBERS[:1], next_=501, state=FlowState.CLOSING, last_seen=8)
    fill(table(loaded), NUMBERS[:1], next_=500, last_seen=7)
    look = HashMap.find_all

    def find_all(flows: HashMap, keys: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        found = look(flows, keys)
        monkeypatch.setattr(HashMap, "find_all", look)
        fill(table(loaded), NUMBERS[:1], next_=501, last_seen=9)
        return found

    monkeypatch.setattr(HashMap, "find_all", find_all)
    assert move_flows(loaded, fresh_rig.pins) == 1
    assert states(table(loaded)) == {0: FlowState.CLOSING}


def test_flow_that_the_new_program_gives_up_while_it_is_copied_stays_away(
    object_file: ObjectFile, fresh_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client began another connection from the same port."""
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=1 << 18))
    fill(table(fresh_rig.loaded), NUMBERS[:1], next_=501, last_seen=8)
    fill(table(loaded), NUMBERS[:1], next_=500, last_seen=7)
    look = HashMap.find_all

    def find_all(flows: HashMap, keys: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        found = look(flows, keys)
        flows.remove_all(keys)
        return found

    monkeypatch.setattr(HashMap, "find_all", find_all)
    assert move_flows(loaded, fresh_rig.pins) == 0
    assert states(table(loaded)) == {}


def test_flows_of_ipv6_come_along_from_tables_of_one_row(object_file: ObjectFile, fresh_rig: Rig) -> None:
    """The file gets its first IPv6 service."""
    small = load(object_file, fresh_rig.pins, sized(has_ipv6=False))
    fill(table(small, IPV6), [7], family=IPV6)

    assert move_flows(fresh_rig.loaded, fresh_rig.pins) == 1
    assert held(table(fresh_rig.loaded, IPV6)) == {7: 1}


def test_flows_that_do_not_fit_are_refused_and_the_running_table_is_untouched(
    object_file: ObjectFile, fresh_rig: Rig
) -> None:
    fill(table(fresh_rig.loaded), NUMBERS)
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=64))

    with pytest.raises(SystemRequirementError, match="100 live flows do not fit a table of 64") as caught:
        move_flows(loaded, fresh_rig.pins)

    assert "director.tcp_flows" in caught.value.hint
    assert held(table(fresh_rig.loaded)) == dict.fromkeys(NUMBERS, 1)


def test_flows_are_taken_along_again_as_far_as_they_had_a_packet_since(object_file: ObjectFile, fresh_rig: Rig) -> None:
    """A program goes on with the old table. What a sweep ended in the new one meanwhile does not come back."""
    long_ago, now = fresh_rig.clock.jiffies() - 1_000_000, fresh_rig.clock.jiffies
    fill(table(fresh_rig.loaded), NUMBERS, last_seen=long_ago & 0xFFFFFFFF)
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=1 << 18))
    mover = Mover(loaded, fresh_rig.pins)
    assert mover.move() == len(NUMBERS)
    table(loaded).remove_all(next(table(loaded).batches())[0])

    fill(table(fresh_rig.loaded), NUMBERS[3:5], last_seen=now() & 0xFFFFFFFF, backend=2)
    assert mover.move() == 2
    assert held(table(loaded)) == {3: 2, 4: 2}

    fill(table(fresh_rig.loaded), NUMBERS[4:6], last_seen=now() + 1 & 0xFFFFFFFF, backend=3)
    assert mover.move() == 2
    assert held(table(loaded)) == {3: 2, 4: 3, 5: 3}


def test_table_without_room_keeps_no_others_from_taking_their_flows(object_file: ObjectFile, fresh_rig: Rig) -> None:
    """The new program took the last rows while it was at work already."""
    loaded = load(object_file, fresh_rig.pins, sized(tcp_flows=64))
    mover = Mover(loaded, fresh_rig.pins)
    fill(table(fresh_rig.loaded), NUMBERS[:60])
    assert mover.move() == 60
    now = fresh_rig.clock.jiffies() & 0xFFFFFFFF
    fill(table(fresh_rig.loaded), NUMBERS[:70], backend=2, last_seen=now)
    fill(table(fresh_rig.loaded, IPV6), NUMBERS[:5], last_seen=now, family=IPV6)

    with pytest.raises(SystemRequirementError, match="6 live flows do not fit a table of 64"):
        mover.move()

    assert list(held(table(loaded)).values()) == [2] * 64
    assert held(table(loaded, IPV6)) == dict.fromkeys(NUMBERS[:5], 1)


def test_connections_are_not_counted_by_tables_that_lag_behind_the_program_at_work(
    object_file: ObjectFile, fresh_rig: Rig
) -> None:
    """A daemon has begun with tables of another size, and the program before goes on."""
    fresh_rig.hold(limited(3))
    connect_many(fresh_rig, 1)
    successor = KernelDataplane(load(object_file, fresh_rig.pins, sized(tcp_flows=1 << 18)), fresh_rig.pins)
    move_flows(successor.loaded, fresh_rig.pins)
    connect_many(fresh_rig, 2, first=60_000)

    assert successor.sweep(IdleLimits(open_s={})).open == {reference(1, 7): 1}
    assert fresh_rig.live(1) == 3
    assert connect_many(fresh_rig, 1, first=61_000) == [0]


def test_flows_of_another_layout_are_left_where_they_are(
    object_file: ObjectFile, fresh_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their backend ids would mean other servers."""
    fill(table(fresh_rig.loaded), NUMBERS)
    backends = replace(MAPS["lb_backends"], max_entries=8)
    spec = MAPS["lb_flows_tcp4"]
    monkeypatch.setitem(MAPS, "lb_flows_tcp4", replace(spec, refers_to=(backends, *spec.refers_to[1:])))

    loaded = load(object_file, fresh_rig.pins, sized())

    assert "lb_flows_tcp4" not in loaded.adopted
    assert move_flows(loaded, fresh_rig.pins) == 0


def test_maps_that_name_backends_are_made_anew_with_the_table_of_backends() -> None:
    kin = {name for name, spec in MAPS.items() if MAPS["lb_backends"] in spec.refers_to}

    assert {"lb_slots", "lb_members", "lb_flows_tcp4", "lb_flows_udp4", "lb_half_opens", "lb_fragments"} < kin
    assert {"lb_flows_tcp6", "lb_flows_udp6", "lb_handshake_times"} < kin
    assert {"lb_assignments4", "lb_assignments6", "lb_connections", "lb_backend_stats"} < kin


def test_left_over_of_a_table_that_is_used_is_none(object_file: ObjectFile, fresh_rig: Rig) -> None:
    assert loader.left_overs(fresh_rig.pins, fresh_rig.loaded.specs) == []
    smaller = sized(tcp_flows=64)
    load(object_file, fresh_rig.pins, smaller)

    assert sorted(loader.left_overs(fresh_rig.pins, fresh_rig.loaded.specs)) == [
        loader.pin_path(name, smaller[name], fresh_rig.pins) for name in ("lb_flows_tcp4", "lb_flows_tcp6")
    ]
