"""The state of everything: what ``lbctl status`` shows."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal

from lbctl.daemon.models.applying import UnconfirmedStatus
from lbctl.daemon.models.base import Address, Model

ServiceState = Literal["active", "no backend", "refused", "unchecked", "no interface"]


class Count(Model):
    """Packets and bytes. Bytes are those of the IP datagrams."""

    packets: int
    bytes: int


class ReasonCount(Count):
    """Packets that left the program by one way."""

    recent_packets: int
    """Those of the last minute."""


class TrafficStatus(Count):
    """What was received since it was added, and how it went on."""

    new_connections: int
    returned_bytes: int
    """Of TCP payload, by the clients' acknowledgements: they never cross the director."""
    sent_bytes: int
    """Of TCP payload, by the clients' sequence numbers."""
    returned_per_s: float
    """Bytes a second, in the last 5 to 15 s."""
    sent_per_s: float


class ServiceStatus(TrafficStatus):
    """A service and what it received since it was added."""

    name: str
    vip: Address
    ports: tuple[int, ...]
    protocol: Literal["tcp", "udp"]
    pool: str
    interface: str
    announce: Literal["arp", "routed"]
    """arp: answered for by ARP, or neighbour discovery, on its interface. routed: routers know the way to it."""
    allow: tuple[str, ...]
    """The prefixes whose sources may come; none: everybody."""
    denied: int
    """Packets of other sources."""
    denied_recently: int
    """Those of the last minute."""
    state: ServiceState
    """``no backend``: nobody in its pool takes new connections. ``refused``: another station answers for the VIP.
    ``unchecked``: its interface was never up, so nobody could be asked."""
    reason: str


class Handshakes(Model):
    """TCP handshakes through a backend."""

    begun: int
    """By their first SYN."""
    completed: int
    """By their client's first acknowledgement."""
    repeated: int
    """SYNs that were sent again, for nobody had answered."""
    repeated_recently: int
    """Those of the last minute."""
    unfinished: int
    """Begun, and not completed within half a minute."""
    unfinished_recently: int
    """Those of the last minute."""
    median_s: float | None
    """What half of them took at most, from SYN to acknowledgement, in the last minute; null if none was timed. It counts the
    client's way, too: for comparing the backends of a pool."""
    p95_s: float | None
    """What 95 in 100 of them took at most."""


class BackendStatus(TrafficStatus):
    """A backend, what is known of it, and what it was sent since it was added."""

    name: str
    address: Address
    mac: str | None
    """The last confirmed MAC, or null."""
    state: str
    """up, busy, full, misconfigured, draining, halted, standby, removed, unknown, unresolved or down."""
    reason: str
    """One line that says why."""
    since_s: float | None
    """Seconds in this state, as far as this daemon knows; null for a removed one."""
    probe_latency_s: float | None
    """The latest probe's own round trip."""
    weight: int
    """As declared."""
    given_weight: int | None
    """An operator's, in place of the declared one; null if there is none."""
    weight_declared_then: int | None
    """What the file said when an operator gave it another weight."""
    slow_start_percent: int | None
    """How much of its weight it has so far, while its share grows; null otherwise."""
    effective_weight: float
    """The weight (an operator's, or else the declared one) times the capacity and the slow start; 0 when it takes no new
    connections."""
    share: float
    """Its part of the pool's new connections, 0 to 1."""
    capacity_percent: int
    """What its agent's answers amount to; 100 without an agent."""
    agent: str | None
    """The agent in a word or two, or null without an agent."""
    flows: int
    """Live flows at the latest sweep."""
    connections: int
    """Open TCP connections now, as the program counts them: those that the limit is about."""
    connection_limit: int | None
    """With so many it is full; null without a limit."""
    resume_at: int | None
    """A full one takes new connections again when it has come down to so many; null without a limit."""
    looped: int
    """Packets that it sent back instead of accepting them: the VIP is not on its loopback."""
    looped_recently: int
    """Those of the last minute."""
    handshakes: Handshakes


