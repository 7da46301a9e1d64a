"""What a configuration file may say. A field's doc stands beneath it and becomes its entry in the reference.

The schema holds only what works. What concerns one value is refused here; what concerns several is in ``rules``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, WrapValidator, field_validator

from lbctl.config import fields
from lbctl.config.mistakes import InvalidValueError
from lbctl.core.model import Announce, AttachMode, Director, Failback, OnEmpty, Reassign, ResetOnDown, WrongPort


class _Spec(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_nothing(cls, value: Any) -> Any:
        """A key without a value is an unfinished line, never a way to say "default"."""
        if value is None:
            raise InvalidValueError("has no value", hint="give it one, or remove the line")
        return value


class InterfaceSpec(_Spec):
    """A NIC of the director on which clients and backends are, or a VLAN sub-interface of one (`eth0.20`, with two tags
    `eth0.100.20`). `address`, `address6`, or both."""

    address: fields.InterfaceAddress | None = None
    """The director's own IPv4 address on this interface, with the prefix length of its subnet (`192.0.2.10/24`). VIPs and
    backends are in that subnet. The address must be on the interface already: lbctl configures no NIC, and no VLAN."""
    address6: fields.InterfaceAddress6 | None = None
    """The same for IPv6 (`2001:db8::10/64`): a global or unique local address, not the link-local one."""
    mode: fields.ModeWord = AttachMode.AUTO
    """How the XDP program is attached: `native` in the driver, `generic` in the kernel's stack (any driver, slower),
    `auto` native if the driver can. It is attached to the NIC, so what one of a NIC's interfaces says holds for all of
    them. Native needs a NIC that leaves VLAN tags in the frame; lbctl switches their removal off where it has to."""


class CheckSpec(_Spec):
    """How health is probed. Written in a pool, in a backend, or in both: a backend's keys go before its pool's."""

    type: fields.CheckWord | None = None
    """`dicom-echo` is a C-ECHO in an association of its own, `tcp` a connection that is opened and closed. Default:
    the preset's; without a preset `dicom-echo` for archives and workstations and `tcp` for the rest."""
    port: fields.Port | None = None
    """The port probed. It translates nothing. Default: the first port of the pool's first TCP service; in a pool
    that is a fallback only, of the first TCP service that falls back on it."""
    calling_ae: fields.AeTitle | None = None
    """AE title that the director gives as its own in a `dicom-echo` (default `LBCTL`). Most archives accept known
    titles only."""
    called_ae: fields.AeTitle | None = None
    """AE title that a `dicom-echo` asks for (default `ANY-SCP`)."""
    interval: fields.CheckInterval | None = None
    """Time from one probe to the next (default 5s)."""
    timeout: fields.CheckTimeout | None = None
    """Time that a probe may take; shorter than the interval. Default: 60 % of the interval, at most 3s."""
    fall: fields.ProbeCount | None = None
    """So many failed probes in a row take a backend down (default 2)."""
    rise: fields.ProbeCount | None = None
    """So many good probes in a row bring it up again (default 3)."""


class AgentSpec(_Spec):
    """A load agent on the backends: it answers a TCP connection with one line such as `75%`, `drain` or `up` (HAProxy's
    agent-check protocol), and the weight follows. In a backend, `agent: none` switches its pool's agent off."""

    port: fields.Port | None = None
    """Where the agent listens on the backend, usually 3333. Required in the pool or in the backend."""
    interval: fields.AgentInterval | None = None
    """Time from one question to the next (default 500ms)."""
    timeout: fields.AgentTimeout | None = None
    """Time that an answer may take; shorter than the interval. Default: 80 % of the interval, at most 400ms."""


class NoAgent(AgentSpec):
    """`agent: none`."""


