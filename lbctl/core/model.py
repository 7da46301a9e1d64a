"""What an operator declares: interfaces, services, pools, backends. Frozen values, no I/O.

``lbctl.config`` builds a `Declaration` from the file; everything else only reads it.
Times are in seconds, ports are host integers, addresses are `ipaddress` objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Protocol(StrEnum):
    """Transport protocol of a service."""

    TCP = "tcp"
    UDP = "udp"

    @property
    def number(self) -> int:
        """The IANA protocol number (6 or 17)."""
        return 6 if self is Protocol.TCP else 17


class AttachMode(StrEnum):
    """How the XDP program is attached to an interface."""

    AUTO = "auto"
    """Native if the driver can, else generic, told in ``lbctl status``."""
    NATIVE = "native"
    GENERIC = "generic"


class PoolKind(StrEnum):
    """What the servers of a pool are; it decides the default check and which keys make sense."""

    ARCHIVE = "archive"
    """DICOM archives; ``storage`` must be declared."""
    WORKSTATION = "workstation"
    """DICOM storage SCPs that share nothing."""
    HL7 = "hl7"
    WEB = "web"
    XDS = "xds"
    OTHER = "other"


class ResetOnDown(StrEnum):
    """When the clients of a backend that is down get a reset, instead of waiting for a time-out of their own."""

    NEVER = "never"
    TRANSPORT = "transport"
    """On evidence that no connection can be alive: refused, unreachable, no answer to ARP."""
    ALWAYS = "always"
    """Also when the server answers, but not as its protocol demands."""


class Storage(StrEnum):
    """Whether the archives of a pool answer for the same studies."""

    SHARED = "shared"
    PRIVATE = "private"
    """Each has its own: every source keeps to the archive that it was assigned, and others do not see its studies."""


class Reassign(StrEnum):
    """When a source of a pool with private storage is given another backend than the one that holds its studies."""

    NEVER = "never"
    """Not even when its backend was removed: an operator assigns it anew."""
    REMOVED = "removed"
    """When its backend is no longer in the file."""
    DOWN = "down"
    """As soon as its backend is down, too."""


class Policy(StrEnum):
    """How a pool's backends share its connections."""

    BALANCE = "balance"
    """By weight."""
    FAILOVER = "failover"
    """One at a time, in the order of the file."""


class Failback(StrEnum):
    """When a pool with failover goes back to a backend further up in its order."""

    MANUAL = "manual"
    """When an operator says so."""
    AUTOMATIC = "automatic"
    """As soon as that backend is up again."""


class OnEmpty(StrEnum):
    """What a new connection gets when no backend takes it, in the pool and in its fallback."""

    RESET = "reset"
    """A refusal at once: TCP reset, or ICMP port unreachable."""
    DROP = "drop"
    """Nothing: the client tries again until its own time-out."""


class Announce(StrEnum):
    """How clients, and their routers, find the way to a VIP."""

    ARP = "arp"
    """The director answers ARP (for IPv6 neighbour discovery) for it, on the segment of its interface."""
    ROUTED = "routed"
    """Routers have a route to it by way of the director: it belongs to no segment."""


class WrongPort(StrEnum):
    """What a packet for a VIP gets on a port that no service has."""

    REFUSE = "refuse"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTiming:
    """When a probe runs and how many results change a verdict."""

    interval_s: float = 5.0
    timeout_s: float = 3.0
    fall: int = 2
    rise: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck:
    """A TCP handshake, closed in order."""

    port: int
    timing: CheckTiming = CheckTiming()


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomEchoCheck:
    """A DICOM C-ECHO (PS3.7 section 9.1.5) in an association of its own, always released."""

    port: int
    calling_ae: str = "LBCTL"
    called_ae: str = "ANY-SCP"
    timing: CheckTiming = CheckTiming()


