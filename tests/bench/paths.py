"""The packets of the benchmark: for each path a packet, how the next repeat's packet differs, and what must be counted."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address

from lbctl.core.model import Address
from lbctl.dataplane.layout import Reason
from tests.packets.world import VIP, VIP6

FOREIGN, FOREIGN6 = IPv4Address("198.51.100.7"), IPv6Address("2001:db8:f::7")
CLIENT, CLIENT6 = IPv4Address("10.0.0.1"), IPv6Address("2001:db8:c::a00:1")
PORT = 104
UDP_PORT = 514
OWN_MAC = bytes.fromhex("02000202000a")
SYN, ACK = 0x02, 0x10


class Setting(Enum):
    """What the tables hold; every backend takes new connections."""

    USUAL = auto()
    LIMITED = auto()
    """Each has a limit, and room."""
    PRIVATE = auto()
    """A pool with private storage, whose clients have no backend yet."""
    ASSIGNED = auto()
    """The same, but the client has one."""
    FULL = auto()
    """None has room."""
    LISTED = auto()
    """The service has a list of sources: 1,000 prefixes, and the client's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """``address_step`` and ``port_step`` are added (as the words lie in memory) before each repeat."""

    name: str
    protocol: str
    reason: Reason
    flags: int = ACK
    destination: Address = VIP
    address_step: int = 0
    port_step: int = 0
    flows: int = 0
    repeats: int = 200_000
    setting: Setting = Setting.USUAL

    def client(self, number: int) -> Address:
        """The ``number``-th client of the path's family."""
        first = CLIENT if self.destination.version == 4 else CLIENT6
        return type(first)(int(first) + number)

    def packet(self, client: Address, client_port: int = 40_000) -> bytes:
        """The frame as a client would send it, 20 bytes of transport header, then the two steps."""
        port = PORT if self.protocol == "tcp" else UDP_PORT
        transport = self._tcp(client_port, port) if self.protocol == "tcp" else self._udp(client_port, port)
        steps = struct.pack("<II", self.address_step, self.port_step)
        addresses = client.packed + self.destination.packed
        return bytes(12) + self._ip(len(transport)) + addresses + transport + steps

    def _ip(self, length: int) -> bytes:
        """EtherType and IP header, without the addresses."""
        number = 6 if self.protocol == "tcp" else 17
        if self.destination.version == 6:
            return struct.pack(">HIHBB", 0x86DD, 6 << 28, length, number, 64)
        return struct.pack(">HBBHHHBBH", 0x0800, 0x45, 0, 20 + length, 0, 0x4000, 64, number, 0)

    def _tcp(self, source: int, destination: int) -> bytes:
        return struct.pack(">HHIIBBHHH", source, destination, 1, 1, 0x50, self.flags, 65535, 0, 0)

    @staticmethod
    def _udp(source: int, destination: int) -> bytes:
        return struct.pack(">HHHH", source, destination, 20, 0) + bytes(12)


ESTABLISHED = Path(name="tcp4 established", protocol="tcp", reason=Reason.ESTABLISHED, flows=1)
FIRST_ACK = Path(name="tcp4 first ack", protocol="tcp", reason=Reason.FIRST_ACK, port_step=1, repeats=500)
NEW = Path(name="tcp4 syn", protocol="tcp", reason=Reason.SYN, flags=SYN, address_step=1)
ESTABLISHED6 = replace(ESTABLISHED, name="tcp6 established", destination=VIP6)
FIRST_ACK6 = replace(FIRST_ACK, name="tcp6 first ack", destination=VIP6)
OF_ONE = replace(NEW, address_step=0, port_step=1, repeats=60_000)
"""All from one client."""
PATHS = (
    ESTABLISHED,
    FIRST_ACK,
    NEW,
    Path(name="udp4 established", protocol="udp", reason=Reason.UDP_ESTABLISHED, flows=1),
    Path(name="not a vip", protocol="tcp", reason=Reason.NOT_VIP, destination=FOREIGN),
    Path(name="tcp4 64k flows", protocol="tcp", reason=Reason.ESTABLISHED, port_step=1, flows=65_536),
    ESTABLISHED6,
    FIRST_ACK6,
    replace(NEW, name="tcp6 syn", destination=VIP6),
    Path(name="udp6 established", protocol="udp", reason=Reason.UDP_ESTABLISHED, destination=VIP6, flows=1),
    Path(name="not a vip, ipv6", protocol="tcp", reason=Reason.NOT_VIP, destination=FOREIGN6),
    replace(ESTABLISHED6, name="tcp6 64k flows", port_step=1, flows=65_536),
    replace(OF_ONE, name="tcp4 syn, of one client, allow-list", setting=Setting.LISTED),
    replace(ESTABLISHED, name="tcp4 established, limited", setting=Setting.LIMITED),
    replace(FIRST_ACK, name="tcp4 first ack, limited", setting=Setting.LIMITED),
    replace(FIRST_ACK, name="tcp4 first ack, private", setting=Setting.ASSIGNED),
    replace(NEW, name="tcp4 syn, limited", setting=Setting.LIMITED),
    replace(NEW, name="tcp4 syn, private", setting=Setting.PRIVATE),
    replace(OF_ONE, name="tcp4 syn, of one client"),
    replace(OF_ONE, name="tcp4 syn, assigned", setting=Setting.ASSIGNED),
    replace(NEW, name="tcp4 syn, all full (3)", reason=Reason.NO_BACKEND, setting=Setting.FULL),
)
