"""Resets as bytes, read by scapy: an implementation of the protocols that is not ours."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP

from lbctl.network.tcp import Reset, packet_of

VIP, CLIENT = IPv4Address("192.0.2.100"), IPv4Address("10.0.0.1")
PORTS = st.integers(1, 0xFFFF)


def reset(*, seq: int = 1) -> Reset:
    return Reset(source=VIP, source_port=104, destination=CLIENT, destination_port=40_000, seq=seq)


def test_reset_is_a_whole_ipv4_packet_from_the_vip_with_nothing_but_rst() -> None:
    found = IP(packet_of(reset(seq=0x89ABCDEF)))

    assert (found.version, found.ihl, found.len, found.ttl, found.proto) == (4, 5, 40, 64, 6)
    assert (str(found.flags), found.frag) == ("DF", 0)
    assert (found.src, found.dst, found[TCP].sport, found[TCP].dport) == (str(VIP), str(CLIENT), 104, 40_000)
    assert (str(found[TCP].flags), found[TCP].seq, found[TCP].ack, found[TCP].dataofs) == ("R", 0x89ABCDEF, 0, 5)


@given(
    addresses=st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    ports=st.tuples(PORTS, PORTS),
    seq=st.integers(0, 0xFFFFFFFF),
)
def test_reset_has_the_checksums_that_scapy_computes(
    addresses: tuple[IPv4Address, IPv4Address], ports: tuple[int, int], seq: int
) -> None:
    octets = packet_of(
        Reset(source=addresses[0], source_port=ports[0], destination=addresses[1], destination_port=ports[1], seq=seq)
    )
    again = IP(octets)
    del again.chksum, again[TCP].chksum
    assert bytes(again) == octets
