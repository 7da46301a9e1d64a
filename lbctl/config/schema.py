"""What a configuration file may say. A field's doc stands beneath it and becomes its entry in the reference.

The schema holds only what works. What concerns one value is refused here; what concerns several is in ``rules``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, WrapValidator, field_validator

from lbctl.config import fields
from lbctl.config.mistakes import InvalidValueError
from lbctl.core.model import AttachMode, ResetOnDown


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
    """A NIC of the director on which clients and backends are."""

    address: fields.InterfaceAddress
    """The director's own address on this interface, with the prefix length of its subnet (`192.0.2.10/24`). VIPs and
    backends are in that subnet. The address must be on the interface already: lbctl configures no NIC."""
    mode: fields.ModeWord = AttachMode.AUTO
    """How the XDP program is attached: `native` in the driver, `generic` in the kernel's stack (any driver, slower),
    `auto` native if the driver can."""


class CheckSpec(_Spec):
    """How health is probed. Written in a pool, in a backend, or in both: a backend's keys go before its pool's."""

    type: fields.CheckWord | None = None
    """`dicom-echo` is a C-ECHO in an association of its own, `tcp` a connection that is opened and closed. Default:
    the preset's; without a preset `dicom-echo` for archives and workstations and `tcp` for the rest."""
    port: fields.Port | None = None
    """The port probed. It translates nothing. Default: the first port of the pool's first TCP service."""
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
    """The server's real address, in the subnet of one of the interfaces."""
    weight: fields.Weight = 100
    """Its share of new connections, relative to the other backends of the pool. 0: no new connections."""
    check: CheckSpec | None = None
    """What differs from the pool's check."""
    agent: Annotated[AgentSpec | None, WrapValidator(_agent_or_none)] = None
    """What differs from the pool's agent; `none` switches it off."""


class PoolSpec(_Spec):
    """Servers that answer for the same thing."""

    kind: fields.KindWord
    """What the servers are: it decides the default check, and which presets fit. An `hl7` pool has one backend, because
    HL7 messages are ordered and two active receivers would split the feed."""
    storage: fields.StorageWord | None = None
    """Required for archives, and for nothing else: `shared` says that all of them answer for the same studies (one
    database, one storage)."""
    check: CheckSpec | None = None
    """How the backends' health is probed. May be left out."""
    agent: AgentSpec | None = None
    """The load agent of all backends. Without one, weights stay as written."""
    reset_on_down: fields.ResetOnDownWord = ResetOnDown.TRANSPORT
    """Whether the clients of a backend that goes down get a TCP reset, so that they try again at once instead of waiting for a
    time-out of their own: `transport` on evidence that no connection can be alive (refused, unreachable, no answer to ARP),
    `always` also when the server answers, but wrongly, `never` not at all."""
    backends: dict[fields.Name, BackendSpec]
    """The servers, by name. A backend's name is what consistent hashing goes by: keep it when an address changes."""


class ServiceSpec(_Spec):
    """A virtual address (VIP) and its ports, answered by a pool."""

    vip: fields.Vip
    """The address that clients connect to: in the subnet of an interface, and configured nowhere except on the
    backends' loopbacks."""
    preset: fields.PresetName | None = None
    """Protocol, ports, idle limit and check of a well-known service. Either this or `ports`."""
    ports: fields.Ports | None = None
    """The service's ports; the backends listen on the same ones, since direct routing cannot translate them."""
    protocol: fields.ProtocolWord | None = None
    """Transport protocol of `ports` (default `tcp`)."""
    pool: fields.Name
    """The pool that answers."""
    interface: fields.InterfaceName | None = None
    """The interface that owns the VIP. Default: the one whose subnet holds it."""
    idle_timeout: fields.IdleTimeout | None = None
    """A connection that has been silent for longer is forgotten, and may then reach another backend and break: keep it
    above the longest silence that is normal. Default: the preset's; without a preset 24h for HL7, 1h for other TCP, 5m
    for UDP."""


class FileSpec(_Spec):
    """The whole file."""

    interfaces: dict[fields.InterfaceName, InterfaceSpec]
    """The director's interfaces, by their Linux name."""
    services: dict[fields.Name, ServiceSpec]
    """What clients connect to, by name."""
    pools: dict[fields.Name, PoolSpec]
    """Who answers, by name."""


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
}
"""Which part of the file each model describes; ``*`` stands for a name that the operator chose."""
