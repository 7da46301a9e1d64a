"""What the real data plane tells: who else claims a VIP, how handshakes went, and what people watch."""

from __future__ import annotations

import select
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from lbctl.core.tables import Tables, id_of
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import HANDSHAKE_BUCKETS, HANDSHAKE_SAMPLE
from lbctl.dataplane.port import Claim, Event
from tests.packets.cases import USUAL
from tests.packets.families import FAMILIES, IPV4, IPV6, Family
from tests.packets.frames import ONE_TAG, OTHER_MAC
from tests.packets.rig import Rig
from tests.packets.world import HERE, VIP, VIP6, backend_mac

ALL_NODES = "ff02::1"


def arp_claim(mac: bytes) -> bytes:
    """A gratuitous ARP in which a station says that the VIP is its own."""
    claim = ARP(op=1, hwsrc=mac.hex(":"), psrc=str(VIP), pdst=str(VIP))
    return bytes(Ether(src=mac.hex(":"), dst="ff:ff:ff:ff:ff:ff") / claim)


def neighbour_claim(mac: bytes) -> bytes:
    """The same by an unsolicited advertisement."""
    claim = ICMPv6ND_NA(tgt=str(VIP6), R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac.hex(":"))
    return bytes(
        Ether(src=mac.hex(":"), dst="33:33:00:00:00:01") / IPv6(src=str(VIP6), dst=ALL_NODES, hlim=255) / claim
    )


# Claims --------------------------------------------------------------------------------------------------------------


def test_claims_are_counted_by_vip_and_name_the_latest_station(fresh_rig: Rig) -> None:
    fresh_rig.hold(replace(USUAL.tables, vips={**USUAL.tables.vips, IPv6Address("2001:db8:2::101"): HERE}))
    assert fresh_rig.dataplane.claims() == {}

    for frame in (arp_claim(OTHER_MAC), arp_claim(backend_mac(2)), neighbour_claim(OTHER_MAC)):
        assert fresh_rig.run(frame).data == frame

    assert fresh_rig.dataplane.claims() == {
        VIP: Claim(mac=backend_mac(2), times=2),
        VIP6: Claim(mac=OTHER_MAC, times=1),
    }
    assert KernelDataplane(fresh_rig.loaded, fresh_rig.pins).claims() == fresh_rig.dataplane.claims()
    assert fresh_rig.dataplane.read().vips[VIP] == HERE


# Handshakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=("ipv4", "ipv6"))
def test_handshakes_are_counted_by_backend_and_some_of_them_timed(fresh_rig: Rig, family: Family) -> None:
    fresh_rig.hold(USUAL.tables)
    fresh_rig.set_tokens()
    ports = range(50_000, 50_240)
    for port in ports:
        fresh_rig.run(family.tcp("S", client_port=port))
        if port % 2:
            fresh_rig.run(family.tcp("A", client_port=port, seq=2, ack=1))

    found = fresh_rig.dataplane.counters(services=[], backends=[1, 2, 3])

    assert sum(traffic.begun for traffic in found.backends.values()) == len(ports)
    assert sum(traffic.completed for traffic in found.backends.values()) == len(ports) // 2
    timed = [sum(found.handshakes[number]) for number in (1, 2, 3)]
    assert len(ports) // 2 // HANDSHAKE_SAMPLE // 3 < sum(timed) < len(ports) // 2 // HANDSHAKE_SAMPLE * 3
    assert {len(times) for times in found.handshakes.values()} == {HANDSHAKE_BUCKETS}

    fresh_rig.hold(Tables())
    fresh_rig.hold(USUAL.tables)
    again = fresh_rig.dataplane.counters(services=[], backends=[1, 2, 3])
    assert set(again.handshakes.values()) == {(0,) * HANDSHAKE_BUCKETS}


# Events --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(fresh_rig: Rig, one_cpu: None) -> Rig:
    """Tables, and tokens for events; all of it on one CPU."""
    fresh_rig.hold(USUAL.tables)
    fresh_rig.set_tokens()
    return fresh_rig


def unserved(family: Family) -> bytes:
    """A packet that is dropped: of a protocol that no service has."""
    return family.packet(b"\x01" * 40, protocol=132)


def is_readable(rig: Rig) -> bool:
    """Whether somebody who waits would be woken."""
    waiting = select.poll()
    waiting.register(rig.dataplane.events_descriptor, select.POLLIN)
    return bool(waiting.poll(0))


