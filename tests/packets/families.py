"""Both families of IP, so that a row of the table of packets is written once. Their clients have the same backends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scapy.layers.inet import ICMP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
)
from scapy.packet import Raw

from lbctl.core.model import Address
from tests.packets import frames
from tests.packets.frames import (
    CLIENT,
    CLIENT6,
    CLIENT_MAC,
    COLLIDING,
    COLLIDING6,
    ETHERNET_HEADER,
    EXTENSIONS,
    FOREIGN,
    FOREIGN6,
    IP_OPTIONS,
    addressed_to,
)
from tests.packets.wire import ICMP as ICMP_NUMBER
from tests.packets.wire import frame_of
from tests.packets.world import DIRECTOR, DIRECTOR6, FAR_VIP, FAR_VIP6, OWN_MAC, VIP, VIP6


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Addresses and headers of a family. Methods are the functions of `frames`, from its client to its VIP."""

    version: int
    client: Address
    vip: Address
    far_vip: Address
    foreign: Address
    colliding: Address
    director: Address
    header_bytes: int
    options: Sequence[Any]
    """Options of IPv4, or extension headers of IPv6, each of a length of its own."""
    error_codes: dict[int, range]
    """The codes of each type of ICMP error."""
    too_big: tuple[int, int]
    port_unreachable: tuple[int, int]

    @property
    def icmp(self) -> int:
        """The protocol number."""
        return ICMP_NUMBER[self.version]

    def at(self, offset: int) -> int:
        """Where a byte of the transport header stands in a frame without tags, options and extension headers."""
        return ETHERNET_HEADER + self.header_bytes + offset

    def by_vip(self, payload: Any, **rest: Any) -> bytes:
        """What the program makes itself in the name of the VIP, for the client."""
        fields = {"id": 0, "flags": "DF", "ttl": 64} if self.version == 4 else {"hlim": 64}
        back = {"client": self.vip, "vip": self.client, "source": OWN_MAC, "destination": CLIENT_MAC}
        return frames.packet(payload, **(back | fields | rest))

    @property
    def _ends(self) -> dict[str, Any]:
        return {"client": self.client, "vip": self.vip}

    def packet(self, payload: Any, **rest: Any) -> bytes:
        return frames.packet(payload, **(self._ends | rest))

    def tcp(self, flags: str = "A", *args: Any, **rest: Any) -> bytes:
        return frames.tcp(flags, *args, **(self._ends | rest))

    def udp(self, *args: Any, **rest: Any) -> bytes:
        return frames.udp(*args, **(self._ends | rest))

    def ping(self, **rest: Any) -> bytes:
        return frames.ping(**(self._ends | rest))

    def pong(self, **rest: Any) -> bytes:
        return frames.pong(**(self._ends | rest))

    def fragment(self, offset: int, **rest: Any) -> bytes:
        return frames.fragment(offset, **(self._ends | rest))

    def first(self, payload: Any, **rest: Any) -> bytes:
        return frames.first(payload, **(self._ends | rest))

    def first_fragment(self, *args: Any, **rest: Any) -> bytes:
        return frames.first_fragment(*args, **(self._ends | rest))

    def collides(self, frame: bytes) -> bytes:
        """The frame, addressed to a foreign address that the filter takes for the VIP."""
        return addressed_to(frame, self.colliding)

    def quote(self, frame: bytes, size: int) -> bytes:
        """As much of a frame's IP packet as an ICMP error quotes: its headers, and that many bytes behind them."""
        whole = frame_of(frame)
        assert whole is not None
        assert whole.ip is not None
        return whole.payload[: whole.ip.header_bytes + size]

    def error(self, quoted: bytes, *, type_: int | None = None, code: int = 0, **rest: Any) -> bytes:
        """What a router on the way says about it; ``rest`` goes to `packet`."""
        type_, code = self.too_big if type_ is None else (type_, code)
        return self.packet(self.message(type_, code) / Raw(quoted), **({"client": self.foreign} | rest))

    def message(self, type_: int, code: int = 0) -> Any:
        """The head of an ICMP message."""
        if self.version == 4:
            return (
                ICMP(type=type_, code=code, nexthopmtu=1000) if (type_, code) == (3, 4) else ICMP(type=type_, code=code)
            )
        kinds = {1: ICMPv6DestUnreach, 2: ICMPv6PacketTooBig, 3: ICMPv6TimeExceeded, 4: ICMPv6ParamProblem}
        return kinds[type_](code=code) if type_ in kinds else ICMPv6EchoRequest(type=type_, code=code)


IPV4 = Family(
    version=4,
    client=CLIENT,
    vip=VIP,
    far_vip=FAR_VIP,
    foreign=FOREIGN,
    colliding=COLLIDING,
    director=DIRECTOR,
    header_bytes=20,
    options=IP_OPTIONS,
    error_codes={3: range(16), 4: range(1), 11: range(2), 12: range(3)},
    too_big=(3, 4),
    port_unreachable=(3, 3),
)
IPV6 = Family(
    version=6,
    client=CLIENT6,
    vip=VIP6,
    far_vip=FAR_VIP6,
    foreign=FOREIGN6,
    colliding=COLLIDING6,
    director=DIRECTOR6,
    header_bytes=40,
    options=EXTENSIONS,
    error_codes={1: range(8), 2: range(1), 3: range(2), 4: range(3)},
    too_big=(2, 0),
    port_unreachable=(1, 4),
)
FAMILIES = (IPV4, IPV6)
