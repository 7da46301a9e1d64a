"""Both families, VLAN sub-interfaces and routed VIPs, from the file to the tables, the network and the status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Interface
from pathlib import Path

import pytest

from lbctl.config.loader import parse
from lbctl.core.model import Address
from lbctl.core.tables import ROUTED, Lan
from lbctl.daemon.faults import faults_of
from lbctl.daemon.surroundings import Surroundings
from lbctl.network.fake import FakeNetwork
from lbctl.network.port import LinkChanged
from tests.unit.daemon.rig import LAN, LINK, VIP
from tests.unit.daemon.stage import Stage

VIP6, TAGGED6, ROUTED6 = (IPv6Address(text) for text in ("2001:db8::100", "2001:db8:20::100", "2001:db8:f::100"))
STRANGER = bytes.fromhex("0200000000ff")
VLAN20 = replace(
    LINK,
    ifindex=20,
    name="eth0.20",
    mac=bytes.fromhex("020000000014"),
    addresses=(IPv6Interface("2001:db8:20::10/64"),),
    device=LINK.ifindex,
    vlan=20,
)
LINKS = {"eth0": LINK, "eth0.20": VLAN20}
MACS: Mapping[Address, bytes] = {
    IPv4Address("192.0.2.11"): bytes.fromhex("020000000011"),
    IPv6Address("2001:db8::11"): bytes.fromhex("020000000611"),
    IPv6Address("2001:db8:20::11"): bytes.fromhex("020000002011"),
}
TEXT = """\
interfaces:
  eth0: {address: 192.0.2.10/24, address6: 2001:db8::10/64}
  eth0.20: {address6: 2001:db8:20::10/64}
services:
  four: {vip: 192.0.2.100, ports: [104], pool: p4, interface: eth0}
  six: {vip: "2001:db8::100", ports: [104], pool: p6, interface: eth0}
  far: {vip: "2001:db8:f::100", ports: [104], pool: p6, announce: routed}
  tagged: {vip: "2001:db8:20::100", ports: [104], pool: p20, interface: eth0.20}
pools:
  p4: {kind: other, check: {type: tcp}, backends: {a: {address: 192.0.2.11}}}
  p6: {kind: other, check: {type: tcp}, backends: {a: {address: "2001:db8::11"}}}
  p20: {kind: other, check: {type: tcp}, backends: {a: {address: "2001:db8:20::11"}}}
