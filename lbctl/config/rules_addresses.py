"""Rules about VIPs' and backends' addresses that concern more than one entry. Each takes a draft and yields mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from lbctl.config.addresses import subnet_end
from lbctl.config.draft import Draft
from lbctl.config.effective import addresses_of, interface_of, ports_of, protocol_of, subnet_for
from lbctl.config.mistakes import Mistake, did_you_mean, shown
from lbctl.config.rules_interfaces import bounded_interfaces
from lbctl.config.schema import InterfaceSpec, ServiceSpec
from lbctl.core.model import Address, Announce, Network


def check_addresses(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module."""
    yield from _vip_interfaces(draft)
    yield from _announcements(draft)
    yield from _vip_owners(draft)
    yield from _listeners(draft)
    yield from _backend_addresses(draft)
    yield from _shared_addresses(draft)


def _vip_interfaces(draft: Draft) -> Iterator[Mistake]:
    interfaces = bounded_interfaces(draft)
    for name, service in draft.spec.services.items():
        if service.announce is Announce.ROUTED:
            yield from _routed(draft, name, service)
        elif service.interface and service.interface not in interfaces:
            yield from _unknown_interface(draft, name, service.interface)
        elif owner := service.interface or interface_of(service.vip, interfaces):
            yield from _on_link(draft, name, service.vip, owner=owner)
        elif _may_conclude(draft) and draft.is_spelt("services", name):
            message = f"vip {service.vip} is in no interface's subnet"
            hint = f"{_place_in(interfaces, service.vip)}; or 'announce: routed', if routers have a route to it"
            yield draft.mistake(("services", name, "vip"), message, hint=hint)


def _may_conclude(draft: Draft) -> bool:
    """Whether all subnets are known, so that an address in none of them is a mistake of its own."""
    return bool(draft.spec.interfaces) and draft.is_whole("interfaces") and draft.is_spelt("interfaces")


def _routed(draft: Draft, name: str, service: ServiceSpec) -> Iterator[Mistake]:
    if service.interface:
        message = "a routed VIP belongs to no interface: it is served on all of them"
        hint = "remove 'interface', or write 'announce: arp' to have the VIP answered for there"
        yield draft.mistake(("services", name, "interface"), message, hint=hint)
    interfaces = bounded_interfaces(draft)
    if found := interface_of(service.vip, interfaces):
        network = subnet_for(interfaces[found], service.vip)
        yield from _subnet_ends(draft, ("services", name, "vip"), "vip", service.vip, network)


def _on_link(draft: Draft, name: str, vip: Address, *, owner: str) -> Iterator[Mistake]:
    """A VIP on the interface that its service names, or that has its subnet."""
    path = ("services", name, "vip")
    network = subnet_for(bounded_interfaces(draft)[owner], vip)
    if network and vip in network:
        yield from _subnet_ends(draft, path, "vip", vip, network)
    elif network:
        message = f"vip {vip} is outside interface {owner}'s subnet {network}"
        yield draft.mistake(path, message, hint="use an address of that subnet, or name the interface that has it")
    elif draft.is_spelt("interfaces", owner):
        message = f"interface {owner} has no IPv{vip.version} address, and vip {vip} is IPv{vip.version}"
        hint = (
            f"give {owner} the director's own, under '{_key_of(vip)}:', or name the interface that has the VIP's subnet"
        )
        yield draft.mistake(("services", name, "interface"), message, hint=hint)


def _key_of(address: Address) -> str:
    return "address" if address.version == 4 else "address6"


def _unknown_interface(draft: Draft, service: str, interface: str) -> Iterator[Mistake]:
    written = draft.written_names("interfaces")
    if interface not in written:
        hint = did_you_mean(
            interface, written, otherwise=f"declare it under 'interfaces:' ({', '.join(map(shown, written[:5]))})"
        )
        yield draft.mistake(("services", service, "interface"), f"interface {interface!r} is not declared", hint=hint)


def _place_in(interfaces: dict[str, InterfaceSpec], address: Address) -> str:
    """Where an address could be instead, in words."""
    return f"use a free address of {found}" if (found := _subnets(interfaces, address)) else _without_family(address)


def _subnets(interfaces: dict[str, InterfaceSpec], address: Address) -> str:
    found = ((subnet_for(spec, address), name) for name, spec in interfaces.items())
    return " or ".join(f"{network} ({name})" for network, name in islice(((n, i) for n, i in found if n), 4))


def _without_family(address: Address) -> str:
    key = _key_of(address)
    return f"no interface has an IPv{address.version} address: give one the director's own, under '{key}:'"


