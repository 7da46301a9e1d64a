"""What passes a director's NIC: frames and bytes by direction and kind, exact at any rate.

The counting is done by a socket filter in the kernel, on the switch's end of the director's cable: nothing is copied
to user space, so nothing can be lost, not even in a transfer of gigabytes. The lab's address plan tells the kinds
apart: virtual addresses lie in one block of each family, everything to or from the director's own addresses is a probe.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType

from lbctl.core.model import Address
from lbctl.lab import bpf
from lbctl.lab.frame_kinds import TALLY, Direction, Kind, counting_filter
from lbctl.lab.namespaces import enter

__all__ = ["FROM_CLIENTS", "Direction", "FrameCounter", "Kind", "Tally", "Traffic"]


_SO_ATTACH_BPF = 50
_ETH_P_ALL = 0x0003
FROM_CLIENTS = (Kind.CLIENT_DATA, Kind.CLIENT_ACK, Kind.CLIENT_CONTROL)
"""What clients send to virtual addresses, and a director hands on."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Frames, and their bytes with the Ethernet header (14) but without preamble and checksum."""

    frames: int = 0
    octets: int = 0

    def __sub__(self, earlier: Tally) -> Tally:
        return Tally(self.frames - earlier.frames, self.octets - earlier.octets)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.frames + other.frames, self.octets + other.octets)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What had passed at one moment, or between two (their difference)."""

    tallies: Mapping[tuple[Direction, Kind], Tally]

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic({key: tally - earlier.tallies[key] for key, tally in self.tallies.items()})

    def of(self, direction: Direction, *kinds: Kind) -> Tally:
        """Frames of a kind, or of several together, in one direction."""
        return sum((self.tallies[direction, kind] for kind in kinds), Tally())

    @property
    def returned(self) -> Tally:
        """Server-to-client frames of VIP connections that reached the director: none, in direct routing."""
        return self.of(Direction.RECEIVED, Kind.FROM_VIP)

    @property
    def acknowledgements(self) -> Tally:
        """The clients' bare acknowledgements on their way in."""
        return self.of(Direction.RECEIVED, Kind.CLIENT_ACK)

    def total(self, direction: Direction) -> Tally:
        """Every frame in one direction."""
        return self.of(direction, *Kind)


class FrameCounter:
    """Counts the frames on one cable from its construction on. A context manager; `close` frees it.

    ``namespace`` and ``port`` name the switch's end of the cable, ``own`` the addresses of the director on it.
    """

    def __init__(self, *, namespace: str, port: str, own: Collection[Address]) -> None:
        self._bytes = len(Direction) * len(Kind) * TALLY.size
        self._map = bpf.create_value_map(self._bytes)
        program = bpf.load_socket_filter(list(counting_filter(own, self._map)))
        try:
            with enter(namespace):
                self._socket = _filtered_socket(port, program)
        finally:
            os.close(program)

    def read(self) -> Traffic:
        """What has passed so far. Take two and subtract for a phase."""
        tallies = TALLY.iter_unpack(bpf.read_value(self._map, self._bytes))
        keys = ((direction, kind) for direction in Direction for kind in Kind)
        return Traffic({key: Tally(*tally) for key, tally in zip(keys, tallies, strict=True)})

    def close(self) -> None:
        """Stop counting."""
        self._socket.close()
        if self._map >= 0:
            os.close(self._map)
            self._map = -1

    def __enter__(self) -> FrameCounter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _filtered_socket(port: str, program: int) -> socket.socket:
    # Protocol 0 keeps the socket deaf until it is bound, with its filter in place: no frame is ever queued.
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)
    receiver.bind((port, _ETH_P_ALL))
    return receiver
