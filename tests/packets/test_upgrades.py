"""Another version's tables: what they hold is carried over where it can be, and told where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lbctl.core.plan import Plan, diff
from lbctl.core.tables import reference
from lbctl.dataplane import bpf, carrying, loader
from lbctl.dataplane.descriptions import LAYOUTS, described_pins
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import FLOW, FLOW_MAPS, MAPS, FlowState, sized
from lbctl.dataplane.loader import Loaded, load
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.moving import move_flows, needs_ipv6, price
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.dataplane.port import Assigned
from lbctl.dataplane.vips import pinned_vips
from tests.packets.cases import USUAL
from tests.packets.families import IPV4, IPV6
from tests.packets.rig import Rig
from tests.packets.test_flow_tables import fill, held, table
from tests.packets.versions import (
    FLOWS,
    OTHER_FLOW,
    OTHER_VIP,
    VIPS,
    other_backends,
    other_flows,
    put_to_work,
    with_values,
)
from tests.packets.world import GENERATION, POOL
from tests.tables import comparable

SECOND, THIRD = reference(2, GENERATION), reference(3, GENERATION)


def fields(loaded: Loaded, name: str = "lb_flows_tcp4") -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """The values of a map, by their keys' order."""
    flows = HashMap(loaded.maps[name], loaded.specs[name])
    found = [(keys, values) for keys, values in flows.batches()]
    keys, values = (np.concatenate(each) for each in zip(*found, strict=True))
    return values[np.argsort(keys["client_port"])]


def test_flows_of_another_layout_come_along_field_by_field(object_file: ObjectFile, running: Rig) -> None:
    fill(table(running.loaded), range(3), backend=SECOND, last_seen=7, next_=501, state=FlowState.CLOSING)
    fill(table(running.loaded, IPV6), range(5), backend=THIRD, family=IPV6)

    loaded = load(object_file, running.pins, other_flows())

    assert loaded.adopted == frozenset(loaded.specs) - {*FLOW_MAPS, loader.TAILS}
    assert not loaded.lost
    assert move_flows(loaded, running.pins) == 8
    values = fields(loaded)
    for field, expected in {"backend": SECOND, "last_seen": 7, "next": 501, "state": FlowState.CLOSING}.items():
        assert set(values[field].tolist()) == {expected}, field
    assert set(values["is_marked"].tolist()) == {0}  # new: begins at zero
    assert set(fields(loaded, "lb_flows_tcp6")["backend"].tolist()) == {THIRD}
    assert price(loaded, running.pins) == ()


def test_flows_come_back_to_the_layout_that_they_began_in(object_file: ObjectFile, running: Rig) -> None:
    """An upgrade that is undone: what the other layout did not have is at zero."""
    fill(table(running.loaded), range(4), backend=SECOND, next_=9)
    other = load(object_file, running.pins, other_flows())
    move_flows(other, running.pins)
    put_to_work(other, running)
    loader.remove_left_overs(running.pins, other.specs)

    back = load(object_file, running.pins, sized())

    assert move_flows(back, running.pins) == 4
    values = fields(back)
    assert values.dtype == FLOW
    assert set(values["backend"].tolist()) == {SECOND}
    assert set(values["next"].tolist()) == {9}
    assert not values["first_next"].any()


def test_flows_whose_numbers_have_no_room_in_a_narrower_field_are_told_as_lost(
    object_file: ObjectFile, running: Rig
) -> None:
    other = load(object_file, running.pins, other_flows())
    put_to_work(other, running)
    loader.remove_left_overs(running.pins, other.specs)
    flows = HashMap(other.maps["lb_flows_tcp4"], other.specs["lb_flows_tcp4"])
    values = np.zeros(1, OTHER_FLOW)
    values["service"] = 1 << 20
    flows.set_all(np.zeros(1, flows.key), values)

    back = load(object_file, running.pins, sized())

    assert back.lost == {"lb_flows_tcp4": "lb_flows_tcp4: service had larger numbers"}
    assert move_flows(back, running.pins) == 0
    assert price(back, running.pins)[0].startswith("1 flow was begun by another version")


def test_what_the_old_program_notes_meanwhile_comes_along_into_another_layout(
    object_file: ObjectFile, running: Rig
) -> None:
    fill(table(running.loaded), range(3), backend=SECOND, next_=500)
    loaded = load(object_file, running.pins, other_flows())
    assert move_flows(loaded, running.pins) == 3

    fill(table(running.loaded), [1], backend=SECOND, next_=500, last_seen=8, state=FlowState.CLOSING)
    fill(table(running.loaded), [3], backend=THIRD)

    assert move_flows(loaded, running.pins) == 2
    values = fields(loaded)
    assert values["state"].tolist() == [0, FlowState.CLOSING, 0, 0]
    assert values["backend"].tolist() == [SECOND, SECOND, SECOND, THIRD]


