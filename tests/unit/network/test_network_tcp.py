"""Resets as bytes, read by scapy: an implementation of the protocols that is not ours."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from lbctl.core.model import Address
from lbctl.network import tcp
from lbctl.network.tcp import Reset, packet_of

VIP, CLIENT = IPv4Address("192.0.2.100"), IPv4Address("10.0.0.1")
VIP6, CLIENT6 = IPv6Address("2001:db8::100"), IPv6Address("2001:db8:1::1")
NOWHERE = IPv4Address("198.51.100.1")
PORTS = st.integers(1, 0xFFFF)


def reset(*, seq: int = 1) -> Reset:
    return Reset(source=VIP, source_port=104, destination=CLIENT, destination_port=40_000, seq=seq)


def test_reset_is_a_whole_ipv4_packet_from_the_vip_with_nothing_but_rst() -> None:
    found = IP(packet_of(reset(seq=0x89ABCDEF)))

    assert (found.version, found.ihl, found.len, found.ttl, found.proto) == (4, 5, 40, 64, 6)
    assert (str(found.flags), found.frag) == ("DF", 0)
    assert (found.src, found.dst, found[TCP].sport, found[TCP].dport) == (str(VIP), str(CLIENT), 104, 40_000)
    assert (str(found[TCP].flags), found[TCP].seq, found[TCP].ack, found[TCP].dataofs) == ("R", 0x89ABCDEF, 0, 5)


def test_reset_is_a_whole_ipv6_packet_from_the_vip_with_nothing_but_rst() -> None:
    found = IPv6(packet_of(replace(reset(seq=0x89ABCDEF), source=VIP6, destination=CLIENT6)))

    assert (found.version, found.tc, found.fl, found.plen, found.nh, found.hlim) == (6, 0, 0, 20, 6, 64)
    assert (found.src, found.dst, found[TCP].sport, found[TCP].dport) == (str(VIP6), str(CLIENT6), 104, 40_000)
    assert (str(found[TCP].flags), found[TCP].seq, found[TCP].ack, found[TCP].dataofs) == ("R", 0x89ABCDEF, 0, 5)


@given(
    addresses=st.one_of(*(st.tuples(st.ip_addresses(v=v), st.ip_addresses(v=v)) for v in (4, 6))),
    ports=st.tuples(PORTS, PORTS),
    seq=st.integers(0, 0xFFFFFFFF),
)
def test_reset_has_the_checksums_that_scapy_computes(
    addresses: tuple[Address, Address], ports: tuple[int, int], seq: int
) -> None:
    octets = packet_of(
        Reset(source=addresses[0], source_port=ports[0], destination=addresses[1], destination_port=ports[1], seq=seq)
    )
    again = IP(octets) if addresses[0].version == 4 else IPv6(octets)
    del again[TCP].chksum
    if IP in again:
        del again.chksum
    assert bytes(again) == octets


# Sending ---------------------------------------------------------------------------------------------------------------


class RawSocket:
    """What the kernel would be asked for; a raw socket of its own needs a privilege. Has no route to `NOWHERE`."""

    sent: ClassVar[list[tuple[int, bytes, str]]] = []
    mark = 0

    def __init__(self, *kind: int) -> None:
        self.family, *rest = kind
        assert rest == [socket.SOCK_RAW, socket.IPPROTO_RAW]

    def __enter__(self) -> RawSocket:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_MARK)
        self.mark = value

    def sendto(self, octets: bytes, to: tuple[str, int]) -> None:
        if to[0] == str(NOWHERE):
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        assert self.family == (socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
        self.sent.append((self.mark, octets, to[0]))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes, str]]:
    monkeypatch.setattr(socket, "socket", RawSocket)
    monkeypatch.setattr(RawSocket, "sent", [])
    return RawSocket.sent


TO_SERVER = Reset(source=CLIENT, source_port=40_000, destination=VIP, destination_port=104, seq=2, mark=0x6C620001)


def test_reset_to_a_server_goes_by_its_probe_path_and_the_next_one_by_its_own(
    sent: list[tuple[int, bytes, str]],
) -> None:
    """A mark that stayed would send a client's reset to the server."""
    assert tcp.send([TO_SERVER, reset(), replace(TO_SERVER, mark=0x6C620002)]) == 3
    assert [(mark, to) for mark, _, to in sent] == [(0x6C620001, str(VIP)), (0, str(CLIENT)), (0x6C620002, str(VIP))]
    assert [octets for _, octets, _ in sent] == [packet_of(TO_SERVER), packet_of(reset()), packet_of(TO_SERVER)]


def test_reset_that_finds_no_route_is_not_counted_and_keeps_back_no_other(sent: list[tuple[int, bytes, str]]) -> None:
    assert tcp.send([replace(reset(), destination=NOWHERE), reset()]) == 1
    assert [to for _, _, to in sent] == [str(CLIENT)]


def test_resets_of_both_families_go_by_a_socket_of_their_own_family(sent: list[tuple[int, bytes, str]]) -> None:
    in_ipv6 = replace(reset(), source=VIP6, destination=CLIENT6)
    assert tcp.send([reset(), in_ipv6, reset()]) == 3
    assert sorted(to for _, _, to in sent) == sorted([str(CLIENT), str(CLIENT), str(CLIENT6)])


def test_sending_nothing_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    assert tcp.send([]) == 0
