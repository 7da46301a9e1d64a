"""Addresses a file may hold: IPv4 host addresses that a VIP, a backend or the director can have."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv6Address
from typing import Any

from lbctl.config.mistakes import InvalidValueError, quoted, shown
from lbctl.config.words import NO_TRANSLATION_HINT, text

_FOUR_NUMBERS = "write four numbers, such as 192.0.2.100; names are not looked up"


def parse_vip(value: Any) -> IPv4Address:
    """A virtual address."""
    return _parse_address(value, after_colon="a VIP takes no port; list the service's ports under 'ports:'")


def parse_backend_address(value: Any) -> IPv4Address:
    """A real server's address."""
    return _parse_address(value, after_colon=NO_TRANSLATION_HINT)


def _parse_address(value: Any, *, after_colon: str) -> IPv4Address:
    if isinstance(value, (int, float)):
        raise InvalidValueError(f"{value} is not an IPv4 address", hint=_FOUR_NUMBERS)
    written = text(value)
    if re.fullmatch(r"[0-9.]+:[0-9]+", written):
        raise InvalidValueError(f"{quoted(written)} has a port", hint=after_colon)
    if "/" in written:
        bare = shown(written.partition("/")[0])
        raise InvalidValueError(f"{quoted(written)} has a prefix length", hint=f"one address only: write {bare}")
    _refuse_ipv6(written)
    try:
        address = IPv4Address(written)
    except AddressValueError:
        raise InvalidValueError(f"{quoted(written)} is not an IPv4 address", hint=_FOUR_NUMBERS) from None
    _refuse_special(address)
    return address


def parse_interface_address(value: Any) -> IPv4Interface:
    """The director's own address, with the prefix length that gives the subnet."""
    written = text(value)
    _refuse_ipv6(written.partition("/")[0])
    if "/" not in written:
        hint = f"add it, as 'ip -br addr' shows it: {shown(written)}/24"
        raise InvalidValueError(f"{quoted(written)} lacks the prefix length of its subnet", hint=hint)
    try:
        interface = IPv4Interface(written)
    except ValueError:  # the base of AddressValueError and NetmaskValueError
        hint = "write the director's own address with its subnet, such as 192.0.2.10/24"
        raise InvalidValueError(f"{quoted(written)} is not an IPv4 address with a prefix length", hint=hint) from None
    _refuse_special(interface.ip)
    _refuse_subnet_ends(interface)
    return interface


def _refuse_ipv6(written: str) -> None:
    try:
        IPv6Address(written)
    except AddressValueError:
        return
    raise InvalidValueError(
        f"{quoted(written)} is an IPv6 address, and IPv6 services are not available yet",
        hint="use IPv4 addresses; IPv6 traffic passes the director untouched meanwhile",
    )


def _refuse_special(address: IPv4Address) -> None:
    for is_special, what in (
        (address.is_unspecified, "the unspecified address"),
        (address.is_loopback, "a loopback address"),
        (address.is_multicast, "a multicast address"),
        (address == IPv4Address("255.255.255.255"), "the broadcast address"),
        (address.is_reserved, "a reserved address (240.0.0.0/4)"),
        (address in _THIS_NETWORK, "an address of 'this network' (0.0.0.0/8)"),
    ):
        if is_special:
            raise InvalidValueError(f"{address} is {what}", hint="use a host address of the interface's subnet")


_THIS_NETWORK = IPv4Interface("0.0.0.0/8").network


def _refuse_subnet_ends(interface: IPv4Interface) -> None:
    network = interface.network
    if network.prefixlen in (0, 32):
        hint = "write the subnet's prefix length, as 'ip -br addr' shows it"
        raise InvalidValueError(f"{interface} leaves no subnet that VIPs and backends could be in", hint=hint)
    if network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
        end = "network" if interface.ip == network.network_address else "broadcast"
        hint = f"write the director's own address, such as {network.network_address + 1}/{network.prefixlen}"
        raise InvalidValueError(f"{interface.ip} is the {end} address of {network}", hint=hint)
