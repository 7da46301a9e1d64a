"""Interfaces that are not as declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface

from lbctl.core.model import Declaration, Interface
from lbctl.errors import NetworkError
from lbctl.network.port import Link


def faults_of(declaration: Declaration, links: Mapping[str, Link]) -> tuple[str, ...]:
    """What is not as declared about the interfaces, a line each."""
    faults = []
    for interface in declaration.interfaces:
        link = links.get(interface.name)
        if link is None:
            faults.append(f"interface {interface.name} does not exist")
            continue
        if not link.is_up:
            faults.append(f"interface {interface.name} is down")
        try:
            check_addresses(interface, link)
        except NetworkError as error:
            faults.append(error.message)
    return (*faults, *_narrow_ways(declaration, links))


def _narrow_ways(declaration: Declaration, links: Mapping[str, Link]) -> Iterator[str]:
    """Larger packets than a backend's segment carries are lost behind the director, which is no router that would say so."""
    behind = {pool.name: {backend.interface for backend in pool.backends} for pool in declaration.pools}
    fallbacks = {pool.name: pool.fallback or pool.name for pool in declaration.pools}
    for service in declaration.services:
        ways = behind[service.pool] | behind[fallbacks[service.pool]]
        for name in sorted(ways & links.keys() if service.interface in links else ()):
            here, there = links[service.interface].mtu, links[name].mtu
            if there < here:
                what = f"{name} carries packets of {there} bytes, {service.interface} of {here}"
                yield f"service {service.name}: {what}; larger ones are lost on the way to its backends"


def check_addresses(interface: Interface, link: Link) -> None:
    """`NetworkError` if the interface has not the addresses that are declared."""
    for key, declared in (("address", interface.address), ("address6", interface.address6)):
        if declared is not None and declared not in link.addresses:
            raise _another_address(interface.name, key, declared, link)


def _another_address(name: str, key: str, declared: IPv4Interface | IPv6Interface, link: Link) -> NetworkError:
    present = [str(address) for address in link.addresses if address.version == declared.version]
    found = ", ".join(present) or f"no IPv{declared.version} address"
    return NetworkError(
        f"interface {name} has {found}, but the file says {declared}",
        hint=f"correct interfaces.{name}.{key}, or the interface: ip address add {declared} dev {name}",
    )
