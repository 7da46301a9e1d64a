"""Live flows, and the events of single packets."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from lbctl.daemon.models.base import Address, Model


class FlowStatus(Model):
    """One live flow."""

    protocol: Literal["tcp", "udp"]
    client: Address
    client_port: int
    vip: Address
    vip_port: int
    backend: str
    idle_s: float
    state: str
    """open, closing (the client sent FIN) or reset."""
    returned_bytes: int
    """Of TCP payload, by the client's acknowledgements."""
    sent_bytes: int
    """Of TCP payload, by the client's sequence numbers."""


class Flows(Model):
    """Live flows; ``truncated`` if there are more than were asked for."""

    flows: tuple[FlowStatus, ...]
    truncated: bool


class EventStatus(Model):
    """A new flow, or a packet that was dropped, as its headers tell: never its contents."""

    time: datetime
    kind: Literal["flow", "drop"]
    reason: str
    """The way by which it left the program, as in the counters."""
    interface: str
    vlans: tuple[int, ...]
    """The tags, the outer one first."""
    protocol: str
    """tcp, udp, icmp, icmpv6, arp, or a number."""
    source: Address | None
    source_port: int | None
    destination: Address | None
    destination_port: int | None
    details: str
    """TCP flags as tcpdump writes them, the type of an ICMP message, and the like."""
    service: str | None
    backend: str | None
    frame_bytes: int
    lost: int
    """Events before this one that were not told, for this watcher reads too slowly."""