def _agent_or_none(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    return NoAgent() if value == "none" else handler(value)


class BackendSpec(_Spec):
    """A real server, with the service's VIP on its loopback."""

    address: fields.BackendAddress
    """The server's real address, in the subnet of one of the interfaces: not necessarily the VIP's, nor on its NIC or
    VLAN. All backends of a pool are of one address family."""
    weight: fields.Weight = 100
    """Its share of new connections, relative to the other backends of the pool. 0: no new connections. With `policy:
    failover` nothing is shared, and only 0 means something."""
    connection_limit: fields.ConnectionLimit | None = None
    """This server's own limit, in place of its pool's `connection_limit`."""
    resume_at: fields.ResumeAt | None = None
    """This server's own threshold, in place of its pool's `resume_at`."""
    check: CheckSpec | None = None
    """What differs from the pool's check."""
    agent: Annotated[AgentSpec | None, WrapValidator(_agent_or_none)] = None
    """What differs from the pool's agent; `none` switches it off."""


class PoolSpec(_Spec):
    """Servers that answer for the same thing, all of them with IPv4 addresses or all with IPv6 ones. What serves both has two
    services, and two pools of the same servers: each with the checks of its family."""

    kind: fields.KindWord
    """What the servers are: it decides the default check and the default `policy`, and which presets fit."""
    storage: fields.StorageWord | None = None
    """Required for archives, and for nothing else. `shared`: all of them answer for the same studies (one database, one
    storage), and each connection is balanced by itself. `private`: each has its own, so every source address is assigned
    one archive at its first connection (by weight) and keeps to it: neither weights nor drains nor a full archive send it
    elsewhere. If its archive takes no new connections, the source gets `on_empty`. Clients assigned to one archive do not
    see the studies of the others. Assignments outlive restarts; `lbctl assign` lists and edits them."""
    reassign: fields.ReassignWord = Reassign.REMOVED
    """With `storage: private`: when a source is assigned another archive than the one that holds its studies. `removed`
    when that one is no longer in the file, `down` as soon as it is down, too (a store then succeeds, but apart from the
    source's earlier studies), `never` only by hand (`lbctl assign set`)."""
    policy: fields.PolicyWord | None = None
    """`balance` spreads new connections over all backends by weight. `failover` has one active backend. It stays active while
    it can take connections; then the first in the order of the file that can becomes active (if none can, it stays). The
    connections that are left on the former one are reset, so that no two receive at a time. Default: `failover` for hl7,
    whose messages are ordered, and `balance` for the rest."""
    failback: fields.FailbackWord = Failback.MANUAL
    """With `policy: failover`: when a backend further up in the order becomes active again. `manual` when an operator says
    so (`lbctl activate POOL/BACKEND`), `automatic` as soon as it can take connections. Each switch resets connections."""
    connection_limit: fields.ConnectionLimit | None = None
    """The most TCP connections that each backend has at a time; at the limit it is full and gets no new ones. It counts
    those of all services that the pool answers. Health checks are connections of the server as well, so leave room for
    them below what its licence allows. Default: no limit."""
    resume_at: fields.ResumeAt | None = None
    """A full backend gets new connections again when it has come down to so many; below `connection_limit`. A wider gap
    keeps a server from going to and fro between full and not full. Default: one below the limit."""
    fallback: fields.Name | None = None
    """Another pool, whose backends take new connections when none of this one does. The order for each new connection: a
    backend of its own pool that is up and has room, else a backend of the fallback pool that is up and has room, else
    `on_empty`. One level only: the fallback's own `fallback` is not followed. Live connections stay where they are, and new
    ones come back as soon as the own pool takes them. The fallback's servers need the VIPs of these services on their
    loopback, and for archives the same studies. Not with `policy: failover` (list the servers in order instead), and
    not with `storage: private` (the studies would be elsewhere)."""
    on_empty: fields.OnEmptyWord = OnEmpty.RESET
    """What a new connection gets when nobody takes it: no backend of its own pool with room, and none of the fallback
    pool's; with `storage: private` also when the source's own archive takes none. `reset` refuses at once (a TCP reset, or
    ICMP port unreachable for UDP), so that the client can tell its user or try another node; `drop` answers nothing, and
    the client tries again until its own time-out, which bridges a short gap."""
    classes: dict[fields.Name, dict[fields.Name, fields.Weight]] = {}
    """Classes of connections (declared at top level) that this pool shares in their own way: by class the weights of backends,
    such as `scanners: {pacs1: 200, pacs3: 0}`. A backend that is not named has its own `weight`. A connection of several
    classes belongs to the one whose prefix is the longest; if these are equal, to the one that names the port. When no
    backend with a weight in its class takes new connections, the pool's `fallback` and `on_empty` hold as for any other. Live
    connections stay where they are. With `storage: private` they say where a source is assigned, and nothing after that.
    Not with `policy: failover`, which shares nothing."""
    check: CheckSpec | None = None
    """How the backends' health is probed. May be left out."""
    agent: AgentSpec | None = None
    """The load agent of all backends. Without one, weights stay as written."""
    reset_on_down: fields.ResetOnDownWord = ResetOnDown.TRANSPORT
    """Whether the clients of a backend that goes down get a TCP reset, so that they try again at once instead of waiting for a
    time-out of their own: `transport` on evidence that no connection can be alive (refused, unreachable, no answer to ARP),
    `always` also when the server answers, but wrongly, `never` not at all. With `policy: failover` a switch resets the
    former one's connections whatever this says."""
    backends: dict[fields.Name, BackendSpec]
    """The servers, by name; with `policy: failover` in order of preference. A backend's name is what consistent hashing
    and assignments go by: keep it when an address changes."""


class ServiceSpec(_Spec):
    """A virtual address (VIP) and its ports, answered by a pool."""

    vip: fields.Vip
    """The address that clients connect to: in the subnet of an interface (unless it is `routed`), of its pool's family, and
    configured nowhere except on the backends' loopbacks."""
    announce: fields.AnnounceWord = Announce.ARP
    """How clients find the way to the VIP. `arp`: the director answers ARP for it, for IPv6 neighbour discovery. `routed`:
    routers have a route to it with the director as next hop (`ip route add 203.0.113.5/32 via 192.0.2.10`; lbctl speaks no
    routing protocol); it belongs to no subnet, is announced nowhere, and is served on all interfaces. All services of a VIP
    say the same."""
    preset: fields.PresetName | None = None
    """Protocol, ports, idle limit and check of a well-known service. Either this or `ports`."""
    ports: fields.Ports | None = None
    """The service's ports; the backends listen on the same ones, since direct routing cannot translate them."""
    protocol: fields.ProtocolWord | None = None
    """Transport protocol of `ports` (default `tcp`)."""
    pool: fields.Name
    """The pool that answers."""
    interface: fields.InterfaceName | None = None
    """The interface that owns the VIP. Default: the one whose subnet holds it. Not for a VIP that is `routed`."""
    allow: fields.Allow | None = None
    """Who may come: prefixes of the VIP's family, such as `[10.20.0.0/16, 192.0.2.7]`. What any other source sends is dropped
    without an answer and counted as denied. Only new connections are asked for: a change leaves live ones alone. It guards
    this service at the VIP, and not the servers' own addresses, which are as reachable as before. Default: everybody."""
    idle_timeout: fields.IdleTimeout | None = None
    """A connection that has been silent for longer is forgotten, and may then reach another backend and break: keep it
    above the longest silence that is normal. Default: the preset's; without a preset 24h for HL7, 1h for other TCP, 5m
    for UDP."""


class ClassSpec(_Spec):
    """Connections of a kind, told by where they come from, by the port that they ask for, or by both. A class means something
    in the pools that name it under their own `classes`."""

    sources: fields.Sources | None = None
    """Prefixes that its connections come from, of either family; in a pool those of its own family count. Default: from
    anywhere."""
    ports: fields.ClassPorts | None = None
    """Ports that its connections ask for. Default: all ports of the pool's services."""


class DirectorSpec(_Spec):
    """What concerns the director as a whole. May be left out."""

    tcp_flows: fields.FlowCount = Director().tcp_flows
    """How many TCP connections the director can remember over all services, for each address family in use: IPv4, and as many
    more for IPv6 if a service has an IPv6 VIP. When the table is full, which is counted and
    alarmed, one more still goes where its hash sends it, but a change of weights may then move it. The kernel memory is
    taken at the start, whether used or not; `lbctl check` says how much. Another size counts from the next start on."""
    udp_flows: fields.FlowCount = Director().udp_flows
    """The same for UDP, in tables of its own."""
    wrong_port: fields.WrongPortWord = WrongPort.REFUSE
    """What a packet to a VIP gets on a port that no service has: `refuse` answers with a TCP reset or ICMP port
    unreachable, as a server would, in bounded numbers; `drop` answers nothing."""


class FileSpec(_Spec):
    """The whole file."""

    interfaces: dict[fields.InterfaceName, InterfaceSpec]
    """The director's interfaces, by their Linux name."""
    services: dict[fields.Name, ServiceSpec]
    """What clients connect to, by name."""
    pools: dict[fields.Name, PoolSpec]
    """Who answers, by name."""
    classes: dict[fields.Name, ClassSpec] = {}
    """Kinds of connections, by name, that a pool may share in another way than the rest. May be left out."""
    director: DirectorSpec | None = None
    """Sizes and habits of the director itself. May be left out."""


SECTIONS: dict[tuple[str, ...], type[_Spec]] = {
    (): FileSpec,
    ("interfaces", "*"): InterfaceSpec,
    ("services", "*"): ServiceSpec,
    ("pools", "*"): PoolSpec,
    ("pools", "*", "check"): CheckSpec,
    ("pools", "*", "agent"): AgentSpec,
    ("pools", "*", "backends", "*"): BackendSpec,
    ("pools", "*", "backends", "*", "check"): CheckSpec,
    ("pools", "*", "backends", "*", "agent"): AgentSpec,
    ("classes", "*"): ClassSpec,
    ("director",): DirectorSpec,
}
"""Which part of the file each model describes; ``*`` stands for a name that the operator chose."""
