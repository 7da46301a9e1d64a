"""The fake does what its callers' tests rely on. That it writes as the real one does is shown in tests/packets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from lbctl.core.features import Features
from lbctl.core.model import Address, AttachMode, Protocol
from lbctl.core.plan import SetBackend, SetInterface, SetSources, SetVip
from lbctl.core.tables import ROUTED, BackendState, InterfaceRow, Lan, Sources, Tables, reference
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import AttachedMode, Claim, Dataplane, Event, FlowEntry, IdleLimits, Waiting
from lbctl.errors import KernelError
from tests.strategies import backend_row
from tests.tables import comparable

VIP = IPv4Address("192.0.2.100")
VIP6 = IPv6Address("2001:db8::100")
ROW = backend_row(3, 8, state=BackendState.UP, mac=bytes.fromhex("020000000003"))
LAN = Lan(2, 20)
SET_VIP = SetVip(vip=VIP, before=None, after=LAN)


def entry(idle_s: float, *, vip: Address = VIP, backend: int = reference(3, 8)) -> FlowEntry:
    return FlowEntry(
        protocol=Protocol.TCP,
        client=IPv4Address("10.0.0.1"),
        client_port=40_000,
        vip=vip,
        vip_port=104,
        backend=backend,
        idle_s=idle_s,
        state="open",
    )


def test_fake_is_a_dataplane() -> None:
    dataplane: Dataplane = FakeDataplane()
    assert comparable(dataplane.read()) == comparable(Tables())


def test_fake_what_was_read_does_not_change_afterwards() -> None:
    dataplane = FakeDataplane()
    before = dataplane.read()
    dataplane.write(SET_VIP)

    assert before.vips == {}
    assert dataplane.read().vips == {VIP: LAN}


def test_fake_freed_backend_leaves_its_generation_until_the_id_is_used_again() -> None:
    dataplane = FakeDataplane()
    dataplane.write(SetBackend(backend_id=3, before=None, after=ROW))
    dataplane.write(SetBackend(backend_id=3, before=ROW, after=None))
    freed = dict(dataplane.read().freed)
    dataplane.write(SetBackend(backend_id=3, before=None, after=ROW))

    assert freed == {3: 8}
    assert dataplane.read().freed == {}


def test_fake_keeps_segments_vips_and_lists_of_either_family() -> None:
    dataplane = FakeDataplane()
    row = InterfaceRow(mac=bytes(6), address6=IPv6Address("2001:db8::10"))
    lists: dict[int, Sources] = {1: {IPv4Network("10.0.0.0/8"): 0}, 2: {IPv6Network("2001:db8::/32"): 3}}
    dataplane.write(SetInterface(lan=LAN, before=None, after=row))
    dataplane.write(SetVip(vip=VIP6, before=None, after=ROUTED))
    for number, found in lists.items():
        dataplane.write(SetSources(number=number, before=None, after=found))
    held = dataplane.read()
    dataplane.write(SetSources(number=1, before=lists[1], after=None))

    assert (held.interfaces, held.vips, held.sources) == ({LAN: row}, {VIP6: ROUTED}, lists)
    assert dataplane.read().sources == {2: lists[2]}


def test_fake_claims_of_a_vip_go_with_it() -> None:
    dataplane = FakeDataplane()
    claim = Claim(mac=bytes.fromhex("020000000099"), times=2)
    dataplane.write(SET_VIP)
    dataplane.claimed = {VIP: claim, VIP6: claim}
    before = dataplane.claims()
    dataplane.write(SetVip(vip=VIP, before=LAN, after=None))

    assert before == {VIP: claim, VIP6: claim}
    assert dataplane.claims() == {VIP6: claim}


def test_fake_tells_each_event_once_and_forgets_those_of_an_earlier_watch() -> None:
    dataplane = FakeDataplane()
    event = Event(
        time_ns=1, ifindex=2, vlan=0, reason="denied", service=1, backend=0, frame_bytes=60, headers=b"\0" * 54
    )
    dataplane.watch(flows=False, drops=True)
    dataplane.told = [event]
    first, second = dataplane.events(), dataplane.events()
    dataplane.told = [event]
    dataplane.watch(flows=False, drops=False)

    assert (first, second, dataplane.events()) == ([event], [], [])
    assert dataplane.watched == frozenset()


def test_fake_puts_another_program_behind_its_links_only_for_other_features() -> None:
    dataplane = FakeDataplane()
    some = Features(ipv6=False)
    for features in (some, some, Features()):
        dataplane.specialise(features)

    assert dataplane.specialised == [some, Features()]


def test_fake_fails_after_as_many_steps_as_the_test_wants() -> None:
    dataplane = FakeDataplane()
    dataplane.fail_after = 1
    dataplane.write(SET_VIP)

    with pytest.raises(KernelError):
        dataplane.write(SetVip(vip=VIP, before=LAN, after=None))
    assert dataplane.read().vips == {VIP: LAN}
    assert dataplane.written == [SET_VIP]


def test_fake_seal_counts() -> None:
    dataplane = FakeDataplane()
    assert [dataplane.seal(), dataplane.seal()] == [1, 2]


def test_fake_sweep_deletes_idle_flows_and_counts_the_others() -> None:
    dataplane = FakeDataplane()
    other = IPv4Address("192.0.2.101")
    dataplane.live_flows = [entry(10), entry(3600), entry(3601), entry(0, vip=other, backend=reference(1, 1))]

    swept = dataplane.sweep(IdleLimits(default_s=3600.0))

    assert (swept.expired, swept.total) == (1, 3)
    assert swept.flows == {reference(3, 8): 2, reference(1, 1): 1}
    assert swept.vips == {VIP: 2, other: 1}
    assert len(dataplane.flows(limit=10)) == 3
    assert len(dataplane.flows(limit=2)) == 2


def test_fake_gives_up_the_open_tcp_flows_of_a_backend_once() -> None:
    dataplane = FakeDataplane()
    dying = entry(1)
    others = [
        replace(dying, protocol=Protocol.UDP),
        replace(dying, state="closing"),
        entry(1, backend=reference(3, 7)),
    ]
    dataplane.live_flows = [dying, *others]

    told = dataplane.give_up([reference(3, 8)])

    expected = Waiting(
        backend=reference(3, 8), client=dying.client, client_port=40_000, vip=VIP, vip_port=104, acked=1, next=2,
        was_open=True,
    )  # fmt: skip
    assert told == [expected]
    assert dataplane.live_flows == [replace(dying, state="reset"), *others]
    assert dataplane.give_up([reference(3, 8)]) == []


def test_fake_attaches_natively_unless_told_otherwise() -> None:
    dataplane = FakeDataplane()
    modes = {i: dataplane.attach(i, mode).mode for i, mode in enumerate(AttachMode, start=1)}
    dataplane.detach_others(frozenset({2}))

    assert modes == {1: AttachedMode.NATIVE, 2: AttachedMode.NATIVE, 3: AttachedMode.GENERIC}
    assert list(dataplane.attachments) == [2]


def test_fake_counters_are_noughts_for_whatever_is_asked() -> None:
    counters = FakeDataplane().counters(services=[1], backends=[2, 3])

    assert [traffic.packets for traffic in (*counters.services.values(), *counters.backends.values())] == [0, 0, 0]
