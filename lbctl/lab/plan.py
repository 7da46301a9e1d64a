"""What a lab is to be: nodes with names and addresses on one subnet. Nothing is built here."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from lbctl.errors import UsageError
from lbctl.lab import ownership
from lbctl.lab.node import NodePlan, Role

SUBNET = IPv4Network("192.0.2.0/24")
VIP = SUBNET[100]
BPFFS = "bpf"
"""A lab's own BPF filesystem, in its directory."""

_FIRST = {Role.DIRECTOR: 10, Role.BACKEND: 11, Role.CLIENT: 201}
_STEP = {Role.DIRECTOR: -1, Role.BACKEND: 1, Role.CLIENT: 1}
_MOST = {Role.DIRECTOR: 9, Role.BACKEND: 80, Role.CLIENT: 50}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPlan:
    """A lab as it is to be built: enough to tear it down from another process."""

    prefix: str
    directory: Path
    nodes: tuple[NodePlan, ...]
    vips: tuple[IPv4Address, ...] = (VIP,)
    flooding: bool = False
    """The switch never learns, so every frame reaches every port."""
    mtu: int = 1500

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


def plan_lab(
    *,
    directors: int = 1,
    backends: int = 1,
    clients: int = 1,
    vips: Sequence[IPv4Address] = (VIP,),
    flooding: bool = False,
    mtu: int = 1500,
) -> LabPlan:
    """Names and addresses of a lab of that size; nothing is built yet. `UsageError` if the subnet has no room."""
    prefix = f"lb-{secrets.token_hex(2)}"
    counts = {Role.DIRECTOR: directors, Role.BACKEND: backends, Role.CLIENT: clients}
    return LabPlan(
        prefix=prefix,
        directory=ownership.directory_of(prefix),
        nodes=tuple(node for role, count in counts.items() for node in _plan_nodes(prefix, role, count)),
        vips=tuple(vips),
        flooding=flooding,
        mtu=mtu,
    )


def _plan_nodes(prefix: str, role: Role, count: int) -> Iterator[NodePlan]:
    if count > _MOST[role]:
        raise UsageError(f"a lab has room for {_MOST[role]} {role}s, not {count}", hint="ask for fewer")
    for index in range(count):
        name = str(role) if role is Role.DIRECTOR and not index else f"{role}{index + 1}"
        yield NodePlan(
            name=name,
            role=role,
            namespace=f"{prefix}-{name}",
            address=SUBNET[_FIRST[role] + index * _STEP[role]],
            port=f"to-{name}",
        )
