"""What the control API says, as pydantic models: the OpenAPI description and ``lbctl status --json`` come from these."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_NAME = 63
"""Characters of the name of a pool or a backend, at most."""

ServiceState = Literal["active", "no backend", "refused", "unchecked", "no interface"]


class Model(BaseModel):
    """Base of all models; each field's doc stands beneath it."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)


class Count(Model):
    """Packets and bytes. Bytes are those of the IP datagrams."""

    packets: int
    bytes: int


class ReasonCount(Count):
    """Packets that left the program by one way."""

    recent_packets: int
    """Those of the last minute."""


class ServiceStatus(Count):
    """A service and what it received since it was added."""

    name: str
    vip: IPv4Address
    ports: tuple[int, ...]
    protocol: Literal["tcp", "udp"]
    pool: str
    interface: str
    state: ServiceState
    """``no backend``: nobody in its pool takes new connections. ``refused``: another station answers for the VIP.
    ``unchecked``: its interface was never up, so nobody could be asked."""
    reason: str
    new_connections: int


class BackendStatus(Count):
    """A backend, what is known of it, and what it was sent since it was added."""

    name: str
    address: IPv4Address
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
    effective_weight: float
    """The declared weight times the capacity; 0 when it takes no new connections."""
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
    new_connections: int
    returned: int
    """Packets that it sent back instead of accepting them: the VIP is not on its loopback."""
    returned_recently: int
    """Those of the last minute."""


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


class InterfaceStatus(Model):
    """An interface and how the program runs on it."""

    name: str
    address: IPv4Interface
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


class Status(Model):
    """Everything that ``lbctl status`` shows."""

    daemon: DaemonStatus
    interfaces: tuple[InterfaceStatus, ...]
    services: tuple[ServiceStatus, ...]
    pools: tuple[PoolStatus, ...]
    removed: tuple[BackendStatus, ...]
    """Backends that the file no longer has and that may still have connections. Their names are ``pool/backend`` if this
    daemon knew them, else ``#`` and their id."""
    removed_vips: tuple[IPv4Address, ...]
    """VIPs that the file no longer has; they are answered for while connections to them live."""
    flow_table: FlowTableStatus
    memory: MemoryStatus
    reasons: dict[str, ReasonCount]
    """Packets by the way they left the program."""


class FlowStatus(Model):
    """One live flow."""

    protocol: Literal["tcp", "udp"]
    client: IPv4Address
    client_port: int
    vip: IPv4Address
    vip_port: int
    backend: str
    idle_s: float
    state: str
    """open, closing (the client sent FIN) or reset."""


class Flows(Model):
    """Live flows; ``truncated`` if there are more than were asked for."""

    flows: tuple[FlowStatus, ...]
    truncated: bool


class Assignment(Model):
    """The one backend of a pool with private storage that a source's new connections go to."""

    pool: str
    source: IPv4Address
    backend: str
    """Its name within the pool. It may be one that the file no longer has."""


class Assignments(Model):
    """Assignments, by pool and source."""

    assignments: tuple[Assignment, ...]


class Assignee(Model):
    """What an operator assigns to a source."""

    model_config = ConfigDict(extra="forbid")

    backend: str = Field(min_length=1, max_length=MAX_NAME)
    """The backend's name within the pool."""


class Done(Model):
    """A command's effect in words."""

    message: str


class Problem(Model):
    """An error: what is wrong, and what to do."""

    message: str
    hint: str
