"""How addresses of both families are written with a port, and sorted together. Pure."""

from __future__ import annotations

from lbctl.core.model import Address


def endpoint(address: Address, port: int) -> str:
    """``192.0.2.1:104``, or ``[2001:db8::1]:104`` (RFC 5952 section 6)."""
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def by_number(address: Address) -> tuple[int, int]:
    """A key to sort by: IPv4 before IPv6, which do not compare with each other."""
    return address.version, int(address)