def _subnet_ends(
    draft: Draft, path: tuple[str, ...], what: str, address: Address, network: Network | None
) -> Iterator[Mistake]:
    if network and (end := subnet_end(address, network)):
        yield draft.mistake(
            path, f"{what} {address} is the {end} address of {network}", hint="use a host address of that subnet"
        )


def _announcements(draft: Draft) -> Iterator[Mistake]:
    """A VIP is one address, however many services it has."""
    first: dict[Address, str] = {}
    for name, service in draft.spec.services.items():
        other = first.setdefault(service.vip, name)
        announce = draft.spec.services[other].announce
        if service.announce is not announce and draft.is_spelt("services"):
            there = f"service {other} (line {draft.line('services', other)})"
            message = f"'announce' is {service.announce} here, and {announce} in {there}, which has the same vip {service.vip}"
            hint = f"write 'announce: {announce}' here, too, or change it there"
            yield draft.mistake(("services", name, "announce"), message, hint=hint)


def _vip_owners(draft: Draft) -> Iterator[Mistake]:
    """A VIP is nobody's own address: the director's kernel would take its traffic, or a backend would answer ARP."""
    vips = {service.vip for service in draft.spec.services.values()}
    owners = {
        address: (f"the director's own address on {name}", draft.line("interfaces", name, _key_of(address)))
        for address, name in _own_addresses(draft.spec.interfaces)
    }
    for pool_name, pool in draft.spec.pools.items():
        for name, backend in pool.backends.items():
            if backend.address in vips:
                line = draft.line("pools", pool_name, "backends", name, "address")
                owners.setdefault(backend.address, (f"the address of backend {pool_name}/{name}", line))
    for name, service in draft.spec.services.items():
        if owner := owners.get(service.vip):
            message = f"vip {service.vip} is {owner[0]} (line {owner[1]})"
            hint = "use an address that nobody has; the director answers for it without having it"
            yield draft.mistake(("services", name, "vip"), message, hint=hint)


def _own_addresses(interfaces: dict[str, InterfaceSpec]) -> Iterator[tuple[Address, str]]:
    for name, spec in interfaces.items():
        for own in addresses_of(spec):
            yield own.ip, name


def _listeners(draft: Draft) -> Iterator[Mistake]:
    """One service for each VIP, protocol and port."""
    taken: dict[tuple[Address, str, int], str] = {}
    for name, service in draft.spec.services.items():
        clashes: dict[str, list[int]] = {}
        for port in ports_of(service):
            owner = taken.setdefault((service.vip, protocol_of(service), port), name)
            if owner != name:
                clashes.setdefault(owner, []).append(port)
        for owner, ports in clashes.items():
            listed = f"{protocol_of(service)} {'port' if len(ports) == 1 else 'ports'} {', '.join(map(str, ports))}"
            line = draft.line("services", owner)
            message = f"{service.vip} {listed} already belongs to service {owner} (line {line})"
            hint = "give this service another VIP or other ports, or merge the two"
            yield draft.mistake(("services", name, "vip"), message, hint=hint)


def _backend_addresses(draft: Draft) -> Iterator[Mistake]:
    interfaces = bounded_interfaces(draft)
    own = dict(_own_addresses(interfaces))
    for pool_name, pool in draft.spec.pools.items():
        for name, backend in pool.backends.items():
            path = ("pools", pool_name, "backends", name, "address")
            owner = interface_of(backend.address, interfaces)
            if backend.address in own:
                message = f"address {backend.address} is the director's own, on {own[backend.address]}"
                yield draft.mistake(path, message, hint="a director cannot be its own backend; name another machine")
            elif owner:
                network = subnet_for(interfaces[owner], backend.address)
                yield from _subnet_ends(draft, path, "address", backend.address, network)
            elif _may_conclude(draft):
                message = f"address {backend.address} is in no interface's subnet"
                yield draft.mistake(path, message, hint=_off_link_hint(interfaces, backend.address))


def _off_link_hint(interfaces: dict[str, InterfaceSpec], address: Address) -> str:
    if not (subnets := _subnets(interfaces, address)):
        return _without_family(address)
    return (
        f"direct routing reaches neighbours only: move the backend into {subnets}, "
        "or declare the interface that is in its subnet"
    )


def _shared_addresses(draft: Draft) -> Iterator[Mistake]:
    """Two backends of a pool with one address are one server counted twice."""
    for pool_name, pool in draft.spec.pools.items():
        first: dict[Address, str] = {}
        for name, backend in pool.backends.items():
            other = first.setdefault(backend.address, name)
            if other != name:
                line = draft.line("pools", pool_name, "backends", other, "address")
                message = f"address {backend.address} is already that of backend {pool_name}/{other} (line {line})"
                hint = "correct one address, or remove one backend and raise the other's weight"
                yield draft.mistake(("pools", pool_name, "backends", name, "address"), message, hint=hint)
