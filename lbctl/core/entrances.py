"""Where clients' packets come in: the rows of segments, VIPs and services. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lbctl.core.model import Address, Announce, Declaration, Interface, Service
from lbctl.core.shares import Classed
from lbctl.core.situation import Limits, NicFacts, Situation
from lbctl.core.sources import numbered, source_list
from lbctl.core.tables import ROUTED, InterfaceRow, Lan, ServiceKey, ServiceRow, Sources, Tables
from lbctl.errors import LbctlError


def interface_rows(
    declaration: Declaration, situation: Situation, *, current: Tables, used: Iterable[Lan], limits: Limits
) -> Mapping[Lan, InterfaceRow]:
    """Declared segments, and those ``used`` by what was removed and lives on. `LbctlError` if two interfaces are one segment,
    or if there are too many."""
    rows = {lan: current.interfaces[lan] for lan in used if lan in current.interfaces}
    names: dict[Lan, str] = {}
    for interface in declaration.interfaces:
        nic = situation.nics.get(interface.name)
        if nic is not None:
            _require_one(nic.lan, names.setdefault(nic.lan, interface.name), interface.name)
            rows[nic.lan] = _interface_row(interface, nic)
    if len(rows) > limits.interfaces:
        raise LbctlError(
            f"no room for {len(rows)} interfaces in a table of {limits.interfaces}", hint="declare fewer interfaces"
        )
    return rows


def _require_one(lan: Lan, first: str, second: str) -> None:
    if first != second:
        where = f"VLAN {lan.vlan} of " if lan.vlan else ""
        raise LbctlError(
            f"interfaces {first} and {second} are one and the same: {where}the device with index {lan.ifindex}",
            hint=f"declare {first} only, with both addresses",
        )


def _interface_row(interface: Interface, nic: NicFacts) -> InterfaceRow:
    return InterfaceRow(
        mac=nic.mac,
        address=interface.address.ip if interface.address else None,
        address6=interface.address6.ip if interface.address6 else None,
    )


def moved(lan: Lan, address: Address, *, declaration: Declaration, nics: Mapping[str, NicFacts]) -> Lan:
    """Where something is that was removed and lives on: the interface may have been created anew meanwhile, under another
    index, and is known by its subnet."""
    if any(nic.lan == lan for nic in nics.values()):
        return lan
    owns = ((interface.name, interface.own(address)) for interface in declaration.interfaces if interface.name in nics)
    return next((nics[name].lan for name, own in owns if own is not None and address in own.network), lan)


def interface_of(address: Address, declaration: Declaration) -> str | None:
    """The name of the declared interface whose subnet holds an address."""
    owns = ((interface.name, interface.own(address)) for interface in declaration.interfaces)
    return next((name for name, own in owns if own is not None and address in own.network), None)


def vip_lans(declaration: Declaration, situation: Situation, *, current: Tables) -> Mapping[Address, Lan]:
    """Declared ones, and those that were removed while connections to them live."""
    nics = situation.nics
    declared = {
        service.vip: ROUTED if service.announce is Announce.ROUTED else nics[service.interface].lan
        for service in declaration.services
        if service.announce is Announce.ROUTED or service.interface in nics
        if service.vip not in situation.refused_vips
    }
    lingering = {
        vip: lan if lan == ROUTED else moved(lan, vip, declaration=declaration, nics=nics)
        for vip, lan in current.vips.items()
        if vip in situation.busy_vips
    }
    return {**lingering, **declared}


def service_rows(
    declaration: Declaration,
    situation: Situation,
    *,
    current: Tables,
    pool_ids: Mapping[str, int],
    classed: Mapping[str, Classed],
    limits: Limits,
) -> tuple[Mapping[ServiceKey, ServiceRow], Mapping[int, Sources]]:
    """One row for each port, all ports of a service with ids of their own: counters are kept by port. And the lists of sources
    that these have, by number."""
    wanted = {
        ServiceKey(vip=service.vip, port=port, protocol=service.protocol): service
        for service in declaration.services
        if service.vip not in situation.refused_vips
        for port in service.ports
    }
    ids = _counters(wanted, situation, current, limits)
    lists, sources = numbered(_lists(wanted, classed), current.sources, capacity=limits.sources)
    rows = {
        key: ServiceRow(id=ids[key], pool_id=pool_ids[service.pool], source_list=lists.get(key, 0))
        for key, service in wanted.items()
    }
    return rows, sources


def _lists(wanted: Mapping[ServiceKey, Service], classed: Mapping[str, Classed]) -> Mapping[ServiceKey, Sources]:
    """Of those that not everybody may come to in the pool's own way."""
    found = {
        key: source_list(service, key.port, classed=classed.get(service.pool, ())) for key, service in wanted.items()
    }
    return {key: sources for key, sources in found.items() if sources is not None}


def _counters(
    wanted: Mapping[ServiceKey, Service], situation: Situation, current: Tables, limits: Limits
) -> Mapping[ServiceKey, int]:
    """The index of each service's counters: the one it has, or one that no flow carries."""
    taken = situation.busy_services | {row.id for key, row in current.services.items() if key in wanted}
    free = (number for number in range(1, limits.services) if number not in taken)
    ids: dict[ServiceKey, int] = {}
    for key in wanted:
        ids[key] = current.services[key].id if key in current.services else next(free, 0)
        if not ids[key]:
            raise LbctlError(f"no counter is left for {key}", hint=f"declare fewer than {limits.services} ports in all")
    return ids