@pytest.mark.parametrize("family", FAMILIES, ids=("ipv4", "ipv6"))
def test_events_are_told_of_what_is_watched_and_of_nothing_else(watched: Rig, family: Family) -> None:
    dataplane = watched.dataplane

    def told(*, flows: bool, drops: bool) -> list[str]:
        watched.forget()
        dataplane.watch(flows=flows, drops=drops)
        for frame in (family.tcp("S"), family.tcp("A", seq=2, ack=1), family.tcp("A", seq=2, ack=1), unserved(family)):
            watched.run(frame)
        return [event.reason for event in dataplane.events()]

    assert told(flows=False, drops=False) == []
    assert told(flows=True, drops=False) == ["first_ack"]
    assert told(flows=False, drops=True) == ["no_service"]
    assert told(flows=True, drops=True) == ["first_ack", "no_service"]
    assert dataplane.events() == []


@pytest.mark.parametrize("family", FAMILIES, ids=("ipv4", "ipv6"))
@pytest.mark.parametrize("tags", [(), ONE_TAG], ids=("untagged", "tagged"))
def test_event_says_who_and_where_and_ends_before_the_payload(
    watched: Rig, family: Family, tags: tuple[tuple[int, int], ...]
) -> None:
    secret = b"PATIENT^NAME"
    frame = family.udp(data=secret * 20, tags=tags)
    lan = replace(HERE, vlan=0xA014 & 0xFFF if tags else 0)
    interfaces, vips = {lan: USUAL.tables.interfaces[HERE]}, {family.vip: lan}
    backends = {number: replace(row, lan=lan) for number, row in USUAL.tables.backends.items()}
    watched.hold(replace(USUAL.tables, interfaces=interfaces, vips=vips, backends=backends))
    watched.dataplane.watch(flows=True, drops=True)

    watched.run(frame)

    (event,) = watched.dataplane.events()
    ((ref, _),) = watched.flow_backends().items()
    headers = frame[: frame.index(secret)]
    assert event == Event(
        time_ns=event.time_ns,
        ifindex=lan.ifindex,
        vlan=lan.vlan,
        reason="udp_new",
        service=USUAL.tables.services[
            next(key for key in USUAL.tables.services if (key.vip, key.port) == (family.vip, 514))
        ].id,
        backend=ref,
        frame_bytes=len(frame),
        headers=event.headers,
    )
    assert event.headers[12:] == headers[12:]
    assert event.headers[:6] == backend_mac(id_of(ref))
    assert event.time_ns > 0


@pytest.mark.parametrize("protocol", [6, 17, 47])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_event_of_a_later_fragment_ends_with_the_ip_header(watched: Rig, family: Family, protocol: int) -> None:
    secret = b"PATIENT^NAME\xf0PATIENT^NAME"
    frame = family.fragment(3, protocol=protocol, data=secret)
    watched.hold(USUAL.tables)
    watched.dataplane.watch(flows=True, drops=True)

    watched.run(frame)

    (event,) = watched.dataplane.events()
    assert (event.reason, event.headers) == ("lost_fragment", frame[: frame.index(secret)])


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_event_of_a_segment_whose_header_claims_its_payload_ends_with_the_ip_header(
    watched: Rig, family: Family
) -> None:
    frame = bytearray(family.tcp("A", data=b"PATIENT^NAME"))
    frame[family.at(12)] = 0xF0
    watched.hold(USUAL.tables)
    watched.dataplane.watch(flows=True, drops=True)

    watched.run(bytes(frame))

    (event,) = watched.dataplane.events()
    assert (event.reason, event.headers) == ("malformed", bytes(frame[: family.at(0)]))


def test_events_wake_who_waits_for_them(watched: Rig) -> None:
    watched.dataplane.watch(flows=False, drops=True)
    assert not is_readable(watched)
    watched.run(unserved(IPV4))
    assert is_readable(watched)
    assert len(watched.dataplane.events()) == 1
    assert not is_readable(watched)


def test_events_before_a_new_watch_are_forgotten(watched: Rig) -> None:
    watched.dataplane.watch(flows=False, drops=True)
    watched.run(unserved(IPV6))
    watched.dataplane.watch(flows=True, drops=True)

    assert watched.dataplane.events() == []


def test_events_of_a_flood_are_as_many_as_the_budget_allows_and_the_rest_is_counted(watched: Rig) -> None:
    watched.dataplane.watch(flows=False, drops=True)
    for _ in range(10):
        watched.run(unserved(IPV4), repeat=1_000)

    found = watched.dataplane.events()

    assert 0 < len(found) <= 1_000
    assert watched.reasons()["no_service"] == 10_000


def test_watchers_of_an_instance_that_died_are_forgotten(watched: Rig) -> None:
    watched.dataplane.watch(flows=True, drops=True)

    successor = KernelDataplane(watched.loaded, watched.pins)
    watched.run(unserved(IPV4))

    assert successor.events() == []