"""
DECLARATION = parse(TEXT, source="lbctl.yaml")


@pytest.fixture(autouse=True)
def no_probe_succeeds_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbctl.daemon.daemon.FIRST_VERDICTS_S", 0.05)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, others=(VLAN20,), macs=MACS, text=TEXT)


def test_vips_are_answered_for_on_their_segments_and_routed_ones_on_none(stage: Stage) -> None:
    async def scene() -> None:
        assert stage.dataplane.vips == {VIP: LAN, VIP6: LAN, ROUTED6: ROUTED, TAGGED6: Lan(2, 20)}
        rows = {row.address: (row.lan, row.mac) for row in stage.dataplane.backends.values()}
        assert rows == {address: (Lan(2, 20) if "20::" in str(address) else LAN, mac) for address, mac in MACS.items()}
        assert stage.dataplane.attachments.keys() == {LINK.ifindex}
        assert stage.network.untagged == {LINK.ifindex}

    asyncio.run(stage.play(scene))


def test_neighbours_are_managed_where_the_kernel_has_them(stage: Stage) -> None:
    async def scene() -> None:
        on = {(20 if "20::" in str(address) else 2, address) for address in MACS}
        assert stage.network.managed == on
        assert {(path.ifindex, path.via) for path in stage.network.paths} == on

    asyncio.run(stage.play(scene))


def test_vips_are_announced_and_listened_for_but_routed_ones(stage: Stage) -> None:
    async def scene() -> None:
        await stage.eventually(
            lambda: set(stage.network.announcements) == {("eth0", VIP), ("eth0", VIP6), ("eth0.20", TAGGED6)}
        )
        assert stage.network.listened_for == {2: {VIP6}, 20: {TAGGED6}}

    asyncio.run(stage.play(scene))


def test_status_tells_of_vlans_devices_and_routes(stage: Stage) -> None:
    async def scene() -> None:
        found = stage.status()
        assert [(each.name, each.device, each.vlans, each.mode) for each in found.interfaces] == [
            ("eth0", "eth0", (), "native"),
            ("eth0.20", "eth0", (20,), "native"),
        ]
        assert [str(each.address6) for each in found.interfaces] == ["2001:db8::10/64", "2001:db8:20::10/64"]
        assert {each.name: each.announce for each in found.services} == {
            "four": "arp",
            "six": "arp",
            "far": "routed",
            "tagged": "arp",
        }
        assert found.daemon.warnings == ()

    asyncio.run(stage.play(scene))


def test_vip_that_is_routed_is_neither_asked_for_nor_refused(stage: Stage) -> None:
    async def scene() -> None:
        assert {each.vip: each.state for each in stage.status().services if each.state == "refused"} == {
            VIP6: "refused"
        }
        assert ROUTED6 in stage.dataplane.vips

    stage.network.duplicates = {ROUTED6: STRANGER, VIP6: STRANGER}
    asyncio.run(stage.play(scene))


def test_device_that_goes_down_is_told_with_all_that_is_on_it(stage: Stage) -> None:
    async def scene() -> None:
        for link in LINKS.values():
            stage.network.push(LinkChanged(ifindex=link.ifindex, link=replace(link, is_up=False)))
        await stage.eventually(lambda: len(stage.status().daemon.warnings) == 2)
        assert stage.status().daemon.warnings == ("interface eth0 is down", "interface eth0.20 is down")
        stage.network.announcements.clear()
        stage.network.listened_for.clear()
        for link in LINKS.values():
            stage.network.push(LinkChanged(ifindex=link.ifindex, link=link))
        await stage.eventually(lambda: stage.status().daemon.warnings == ())
        await stage.eventually(lambda: ("eth0.20", TAGGED6) in stage.network.announcements)
        assert stage.network.listened_for == {2: {VIP6}, 20: {TAGGED6}}

    asyncio.run(stage.play(scene))


def test_device_that_is_made_anew_carries_its_sub_interfaces_again(stage: Stage) -> None:
    async def scene() -> None:
        for link in LINKS.values():
            stage.network.push(LinkChanged(ifindex=link.ifindex, link=None))
        await stage.eventually(lambda: not any(lan.ifindex for lan in stage.dataplane.vips.values()))
        assert "interface eth0.20 does not exist" in stage.status().daemon.warnings
        for link in (replace(LINK, ifindex=7), replace(VLAN20, ifindex=27, device=7)):
            stage.network.push(LinkChanged(ifindex=link.ifindex, link=link))
        await stage.eventually(lambda: stage.dataplane.vips.get(TAGGED6) == Lan(7, 20))
        await stage.eventually(lambda: 7 in stage.dataplane.attachments)
        assert set(stage.dataplane.interfaces) == {Lan(7), Lan(7, 20)}

    asyncio.run(stage.play(scene))


def test_mac_that_changes_is_the_programs_from_then_on_and_announced(stage: Stage) -> None:
    async def scene() -> None:
        await stage.eventually(lambda: ("eth0.20", TAGGED6) in stage.network.announcements)
        stage.network.announcements.clear()
        stage.network.push(LinkChanged(ifindex=VLAN20.ifindex, link=replace(VLAN20, mac=STRANGER)))
        await stage.eventually(lambda: stage.dataplane.interfaces[Lan(2, 20)].mac == STRANGER)
        await stage.eventually(lambda: ("eth0.20", TAGGED6) in stage.network.announcements)
        assert ("eth0", VIP) not in stage.network.announcements

    asyncio.run(stage.play(scene))


def test_change_of_a_device_that_is_not_declared_itself_is_noticed(tmp_path: Path) -> None:
    alone = "\n".join(line for line in TEXT.splitlines() if not any(word in line for word in ("eth0:", "eth0}", "far")))
    text = "\n".join(line for line in alone.splitlines() if "p4:" not in line and "p6:" not in line) + "\n"
    stage = Stage(tmp_path, link=VLAN20, others=(LINK,), macs=MACS, text=text)

    async def scene() -> None:
        assert stage.dataplane.attachments.keys() == {LINK.ifindex}
        stage.dataplane.attachments.clear()
        stage.network.links |= {9: replace(LINK, ifindex=9), 20: replace(VLAN20, device=9)}
        stage.network.push(LinkChanged(ifindex=LINK.ifindex, link=None))
        await stage.eventually(lambda: stage.dataplane.vips == {TAGGED6: Lan(9, 20)})
        await stage.eventually(lambda: stage.dataplane.attachments.keys() == {9})

    asyncio.run(stage.play(scene))


# The surroundings -----------------------------------------------------------------------------------------------------


def test_probes_go_out_from_the_directors_address_of_the_backends_family() -> None:
    routes = Surroundings(FakeNetwork()).routes(DECLARATION)
    assert {label: str(route.source) for label, route in routes.items()} == {
        "p4/a": "192.0.2.10",
        "p6/a": "2001:db8::10",
        "p20/a": "2001:db8:20::10",
    }
    assert routes["p6/a"].vips == (VIP6, ROUTED6)


def test_duplicates_are_looked_for_in_both_families_where_there_is_a_link() -> None:
    network = FakeNetwork(LINKS.values())
    network.duplicates = {TAGGED6: STRANGER, ROUTED6: STRANGER}
    down = {**LINKS, "eth0": replace(LINK, is_up=False)}
    found = asyncio.run(Surroundings(network).find_duplicates([VIP, VIP6, TAGGED6, ROUTED6], DECLARATION, down))
    assert found.owners == {TAGGED6: STRANGER}
    assert found.unchecked == {VIP, VIP6}


def test_address_of_either_family_that_is_missing_is_told_with_what_there_is() -> None:
    links = {
        "eth0": replace(LINK, addresses=LINK.addresses[:1]),
        "eth0.20": replace(VLAN20, addresses=(IPv6Interface("2001:db8:20::99/64"),)),
    }
    assert faults_of(DECLARATION, links) == (
        "interface eth0 has no IPv6 address, but the file says 2001:db8::10/64",
        "interface eth0.20 has 2001:db8:20::99/64, but the file says 2001:db8:20::10/64",
    )


def test_backend_on_a_segment_with_a_smaller_mtu_than_its_vip_s_is_told() -> None:
    text = TEXT.replace('"2001:db8::100", ports: [104], pool: p6', '"2001:db8::100", ports: [104], pool: p20')
    jumbo = {"eth0": replace(LINK, mtu=9000), "eth0.20": VLAN20}
    (fault,) = (each for each in faults_of(parse(text, source="lbctl.yaml"), jumbo) if "carries" in each)
    assert fault == (
        "service six: eth0.20 carries packets of 1500 bytes, eth0 of 9000; larger ones are lost on the way to its backends"
    )
