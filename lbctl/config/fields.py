"""The types of the schema's fields: a parser that refuses with a hint, and what the reference page says they take."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Annotated

from pydantic import BeforeValidator

from lbctl.config.addresses import (
    parse_backend_address,
    parse_interface_address,
    parse_interface_address6,
    parse_vip,
)
from lbctl.config.nics import parse_interface_name
from lbctl.config.numbers import duration, parse_port, ports, whole_number
from lbctl.config.prefixes import prefixes
from lbctl.config.presets import PRESETS, CheckType
from lbctl.config.words import (
    one_of,
    parse_ae_title,
    parse_name,
    parse_preset,
    refuse_announcement,
    refuse_check_to_come,
)
from lbctl.core.model import (
    Address,
    Announce,
    AttachMode,
    Failback,
    Network,
    OnEmpty,
    Policy,
    PoolKind,
    Protocol,
    Reassign,
    ResetOnDown,
    Storage,
    WrongPort,
)

MAX_FLOWS = 4_194_304
"""The largest flow table: more than a director sees, and small enough that a slip of a digit takes no host's memory."""


@dataclass(frozen=True, slots=True)
class Takes:
    """What a type accepts, for the reference page."""

    text: str


Name = Annotated[str, BeforeValidator(parse_name), Takes("a name")]
InterfaceName = Annotated[str, BeforeValidator(parse_interface_name), Takes("an interface name")]
Vip = Annotated[Address, BeforeValidator(parse_vip), Takes("an IPv4 or IPv6 address")]
BackendAddress = Annotated[Address, BeforeValidator(parse_backend_address), Takes("an IPv4 or IPv6 address")]
InterfaceAddress = Annotated[
    IPv4Interface, BeforeValidator(parse_interface_address), Takes("IPv4 address/prefix length")
]
InterfaceAddress6 = Annotated[
    IPv6Interface, BeforeValidator(parse_interface_address6), Takes("IPv6 address/prefix length")
]
Allow = Annotated[
    tuple[Network, ...],
    BeforeValidator(prefixes(if_empty="nobody could come; name who may, or remove the line to let everybody in")),
    Takes("a list of prefixes"),
]
Sources = Annotated[
    tuple[Network, ...],
    BeforeValidator(
        prefixes(if_empty="name at least one prefix, or remove the line if the ports alone make the class")
    ),
    Takes("a list of prefixes"),
]
Port = Annotated[int, BeforeValidator(parse_port), Takes("1 to 65535")]
Ports = Annotated[
    tuple[int, ...], BeforeValidator(ports(otherwise="use a preset")), Takes("a list of ports, 1 to 65535")
]
ClassPorts = Annotated[
    tuple[int, ...],
    BeforeValidator(ports(otherwise="remove the line if the sources alone make the class")),
    Takes("a list of ports, 1 to 65535"),
]
Weight = Annotated[int, BeforeValidator(whole_number(0, 256)), Takes("0 to 256")]
ConnectionLimit = Annotated[
    int, BeforeValidator(whole_number(1, MAX_FLOWS, what=" connections")), Takes(f"1 to {MAX_FLOWS}")
]
ResumeAt = Annotated[
    int, BeforeValidator(whole_number(0, MAX_FLOWS - 1, what=" connections")), Takes("0 to one below the limit")
]
FlowCount = Annotated[int, BeforeValidator(whole_number(1024, MAX_FLOWS, what=" flows")), Takes(f"1024 to {MAX_FLOWS}")]
ProbeCount = Annotated[int, BeforeValidator(whole_number(1, 20, what=" probes")), Takes("1 to 20")]
IdleTimeout = Annotated[float, BeforeValidator(duration("10s", "7d")), Takes("a duration, 10s to 7d")]
CheckInterval = Annotated[float, BeforeValidator(duration("200ms", "10m")), Takes("a duration, 200ms to 10m")]
CheckTimeout = Annotated[float, BeforeValidator(duration("50ms", "1m")), Takes("a duration, 50ms to 1m")]
AgentInterval = Annotated[float, BeforeValidator(duration("100ms", "1m")), Takes("a duration, 100ms to 1m")]
AgentTimeout = Annotated[float, BeforeValidator(duration("10ms", "30s")), Takes("a duration, 10ms to 30s")]
AeTitle = Annotated[str, BeforeValidator(parse_ae_title), Takes("an AE title, 1 to 16 characters")]
PresetName = Annotated[str, BeforeValidator(parse_preset), Takes(" | ".join(PRESETS))]
ModeWord = Annotated[AttachMode, BeforeValidator(one_of(AttachMode)), Takes(" | ".join(AttachMode))]
AnnounceWord = Annotated[
    Announce, BeforeValidator(one_of(Announce, refuse=refuse_announcement)), Takes(" | ".join(Announce))
]
ProtocolWord = Annotated[Protocol, BeforeValidator(one_of(Protocol)), Takes(" | ".join(Protocol))]
KindWord = Annotated[PoolKind, BeforeValidator(one_of(PoolKind)), Takes(" | ".join(PoolKind))]
StorageWord = Annotated[Storage, BeforeValidator(one_of(Storage)), Takes(" | ".join(Storage))]
ReassignWord = Annotated[Reassign, BeforeValidator(one_of(Reassign)), Takes(" | ".join(Reassign))]
PolicyWord = Annotated[Policy, BeforeValidator(one_of(Policy)), Takes(" | ".join(Policy))]
FailbackWord = Annotated[Failback, BeforeValidator(one_of(Failback)), Takes(" | ".join(Failback))]
OnEmptyWord = Annotated[OnEmpty, BeforeValidator(one_of(OnEmpty)), Takes(" | ".join(OnEmpty))]
WrongPortWord = Annotated[WrongPort, BeforeValidator(one_of(WrongPort)), Takes(" | ".join(WrongPort))]
ResetOnDownWord = Annotated[ResetOnDown, BeforeValidator(one_of(ResetOnDown)), Takes(" | ".join(ResetOnDown))]
CheckWord = Annotated[
    CheckType, BeforeValidator(one_of(CheckType, refuse=refuse_check_to_come)), Takes(" | ".join(CheckType))
]
