"""Addresses a file may hold: host addresses, of either family, that a VIP, a backend or the director can have."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import Any, TypeVar

from lbctl.config.mistakes import InvalidValueError, quoted, shown
from lbctl.config.words import NO_TRANSLATION_HINT, as_written, text
from lbctl.core.model import Address, Network

_Own = TypeVar("_Own", IPv4Interface, IPv6Interface)

_AN_ADDRESS = "write an address, such as 192.0.2.100 or 2001:db8::100; names are not looked up"
_GLOBAL = "use a global address, or a unique local one (fd00::/8, RFC 4193)"
_PORT = re.compile(r"[0-9.]+:[0-9]+|\[[0-9A-Fa-f:.]+\]:[0-9]+")


def parse_vip(value: Any) -> Address:
    """A virtual address."""
    return _parse_address(value, after_colon="a VIP takes no port; list the service's ports under 'ports:'")


def parse_backend_address(value: Any) -> Address:
    """A real server's address."""
    return _parse_address(value, after_colon=NO_TRANSLATION_HINT)


def _parse_address(value: Any, *, after_colon: str) -> Address:
    if isinstance(value, (int, float)):
        raise InvalidValueError(f"{as_written(value)} is not an IP address", hint=_AN_ADDRESS)
    written = text(value)
    if _PORT.fullmatch(written):
        raise InvalidValueError(f"{quoted(written)} has a port", hint=after_colon)
    if "/" in written:
        bare = shown(written.partition("/")[0])
        raise InvalidValueError(f"{quoted(written)} has a prefix length", hint=f"one address only: write {bare}")
    refuse_scope(written)
    try:
        address = ip_address(written)
    except ValueError:
        what = "an IPv6 address" if ":" in written else "an IP address"
        raise InvalidValueError(f"{quoted(written)} is not {what}", hint=_AN_ADDRESS) from None
    _refuse_special(address)
    return address


def refuse_scope(written: str, *, hint: str = f"{_GLOBAL}: it needs no scope id") -> None:
    """Only a link-local address needs the name of its link."""
    if "%" in written and ":" in written:
        raise InvalidValueError(f"{quoted(written)} has a scope id", hint=hint)


def parse_interface_address(value: Any) -> IPv4Interface:
    """The director's own IPv4 address, with the prefix length that gives the subnet."""
    return _parse_own(value, IPv4Interface, key_of_other="address6", sample="192.0.2.10/24")


def parse_interface_address6(value: Any) -> IPv6Interface:
    """The director's own IPv6 address, with the prefix length that gives the subnet."""
    return _parse_own(value, IPv6Interface, key_of_other="address", sample="2001:db8::10/64")


def _parse_own(value: Any, kind: type[_Own], *, key_of_other: str, sample: str) -> _Own:
    written = text(value)
    refuse_scope(written)
    _refuse_other_family(written, sample, key_of_other)
    family, length = ("IPv6", 64) if ":" in sample else ("IPv4", 24)
    if "/" not in written:
        hint = f"add it, as 'ip -br addr' shows it: {shown(written)}/{length}"
        raise InvalidValueError(f"{quoted(written)} lacks the prefix length of its subnet", hint=hint)
    try:
        own = kind(written)
    except ValueError:  # the base of AddressValueError and NetmaskValueError
        hint = f"write the director's own address with its subnet, such as {sample}"
        raise InvalidValueError(
            f"{quoted(written)} is not an {family} address with a prefix length", hint=hint
        ) from None
    _refuse_special(own.ip)
    _refuse_subnet_ends(own)
    return own


def _refuse_other_family(written: str, sample: str, key_of_other: str) -> None:
    try:
        found = ip_address(written.partition("/")[0])
    except ValueError:
        return
    if found.version != (6 if ":" in sample else 4):
        hint = f"write it as '{key_of_other}: …'; an interface may have an address of each family"
        raise InvalidValueError(f"{quoted(written)} is an IPv{found.version} address", hint=hint)


def _refuse_special(address: Address) -> None:
    for is_special, what, hint in _specials4(address) if address.version == 4 else _specials6(address):
        if is_special:
            raise InvalidValueError(f"{address} is {what}", hint=hint)


_THIS_NETWORK = IPv4Interface("0.0.0.0/8").network
_BROADCAST = IPv4Address("255.255.255.255")
_Specials = tuple[tuple[bool, str, str], ...]


def _specials4(address: IPv4Address) -> _Specials:
    hint = "use a host address"
    return (
        (address.is_unspecified, "the unspecified address", hint),
        (address.is_loopback, "a loopback address", hint),
        (address.is_multicast, "a multicast address", hint),
        (address == _BROADCAST, "the broadcast address", hint),
        (address.is_reserved, "a reserved address (240.0.0.0/4)", hint),
        (address in _THIS_NETWORK, "an address of 'this network' (0.0.0.0/8)", hint),
    )


def _specials6(address: IPv6Address) -> _Specials:
    """By RFC 4291, sections 2.4 and 2.5."""
    joined = "use a unicast address; the groups that neighbour discovery needs are joined by lbctl itself"
    mapped = f"write it as the IPv4 address that it is: {address.ipv4_mapped}"
    return (
        (address.is_unspecified, "the unspecified address", _GLOBAL),
        (address.is_loopback, "the loopback address", _GLOBAL),
        (
            address.is_link_local,
            "a link-local address (fe80::/10)",
            f"{_GLOBAL}: no router takes link-local ones further",
        ),
        (address.is_multicast, "a multicast address (ff00::/8)", joined),
        (address.ipv4_mapped is not None, "an IPv4-mapped address (::ffff:0:0/96)", mapped),
        (address.is_reserved, "a reserved address, which nobody assigns", _GLOBAL),
    )


def _refuse_subnet_ends(own: IPv4Interface | IPv6Interface) -> None:
    network = own.network
    if network.prefixlen in (0, network.max_prefixlen):
        hint = "write the subnet's prefix length, as 'ip -br addr' shows it"
        raise InvalidValueError(f"{own} leaves no subnet that VIPs and backends could be in", hint=hint)
    if end := subnet_end(own.ip, network):
        hint = f"write the director's own address, such as {network.network_address + 1}/{network.prefixlen}"
        raise InvalidValueError(f"{own.ip} is the {end} address of {network}", hint=hint)


def subnet_end(address: Address, network: Network) -> str | None:
    """What an address of a subnet is called that no host may have; ``None`` if one may. Two addresses alone are both hosts'
    (RFC 3021, RFC 6164), and IPv6 has no broadcast (RFC 4291 section 2.6.1)."""
    if network.prefixlen >= network.max_prefixlen - 1:
        return None
    if address == network.network_address:
        return "network" if address.version == 4 else "subnet-router anycast"
    return "broadcast" if address.version == 4 and address == network.broadcast_address else None
