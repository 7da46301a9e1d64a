"""What the kernel tells of others' interfaces and neighbours in a way that lbctl has no use for: it goes on with the rest."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from lbctl.network.events import read_change
from lbctl.network.links import read_link, read_links
from lbctl.network.neighbours import read_neighbours
from lbctl.network.port import Link, Neighbour
from lbctl.network.rtnetlink import messages

NEW_NEIGHBOUR, NEW_LINK = 28, 16
DESTINATION, LINK_LAYER_ADDRESS = 1, 2
NAME, HARDWARE_ADDRESS, LINK_INFO = 3, 1, 18
V4 = IPv4Address("192.0.2.11")
MAC = bytes.fromhex("020000000011")


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def neighbour(*attributes: bytes) -> bytes:
    return message(NEW_NEIGHBOUR, struct.pack("=BBHiHBB", 2, 0, 0, 2, 2, 0, 1) + b"".join(attributes))


def link(*attributes: bytes) -> bytes:
    return message(NEW_LINK, struct.pack("=BBHiII", 0, 0, 1, 3, 0x11043, 0) + b"".join(attributes))


class Kernel:
    """Has these: interfaces as pyroute2 reads them, neighbours as they are."""

    def __init__(self, **dumps: tuple[bytes, ...]) -> None:
        self._dumps = dumps

    async def dump(self, subject: str) -> list[Any]:
        found = [ifinfmsg(data) for data in self._dumps.get(subject, ())]
        for each in found:
            each.decode()
        return found

    async def request(self, subject: str, command: str, **_: Any) -> list[Any]:
        return await self.dump(subject)

    async def read(self, kind: int, body: bytes, decode: Callable[[bytes], Any]) -> list[Any]:
        told = (decode(each.body) for data in self._dumps["neigh"] for each in messages(data))
        return [each for each in told if each is not None]


def neighbours(*told: bytes) -> tuple[Neighbour, ...]:
    kernel: Any = Kernel(neigh=told)
    return asyncio.run(read_neighbours(kernel))


def links(*told: bytes) -> dict[int, Link]:
    kernel: Any = Kernel(link=told)
    found = asyncio.run(read_links(kernel))
    assert asyncio.run(read_link(kernel, 3)) == found.get(3)
    return found


# GRE and IPIP tunnels have IPv4 addresses for MACs, ip6gre IPv6 ones, and InfiniBand 20 bytes.
@pytest.mark.parametrize("address", [bytes([10, 0, 0, 1]), bytes(15) + b"\1", bytes(20), b"abc", b""], ids=len)
def test_neighbour_whose_link_layer_address_is_no_mac_has_none_and_is_not_usable(address: bytes) -> None:
    told = neighbour(attribute(DESTINATION, V4.packed), attribute(LINK_LAYER_ADDRESS, address))
    ours = neighbour(attribute(DESTINATION, V4.packed), attribute(LINK_LAYER_ADDRESS, MAC))
    first, second = neighbours(told, ours)
    assert (first.address, first.mac, first.usable) == (V4, None, False)
    assert (second.mac, second.usable) == (MAC, True)
    assert read_change(told) == first


def test_neighbour_without_an_address_is_left_out_and_the_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    ours = neighbour(attribute(DESTINATION, V4.packed), attribute(LINK_LAYER_ADDRESS, MAC))
    (found,) = neighbours(neighbour(attribute(LINK_LAYER_ADDRESS, MAC)), ours)
    assert found.address == V4
    assert "the kernel tells of a neighbour in a way that is not understood, it is left out" in caplog.text


def test_link_whose_name_is_not_utf_8_is_one_all_the_same() -> None:
    (found,) = links(link(attribute(NAME, b"d\xffx\0"), attribute(HARDWARE_ADDRESS, MAC))).values()
    assert (found.name, found.mac, found.vlan) == ("d\\xffx", MAC, 0)


def test_link_without_a_mac_has_none() -> None:
    (found,) = links(link(attribute(NAME, b"tun0\0"))).values()
    assert (found.name, found.mac) == ("tun0", b"")


def test_link_with_a_vlan_number_that_there_is_not_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    vlan = attribute(LINK_INFO, attribute(1, b"vlan\0") + attribute(2, attribute(1, struct.pack("=H", 0xFF14))))
    assert links(link(attribute(NAME, b"odd\0"), vlan)) == {}
    assert "the kernel tells of interface 3 in a way that is not understood" in caplog.text
