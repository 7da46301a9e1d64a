"""What the controller needs of the kernel's BPF side. `kernel.KernelDataplane` is the real one, `fake` its twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from lbctl.core.features import Features
from lbctl.core.model import Address, AttachMode
from lbctl.core.model import Protocol as Transport
from lbctl.core.plan import Step
from lbctl.core.tables import Tables


class AttachedMode(StrEnum):
    """How an interface's program runs."""

    NATIVE = "native"
    GENERIC = "generic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """An interface with the program on it; ``fallback_reason`` says why native mode was not to be had."""

    ifindex: int
    mode: AttachedMode
    fallback_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Counters since the maps were made. ``returned`` and ``sent`` are bytes of TCP payload, by the progress of the clients'
    acknowledgements and sequence numbers: ``returned`` never crossed the director. ``denied`` (of a service) counts packets of
    sources that may not come. Of a backend: ``looped`` packets it sent back instead of accepting them, ``begun`` handshakes by
    their first SYN, ``repeated`` SYNs sent again, ``completed`` handshakes."""

    packets: int = 0
    bytes: int = 0
    connections: int = 0
    returned: int = 0
    sent: int = 0
    denied: int = 0
    looped: int = 0
    begun: int = 0
    repeated: int = 0
    completed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Packets and bytes by the reason's name; traffic by service id and by backend id. ``handshakes``, by backend id, are how
    many of those that were timed took from 2^i to 2^(i+1) units of `layout.HANDSHAKE_UNIT_S`, shape (HANDSHAKE_BUCKETS,)."""

    reasons: Mapping[str, Traffic]
    services: Mapping[int, Traffic]
    backends: Mapping[int, Traffic]
    handshakes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Another station said that a VIP was its own: so often, and the latest one's MAC."""

    mac: bytes
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A new flow, or a packet that was dropped; ``time_ns`` since boot, ``backend`` a reference (0: none), ``service`` an id
    (0: none), ``frame_bytes`` of the whole, of which ``headers`` are what stands before the layer-4 payload."""

    time_ns: int
    ifindex: int
    vlan: int
    reason: str
    service: int
    backend: int
    frame_bytes: int
    headers: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleLimits:
    """After how many idle seconds a flow ends: by service id while it is open, then after FIN, then after RST. The default is
    for services that are declared no more and whose limit nobody remembers: rather too long than a session cut."""

    open_s: Mapping[int, float] = field(default_factory=dict)
    default_s: float = 86_400.0
    closing_s: float = 120.0
    reset_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one sweep over the flow tables found and did. ``flows`` counts live ones by backend reference, ``datagrams`` those
    of UDP, ``services`` by service id, ``vips`` by VIP; ``open`` only TCP connections that their clients have not ended, by
    reference, and ``ended`` those of them that this sweep ended."""

    flows: Mapping[int, int]
    services: Mapping[int, int]
    vips: Mapping[Address, int]
    open: Mapping[int, int]
    ended: Mapping[int, int]
    expired: int
    capacity: int
    datagrams: Mapping[int, int] = field(default_factory=dict)
    fill: float = 0.0
    """How full the fullest table is, 0 to 1."""

    @property
    def total(self) -> int:
        """Live flows."""
        return sum(self.flows.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEntry:
    """One live flow; ``idle_s`` since the client's last packet, ``state`` as in ``enum lb_flow_state``, ``returned`` and
    ``sent`` as in `Traffic`."""

    protocol: Transport
    client: Address
    client_port: int
    vip: Address
    vip_port: int
    backend: int
    idle_s: float
    state: str
    returned: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A backend's TCP connections that are open, and whether there are as many as it may have."""

    connections: int = 0
    is_full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A source of a pool with private storage."""

    pool_id: int
    source: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A client that waits for its backend (a reference). ``acked`` is the sequence number that the client expects next
    from the VIP, ``next`` the one that the server expects from the client; ``was_open``: neither had ended it."""

    backend: int
    client: Address
    client_port: int
    vip: Address
    vip_port: int
    acked: int
    next: int
    was_open: bool


class Dataplane(Protocol):
    """The BPF side of the kernel. One writer at a time; methods raise `KernelError`."""

    def read(self) -> Tables:
        """What the kernel holds now."""
        ...

    def write(self, step: Step) -> None:
        """Carry out one step of a plan."""
        ...

    def generation(self) -> int:
        """How many complete writes there were since the maps were made, by this daemon and those before it."""
        ...

    def seal(self) -> int:
        """Count one complete write; returns the new generation number."""
        ...

    def counters(self, *, services: Sequence[int], backends: Sequence[int]) -> Counters:
        """The counters of all reasons and of the given ids."""
        ...

    def sweep(self, limits: IdleLimits) -> Sweep:
        """Delete idle flows, and those whose backend is no more; count the others."""
        ...

    def set_clock(self) -> None:
        """Tell the program how fast its clock goes, once that was measured: by a sweep."""
        ...

    def flows(self, *, limit: int, references: Sequence[int] | None = None) -> Sequence[FlowEntry]:
        """At most ``limit`` live flows, in no order; those of these backends, or all."""
        ...

    def give_up(self, references: Sequence[int]) -> Sequence[Waiting]:
        """The TCP clients of these backends, whose flows end soon."""
        ...

    def quiet(self, references: Sequence[int], *, idle_s: float, limit: int) -> Sequence[Waiting]:
        """At most ``limit`` open TCP connections of these backends whose clients have been silent for longer than that."""
        ...

    def connections(self) -> Mapping[int, Connected]:
        """The TCP connections of each backend that the tables have, by id."""
        ...

    def half_open(self) -> Mapping[int, int]:
        """The TCP connections whose SYN went to a backend and whose first ACK may still come, by id, where there are any. They
        count as connections before they cease to be half-open."""
        ...

    def assignments(self) -> Mapping[Assigned, int]:
        """The backend reference of each source of a pool with private storage."""
        ...

    def assign(self, changes: Mapping[Assigned, int | None]) -> None:
        """Give sources another backend (a reference), or none. Live connections stay where they are."""
        ...

    def claims(self) -> Mapping[Address, Claim]:
        """The VIPs that another station said were its own."""
        ...

    def watch(self, *, flows: bool, drops: bool) -> None:
        """Have the program tell of new flows and of drops from now on, or of neither. What was told before is forgotten."""
        ...

    def events(self) -> Sequence[Event]:
        """What it told since the last call, oldest first."""
        ...

    def specialise(self, features: Features) -> None:
        """Put a program with these features behind every link, if the present one has others. Every flow goes on. Takes a
        second or so."""
        ...

    def attach(self, ifindex: int, mode: AttachMode) -> Attachment:
        """Put the program on an interface, or behind the link that is there already."""
        ...

    def keep_pins(self) -> bool:
        """Make sure that maps, programs and links outlive the daemon. Returns whether somebody had seen to it that they would
        not. Raises `LbctlError` if that cannot be helped."""
        ...

    def is_attached(self, ifindex: int) -> bool:
        """Whether the program is on an interface, as the kernel has it."""
        ...

    def detach_others(self, keep: frozenset[int]) -> None:
        """Take the program off every interface that is not to be kept."""
        ...

    def memory_bytes(self) -> int:
        """Kernel memory that the maps take."""
        ...
