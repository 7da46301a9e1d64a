"""What a lab is to be: nodes with names, and their places on one segment or two. Nothing is built here."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbctl.core.model import Address
from lbctl.errors import UsageError
from lbctl.lab import ownership
from lbctl.lab.node import NodePlan, Role
from lbctl.lab.segments import HOME, SECOND_WIRE, Segment, places_of

SUBNET = HOME.subnet
VIP = HOME.address(100)
VIP6 = HOME.address6(100)
BPFFS = "bpf"
"""A lab's own BPF filesystem, in its directory."""

_FIRST = {Role.DIRECTOR: 10, Role.BACKEND: 11, Role.CLIENT: 201, Role.ROUTER: 1}
_STEP = {Role.DIRECTOR: -1, Role.BACKEND: 1, Role.CLIENT: 1, Role.ROUTER: 1}
_MOST = {Role.DIRECTOR: 9, Role.BACKEND: 80, Role.CLIENT: 50, Role.ROUTER: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPlan:
    """A lab as it is to be built: enough to tear it down from another process."""

    prefix: str
    directory: Path
    nodes: tuple[NodePlan, ...]
    vips: tuple[Address, ...] = (VIP,)
    flooding: bool = False
    """The switch never learns, so every frame reaches every port."""
    mtu: int = 1500
    ipv4: bool = True
    ipv6: bool = False
    """Which families the nodes have addresses of."""

    @property
    def switch(self) -> str:
        """The switch's namespace."""
        return f"{self.prefix}-switch"

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Every namespace of the lab."""
        return (self.switch, *(node.namespace for node in self.nodes))

    @property
    def bpffs(self) -> Path:
        """The lab's own BPF filesystem, mounted in the root mount namespace."""
        return self.directory / BPFFS

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Those that somebody is on, home first."""
        return tuple(dict.fromkeys((HOME, *(place.segment for node in self.nodes for place in node.places))))

    @property
    def has_vlans(self) -> bool:
        """Whether the switch has to keep VLANs apart."""
        return any(segment.vlan for segment in self.segments)


def plan_lab(
    *,
    directors: int = 1,
    backends: int = 1,
    clients: int = 1,
    far_backends: int = 0,
    far: Segment = SECOND_WIRE,
    vips: Sequence[Address] | None = None,
    flooding: bool = False,
    mtu: int = 1500,
    ipv4: bool = True,
    ipv6: bool = False,
) -> LabPlan:
    """Names and addresses of a lab of that size; nothing is built yet. `UsageError` if the subnet has no room.

    ``far_backends`` are so many more, on another segment: every director is there as well, and a router connects the two for
    whatever does not go through a director. Without ``vips`` each family has one.
    """
    prefix = f"lb-{secrets.token_hex(2)}"
    both = (HOME, far) if far_backends else (HOME,)
    kinds = (
        _plan_nodes(prefix, Role.DIRECTOR, directors, both),
        _plan_nodes(prefix, Role.BACKEND, backends, (HOME,)),
        _plan_nodes(prefix, Role.BACKEND, far_backends, (far,), after=backends),
        _plan_nodes(prefix, Role.CLIENT, clients, (HOME,)),
        _plan_nodes(prefix, Role.ROUTER, int(far_backends > 0), both),
    )
    return LabPlan(
        prefix=prefix,
        directory=ownership.directory_of(prefix),
        nodes=tuple(node for kind in kinds for node in kind),
        vips=tuple(vips) if vips is not None else (VIP,) * ipv4 + (VIP6,) * ipv6,
        flooding=flooding,
        mtu=mtu,
        ipv4=ipv4,
        ipv6=ipv6,
    )


def _plan_nodes(
    prefix: str, role: Role, count: int, segments: Sequence[Segment], *, after: int = 0
) -> Iterator[NodePlan]:
    if after + count > _MOST[role]:
        raise UsageError(f"a lab has room for {_MOST[role]} {role}s, not {after + count}", hint="ask for fewer")
    for index in range(after, after + count):
        name = str(role) if role in (Role.DIRECTOR, Role.ROUTER) and not index else f"{role}{index + 1}"
        host = _FIRST[role] + index * _STEP[role]
        yield NodePlan(
            name=name,
            role=role,
            namespace=f"{prefix}-{name}",
            places=places_of(host, segments, node=name, on_trunk=role is Role.DIRECTOR),
        )
