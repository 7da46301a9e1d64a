"""What numbers of the data plane are called by people: segments, devices, services, backends."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from lbctl.core.addresses import endpoint
from lbctl.core.model import Declaration
from lbctl.core.tables import Lan, Tables
from lbctl.daemon.index import Index
from lbctl.daemon.neighbourhood import Neighbourhood

VLAN_IDS = 4096


def vlan_ids(vlan: int) -> tuple[int, ...]:
    """The ids of a frame's tags, the outer one first."""
    outer, inner = divmod(vlan, VLAN_IDS)
    return (outer, inner) if outer else ((inner,) if inner else ())


def device_name(ifindex: int, neighbourhood: Neighbourhood) -> str:
    """Of the device at the bottom: as the file has it, or else as the kernel does."""
    for name, nic in neighbourhood.nics.items():
        if nic.lan == Lan(ifindex):
            return name
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return f"#{ifindex}"


def interface_names(neighbourhood: Neighbourhood) -> Mapping[Lan, str]:
    """The declared interfaces that there are, by their segments."""
    return {nic.lan: name for name, nic in neighbourhood.nics.items()}


def backend_names(tables: Tables, index: Index, labels: Mapping[int, str]) -> Mapping[int, str]:
    """Backends by reference; ``labels`` are all that ever were known, by identity."""
    return {
        tables.reference(number): labels.get(row.identity, str(row.address))
        + ("" if row.identity in index.labels else " (removed)")
        for number, row in tables.backends.items()
    }


def service_names(tables: Tables, declaration: Declaration) -> Mapping[int, str]:
    """Services by the ids of their ports."""
    names = {(s.vip, port, s.protocol): s.name for s in declaration.services for port in s.ports}
    return {
        row.id: names.get((key.vip, key.port, key.protocol), endpoint(key.vip, key.port))
        for key, row in tables.services.items()
    }
