"""Rules about addresses that concern more than one entry. Each takes a draft and yields mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations, islice

from lbctl.config.draft import Draft
from lbctl.config.effective import ports_of, protocol_of
from lbctl.config.mistakes import Mistake, did_you_mean, shown
from lbctl.config.schema import InterfaceSpec

MAX_INTERFACES = 64


def check_addresses(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module."""
    yield from _interfaces(draft)
    yield from _vip_interfaces(draft)
    yield from _vip_owners(draft)
    yield from _listeners(draft)
    yield from _backend_addresses(draft)
    yield from _shared_addresses(draft)
    yield from _other_wires(draft)


def interface_of(address: IPv4Address, interfaces: dict[str, InterfaceSpec]) -> str | None:
    """The interface in whose subnet an address is."""
    found = (name for name, spec in interfaces.items() if address in spec.address.network)
    return next(islice(found, 1), None)


def _bounded_interfaces(draft: Draft) -> dict[str, InterfaceSpec]:
    return dict(islice(draft.spec.interfaces.items(), MAX_INTERFACES))


def _interfaces(draft: Draft) -> Iterator[Mistake]:
    interfaces = draft.spec.interfaces
    if len(interfaces) > MAX_INTERFACES:
        message = f"{len(interfaces)} interfaces are more than the {MAX_INTERFACES} that one director serves"
        yield draft.mistake(("interfaces",), message, hint="list only those that clients and backends are on")
    for (first, one), (second, other) in combinations(_bounded_interfaces(draft).items(), 2):
        if one.address.network.overlaps(other.address.network):
            line = draft.line("interfaces", first, "address")
            message = f"subnet {other.address.network} overlaps {first}'s {one.address.network} (line {line})"
            hint = "give each interface a subnet of its own, or list only one of the two"
            yield draft.mistake(("interfaces", second, "address"), message, hint=hint)


def _vip_interfaces(draft: Draft) -> Iterator[Mistake]:
    interfaces = _bounded_interfaces(draft)
    for name, service in draft.spec.services.items():
        path = ("services", name, "vip")
        if service.interface and service.interface not in interfaces:
            yield from _unknown_interface(draft, name, service.interface)
            continue
        owner = service.interface or interface_of(service.vip, interfaces)
        if owner and service.vip in interfaces[owner].address.network:
            yield from _subnet_ends(draft, path, f"vip {service.vip}", service.vip, interfaces[owner].address.network)
        elif owner:
            message = f"vip {service.vip} is outside interface {owner}'s subnet {interfaces[owner].address.network}"
            yield draft.mistake(path, message, hint="use an address of that subnet, or name the interface that has it")
        elif interfaces and draft.is_whole("interfaces"):
            message = f"vip {service.vip} is in no interface's subnet"
            yield draft.mistake(path, message, hint=f"use a free address of {_subnets(interfaces)}")


def _unknown_interface(draft: Draft, service: str, interface: str) -> Iterator[Mistake]:
    written = draft.written_names("interfaces")
    if interface not in written:
        hint = did_you_mean(
            interface, written, otherwise=f"declare it under 'interfaces:' ({', '.join(map(shown, written[:5]))})"
        )
        yield draft.mistake(("services", service, "interface"), f"interface {interface!r} is not declared", hint=hint)


def _subnets(interfaces: dict[str, InterfaceSpec]) -> str:
    return " or ".join(f"{spec.address.network} ({name})" for name, spec in islice(interfaces.items(), 4))


def _subnet_ends(
    draft: Draft, path: tuple[str, ...], what: str, address: IPv4Address, network: IPv4Network
) -> Iterator[Mistake]:
    if network.prefixlen < 31 and address in (network.network_address, network.broadcast_address):
        end = "network" if address == network.network_address else "broadcast"
        yield draft.mistake(path, f"{what} is the {end} address of {network}", hint="use a host address of that subnet")