Check = TcpCheck | DicomEchoCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Where a backend's load agent listens (HAProxy agent-check text protocol), and how often it is asked."""

    port: int
    interval_s: float = 0.5
    timeout_s: float = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A NIC of the director, or a VLAN sub-interface of one (``eth0.20``). ``address`` and ``address6`` are the director's own
    on it, with their subnets: one of them, or both."""

    name: str
    address: IPv4Interface | None = None
    address6: IPv6Interface | None = None
    mode: AttachMode = AttachMode.AUTO

    @property
    def addresses(self) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """Those that there are."""
        return tuple(address for address in (self.address, self.address6) if address is not None)

    def own(self, peer: Address) -> IPv4Interface | IPv6Interface | None:
        """The director's own address of the family of a peer's."""
        return self.address if peer.version == 4 else self.address6


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A real server. ``weight`` is relative to its pool (0 means no new connections)."""

    pool: str
    name: str
    address: Address
    interface: str
    weight: int
    check: Check
    agent: Agent | None = None
    reset_on_down: ResetOnDown = ResetOnDown.TRANSPORT
    connection_limit: int = 0
    """TCP connections at most; 0: no limit."""
    resume_at: int = 0
    """Once full, it takes new connections again when it has come down to so many; below the limit."""
    label: str = field(init=False, repr=False, compare=False)
    """``pool/name``: the stable name that hashing, ids and messages use."""
    key: str = field(init=False, repr=False, compare=False)
    """``pool/name@address``: what it is recognised by. Under another address it is another server."""

    def __post_init__(self) -> None:  # once, for with thousands of backends the two are asked for all the time
        object.__setattr__(self, "label", f"{self.pool}/{self.name}")
        object.__setattr__(self, "key", f"{self.label}@{self.address}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Servers that answer for the same thing."""

    name: str
    kind: PoolKind
    storage: Storage | None
    backends: tuple[Backend, ...]
    policy: Policy = Policy.BALANCE
    failback: Failback = Failback.MANUAL
    fallback: str | None = None
    """The pool whose backends take new connections when none of this one does."""
    on_empty: OnEmpty = OnEmpty.RESET
    reassign: Reassign = Reassign.REMOVED
    class_weights: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By class and backend name, for the classes that this pool shares in another way: weights of backends that it does not
    name are their own."""

    @property
    def version(self) -> int:
        """4 or 6: all backends' addresses are of one family, and so are the VIPs of the services that they answer."""
        return self.backends[0].address.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A virtual address and its ports, answered by a pool."""

    name: str
    vip: Address
    ports: tuple[int, ...]
    protocol: Protocol
    pool: str
    interface: str
    """Where the VIP is announced; of a routed one, where its pool's first backend is."""
    idle_timeout_s: float
    announce: Announce = Announce.ARP
    allow: tuple[Network, ...] = ()
    """Sources that may come, of the VIP's family; none: everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficClass:
    """Connections of a kind, by where they come from and which port they ask for. None of either means all."""

    name: str
    sources: tuple[Network, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Director:
    """What concerns the director as a whole. The tables hold so many flows; another size counts from the next start on."""

    tcp_flows: int = 131_072
    udp_flows: int = 65_536
    wrong_port: WrongPort = WrongPort.REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """The whole of one configuration file, valid as it stands."""

    interfaces: tuple[Interface, ...]
    services: tuple[Service, ...]
    pools: tuple[Pool, ...]
    director: Director = Director()
    classes: tuple[TrafficClass, ...] = ()

    @property
    def has_ipv6(self) -> bool:
        """Whether a service has an IPv6 address."""
        return any(service.vip.version == 6 for service in self.services)

    def backends(self) -> Iterator[Backend]:
        """Every backend of every pool, in the order of the file."""
        for pool in self.pools:
            yield from pool.backends

    def pool(self, name: str) -> Pool:
        """The pool of that name; `KeyError` if there is none."""
        return next(pool for pool in self.pools if pool.name == name)

    def fallback_of(self, pool: Pool) -> Pool | None:
        """The pool that takes over for another, if there is one."""
        return self.pool(pool.fallback) if pool.fallback else None

    def services_of(self, pool: str) -> tuple[Service, ...]:
        """The services that a pool answers, in the order of the file: its own, then those it is the fallback of."""
        own = tuple(service for service in self.services if service.pool == pool)
        return own + tuple(service for service in self.services if self.pool(service.pool).fallback == pool)
