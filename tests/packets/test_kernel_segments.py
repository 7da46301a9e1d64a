"""The real data plane's segments: interfaces, the devices that packets leave by, and what stands on which of them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from threading import Event, Thread

import pytest

from lbctl.core.model import AttachMode
from lbctl.core.plan import SetBackend, SetInterface
from lbctl.core.tables import Lan, Tables
from lbctl.dataplane import layout, rows
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.maps import HashMap, shared_array
from lbctl.errors import KernelError
from tests.packets.devices import devices
from tests.packets.rig import Rig
from tests.packets.world import FAR, HERE, backend_mac, backend_row, interface_row


def test_interface_and_its_device_share_a_row_and_go_together(fresh_rig: Rig) -> None:
    row, lans = interface_row(), [HERE, Lan(1, 20), FAR, Lan(FAR.ifindex, 20 * 4096 + 7)]
    fresh_rig.hold(Tables(interfaces=dict.fromkeys(lans, row)))

    assert dict(fresh_rig.dataplane.read().interfaces) == dict.fromkeys(lans, row)
    assert devices_of(fresh_rig) == {lan: lan.ifindex for lan in lans}

    fresh_rig.hold(Tables(interfaces={lans[1]: row}))

    assert devices_of(fresh_rig) == {lans[1]: 1}
    assert sum(device_rows(fresh_rig).values()) == 1


def device_rows(rig: Rig) -> dict[int, int]:
    """The device of each row that has one."""
    entries = HashMap(rig.loaded.maps["lb_devices"], MAPS["lb_devices"])
    found = ((row, entries.get(row)) for row in range(layout.INTERFACES))
    return {row: int(device[0]) for row, device in found if device is not None}


def devices_of(rig: Rig) -> dict[Lan, int]:
    """By the segment that the row is of."""
    entries = HashMap(rig.loaded.maps["lb_interfaces"], MAPS["lb_interfaces"])
    lans = {row: rows.lan_of(int(batch["lan"][row])) for _, batch in entries.batches() for row in device_rows(rig)}
    return {lans[row]: ifindex for row, ifindex in device_rows(rig).items()}


def test_interface_of_a_device_that_is_gone_is_written_and_leads_nowhere(fresh_rig: Rig) -> None:
    row = interface_row()

    fresh_rig.dataplane.write(SetInterface(lan=Lan(54_321), before=None, after=row))

    assert fresh_rig.dataplane.read().interfaces == {Lan(54_321): row}
    assert device_rows(fresh_rig) == {}


def test_devices_are_made_good_by_the_next_instance(fresh_rig: Rig) -> None:
    fresh_rig.hold(Tables(interfaces={HERE: interface_row()}))
    entries = HashMap(fresh_rig.loaded.maps["lb_devices"], MAPS["lb_devices"])
    for row in range(layout.INTERFACES):
        entries.remove(row)
    assert device_rows(fresh_rig) == {}

    KernelDataplane(fresh_rig.loaded, fresh_rig.pins)

    assert devices_of(fresh_rig) == {HERE: 1}


def test_device_that_was_made_again_with_the_same_index_is_found_again(fresh_rig: Rig) -> None:
    lan = Lan(FAR.ifindex, 20)
    with devices() as around, around.entered():
        fresh_rig.dataplane.write(SetInterface(lan=lan, before=None, after=interface_row()))
        subprocess.run(["ip", "link", "delete", "far"], check=True)
        assert device_rows(fresh_rig) == {}
        again = ["ip", "link", "add", "far", "index", str(FAR.ifindex), "type", "veth", "peer", "name", "away"]
        subprocess.run(again, check=True)

        fresh_rig.dataplane.attach(FAR.ifindex, AttachMode.GENERIC)

        assert devices_of(fresh_rig) == {lan: FAR.ifindex}
        fresh_rig.dataplane.detach_others(frozenset())


def test_interface_without_room_is_refused_and_changes_nothing(fresh_rig: Rig) -> None:
    row, taken = interface_row(), rows.interface_home(rows.lan_word(HERE))
    words = (Lan(1, vlan) for vlan in range(1, 1 << 16))
    *lans, one_more = [lan for lan in words if rows.interface_home(rows.lan_word(lan)) == taken][
        : layout.INTERFACE_PROBES + 1
    ]
    for lan in lans:
        fresh_rig.dataplane.write(SetInterface(lan=lan, before=None, after=row))

    with pytest.raises(KernelError, match="no room in lb_interfaces"):
        fresh_rig.dataplane.write(SetInterface(lan=one_more, before=None, after=row))

    assert set(fresh_rig.dataplane.read().interfaces) == set(lans)


def test_mac_is_never_seen_on_another_segment_than_its_own(fresh_rig: Rig) -> None:
    """A reader that looks all the time."""
    before, after = backend_row(1), replace(backend_row(1, mac=backend_mac(9)), lan=Lan(1, 20))
    entries = shared_array(fresh_rig.loaded.maps["lb_backends"], MAPS["lb_backends"])
    fresh_rig.dataplane.write(SetBackend(backend_id=1, before=None, after=before))
    seen: set[tuple[int, bytes | None]] = set()
    done = Event()

    def look() -> None:
        while not done.is_set():
            lan, link, again = int(entries["lan"][1]), int(entries["link"][1]), int(entries["lan"][1])
            if lan == again:
                seen.add((lan, rows.mac_bytes(link)))

    reader = Thread(target=look)
    reader.start()
    for _ in range(2_000):
        fresh_rig.dataplane.write(SetBackend(backend_id=1, before=before, after=after))
        fresh_rig.dataplane.write(SetBackend(backend_id=1, before=after, after=before))
    done.set()
    reader.join()

    right = {(rows.lan_word(row.lan), row.mac) for row in (before, after)}
    assert {each for each in seen if each[1] is not None} <= right