class ClassStatus(Model):
    """Connections that a pool shares in a way of their own."""

    name: str
    sources: tuple[str, ...]
    """Prefixes; none: all."""
    ports: tuple[int, ...]
    """None: all."""
    weights: dict[str, int]
    """Of each backend, by its name."""
    shares: dict[str, float]
    """Each backend's part of these connections, 0 to 1, by its name."""


class PoolStatus(Model):
    """A pool and its backends, in the order of the file."""

    name: str
    kind: str
    policy: str
    """balance: all of them by weight. failover: one at a time."""
    active: str | None
    """The name of the one that policy failover sends to, or null."""
    storage: str | None
    """shared: each archive answers for all studies. private: each has its own. Null for what is no archive."""
    assigned_sources: int | None
    """How many sources were assigned a backend; null unless the storage is private."""
    fallback: str | None
    """The pool that takes new connections when nobody in this one does, or null."""
    on_empty: str
    """What a new connection gets when nobody takes it, here or in the fallback: reset or drop."""
    backends: tuple[BackendStatus, ...]
    classes: tuple[ClassStatus, ...]
    """Those that it shares by other weights."""


class InterfaceStatus(Model):
    """An interface and how the program runs on it."""

    name: str
    address: IPv4Interface | None
    address6: IPv6Interface | None
    vlans: tuple[int, ...]
    """The tags of its frames, the outer one first; none: untagged."""
    device: str
    """The one that the program is on: its own name, or that of the interface below."""
    mac: str | None
    mode: str
    """native, generic, or detached."""
    fallback_reason: str
    """Why native mode was not to be had."""
    attached: bool


class FlowTableStatus(Model):
    """The flow tables at the latest sweep."""

    live: int
    capacity: int
    fullest: float
    """How full the fullest of them is, 0 to 1. A full one takes no more flows: their packets go by hash alone."""
    age_s: float | None
    """Seconds since that sweep, or null before the first."""


class MemoryStatus(Model):
    """The daemon's anonymous memory, and the kernel memory of the BPF maps, in bytes."""

    daemon_anonymous: int
    bpf_maps: int


class ClaimStatus(Model):
    """Another station said in the last ten minutes that a VIP was its own."""

    vip: Address
    mac: str
    backend: str | None
    """The one (``pool/backend``) that has this MAC, or null."""
    times: int
    """How often it said so since it began."""
    age_s: float
    """Seconds since it last said so."""
    message: str
    """What that is, and what to do, on one line."""


class DaemonStatus(Model):
    """The daemon itself."""

    version: str
    pid: int
    uptime_s: float
    config: str
    config_error: str | None
    """Why the latest reload was refused; the configuration before it is still in force."""
    warnings: tuple[str, ...]
    """What is not as declared around the daemon, and keeps it from doing its work."""
    last_error: str | None
    """The latest failure to carry out a change, if it was not overcome since."""
    generation: int
    """Complete writes to the kernel by this daemon's pins."""
    unconfirmed: UnconfirmedStatus | None = None
    """The change that waits for its confirmation, or null."""


class Status(Model):
    """Everything that ``lbctl status`` shows."""

    daemon: DaemonStatus
    interfaces: tuple[InterfaceStatus, ...]
    services: tuple[ServiceStatus, ...]
    pools: tuple[PoolStatus, ...]
    removed: tuple[BackendStatus, ...]
    """Backends that the file no longer has and that may still have connections. Their names are ``pool/backend`` if this
    daemon knew them, else ``#`` and their id."""
    claims: tuple[ClaimStatus, ...]
    """VIPs that others say are theirs, the latest first. The director goes on serving them, and says so."""
    removed_vips: tuple[Address, ...]
    """VIPs that the file no longer has; they are answered for while connections to them live."""
    flow_table: FlowTableStatus
    memory: MemoryStatus
    reasons: dict[str, ReasonCount]
    """Packets by the way they left the program."""