def _vip_owners(draft: Draft) -> Iterator[Mistake]:
    """A VIP is nobody's own address: the director's kernel would take its traffic, or a backend would answer ARP."""
    owners = {
        spec.address.ip: (f"the director's own address on {name}", draft.line("interfaces", name, "address"))
        for name, spec in draft.spec.interfaces.items()
    }
    for pool_name, pool in draft.spec.pools.items():
        for name, backend in pool.backends.items():
            line = draft.line("pools", pool_name, "backends", name, "address")
            owners.setdefault(backend.address, (f"the address of backend {pool_name}/{name}", line))
    for name, service in draft.spec.services.items():
        if owner := owners.get(service.vip):
            message = f"vip {service.vip} is {owner[0]} (line {owner[1]})"
            hint = "use an address of that subnet that nobody has; lbctl answers ARP for it"
            yield draft.mistake(("services", name, "vip"), message, hint=hint)


def _listeners(draft: Draft) -> Iterator[Mistake]:
    """One service for each VIP, protocol and port."""
    taken: dict[tuple[IPv4Address, str, int], str] = {}
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
    interfaces = _bounded_interfaces(draft)
    own = {spec.address.ip: name for name, spec in interfaces.items()}
    for pool_name, pool in draft.spec.pools.items():
        for name, backend in pool.backends.items():
            path = ("pools", pool_name, "backends", name, "address")
            owner = interface_of(backend.address, interfaces)
            if backend.address in own:
                message = f"address {backend.address} is the director's own, on {own[backend.address]}"
                yield draft.mistake(path, message, hint="a director cannot be its own backend; name another machine")
            elif owner:
                network = interfaces[owner].address.network
                yield from _subnet_ends(draft, path, f"address {backend.address}", backend.address, network)
            elif interfaces and draft.is_whole("interfaces"):
                message = f"address {backend.address} is in no interface's subnet"
                yield draft.mistake(path, message, hint=_off_link_hint(interfaces))


def _off_link_hint(interfaces: dict[str, InterfaceSpec]) -> str:
    return (
        f"direct routing reaches neighbours only: move the backend into {_subnets(interfaces)}, "
        "or declare the interface that is in its subnet"
    )


def _shared_addresses(draft: Draft) -> Iterator[Mistake]:
    """Two backends of a pool with one address are one server counted twice."""
    for pool_name, pool in draft.spec.pools.items():
        first: dict[IPv4Address, str] = {}
        for name, backend in pool.backends.items():
            other = first.setdefault(backend.address, name)
            if other != name:
                line = draft.line("pools", pool_name, "backends", other, "address")
                message = f"address {backend.address} is already that of backend {pool_name}/{other} (line {line})"
                hint = "correct one address, or remove one backend and raise the other's weight"
                yield draft.mistake(("pools", pool_name, "backends", name, "address"), message, hint=hint)


def _other_wires(draft: Draft) -> Iterator[Mistake]:
    """The program sends a frame out of the interface that it came in by."""
    interfaces = _bounded_interfaces(draft)
    for name, service in draft.spec.services.items():
        on = service.interface or interface_of(service.vip, interfaces)
        pool = draft.spec.pools.get(service.pool)
        if pool is None or on not in interfaces:
            continue
        vip = f"vip {service.vip} is on {on}"
        yield from _strays(draft, ("services", name, "pool"), pool_name=service.pool, vip=vip, on=on)
        if pool.fallback:
            vip = f"vip {service.vip} of service {name} is on {on}"
            yield from _strays(draft, ("pools", service.pool, "fallback"), pool_name=pool.fallback, vip=vip, on=on)


def _strays(draft: Draft, path: tuple[str, ...], *, pool_name: str, vip: str, on: str) -> Iterator[Mistake]:
    """The first backend of a pool that is on another interface than a VIP it answers for."""
    interfaces = _bounded_interfaces(draft)
    pool = draft.spec.pools.get(pool_name)
    for name, backend in pool.backends.items() if pool else ():
        other = interface_of(backend.address, interfaces)
        if other not in (None, on):
            message = f"{vip}, but backend {pool_name}/{name} is on {other}"
            hint = f"use a VIP of {other}'s subnet for this pool; balancing between interfaces is not available yet"
            if path[-1] == "fallback":
                hint = f"fall back on servers in {on}'s subnet; balancing between interfaces is not available yet"
            yield draft.mistake(path, message, hint=hint)
            break