def test_backends_of_another_layout_keep_their_numbers_and_all_that_names_them(
    object_file: ObjectFile, running: Rig
) -> None:
    fill(table(running.loaded), range(6), backend=SECOND)
    sources = {Assigned(pool_id=POOL, source=IPV4.client): THIRD, Assigned(pool_id=POOL, source=IPV6.client): SECOND}
    running.dataplane.assign(sources)
    before = running.dataplane.read()

    loaded = load(object_file, running.pins, other_backends())
    successor = KernelDataplane(loaded, running.pins)

    assert {"lb_backends", "lb_slots", "lb_members", "lb_pools", "lb_services", *FLOW_MAPS} & loaded.adopted == set()
    assert {"lb_globals", "lb_interfaces", "lb_vips4"} < loaded.adopted
    assert not loaded.lost
    assert comparable(successor.read()) == comparable(before)
    assert diff(successor.read(), USUAL.tables) == Plan()
    assert successor.assignments() == sources
    assert move_flows(loaded, running.pins) == 6
    assert [flow.backend for flow in successor.flows(limit=9)] == [SECOND] * 6


def test_handshakes_come_along_into_a_table_that_was_not_shared_with_user_space_and_back(
    object_file: ObjectFile, running: Rig
) -> None:
    running.run(IPV4.tcp("S"))
    half_open = running.dataplane.half_open()
    assert sum(half_open.values()) == 1
    unshared = {**MAPS, "lb_half_opens": replace(MAPS["lb_half_opens"], flags=0)}

    before = load(object_file, running.pins, unshared)
    put_to_work(before, running)
    loader.remove_left_overs(running.pins, before.specs)
    after = load(object_file, running.pins)

    assert "lb_half_opens" not in before.adopted | after.adopted
    assert KernelDataplane(after, running.pins).half_open() == half_open


def test_assignment_made_by_the_old_program_meanwhile_comes_along(object_file: ObjectFile, running: Rig) -> None:
    loaded = load(object_file, running.pins, other_backends())
    made = {Assigned(pool_id=POOL, source=IPV4.client): THIRD}
    running.dataplane.assign(made)

    move_flows(loaded, running.pins)

    assert KernelDataplane(loaded, running.pins).assignments() == made


def test_tables_of_a_version_that_left_no_description_begin_empty_and_the_price_is_told(
    object_file: ObjectFile, running: Rig
) -> None:
    fill(table(running.loaded), range(1234), backend=SECOND)
    for path in running.pins.glob(f"{LAYOUTS}@*"):
        path.unlink()

    loaded = load(object_file, running.pins, other_backends())

    assert KernelDataplane(loaded, running.pins).read().backends == {}
    assert move_flows(loaded, running.pins) == 0
    assert held(table(loaded)) == {}
    (told,) = price(loaded, running.pins)
    assert told == (
        "1,234 flows were begun by another version and could not be taken along: that version left no description of its "
        "tables. Each is picked up at its next packet, mostly by the server that it had"
    )


def test_flows_are_not_taken_along_when_the_backends_that_they_name_are_not(
    object_file: ObjectFile, running: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their numbers would mean other servers."""
    fill(table(running.loaded), range(3), backend=SECOND)
    fault_of, wanted = carrying.fault_of, other_backends()
    monkeypatch.setattr(
        carrying,
        "fault_of",
        lambda old, new: "told" if new.layout_id == wanted["lb_backends"].layout_id else fault_of(old, new),
    )

    loaded = load(object_file, running.pins, wanted)

    assert {"lb_backends", "lb_slots", *FLOW_MAPS} <= loaded.lost.keys()
    assert move_flows(loaded, running.pins) == 0
    assert price(loaded, running.pins)[0].startswith("3 flows were begun by another version")
    assert "could not be taken along: lb_backends: told." in price(loaded, running.pins)[0]


def test_vips_and_ipv6_flows_of_another_layout_are_known_before_the_start(
    object_file: ObjectFile, running: Rig
) -> None:
    fill(table(running.loaded, IPV6), [1], backend=SECOND, family=IPV6)
    wanted = with_values(**dict.fromkeys(VIPS, OTHER_VIP), **dict.fromkeys(FLOWS, OTHER_FLOW))
    other = load(object_file, running.pins, wanted)
    move_flows(other, running.pins)
    put_to_work(other, running)
    loader.remove_left_overs(running.pins, other.specs)

    assert pinned_vips(running.pins) == set(USUAL.tables.vips)
    for path in (path for name in VIPS for path in running.pins.glob(f"{name}@*")):
        path.unlink()
    assert needs_ipv6(running.pins)


def test_description_that_is_nonsense_describes_nothing(running: Rig) -> None:
    assert described_pins(running.pins).keys() >= {f"lb_flows_tcp4@{running.loaded.specs['lb_flows_tcp4'].layout_id}"}
    for path in running.pins.glob(f"{LAYOUTS}@*"):
        with bpf.opened_pin(path) as descriptor:
            size = bpf.map_info(descriptor).value_size
            bpf.update(descriptor, np.zeros(1, "<u4"), np.frombuffer(b"{" * size, np.uint8))
    assert described_pins(running.pins) == {}
