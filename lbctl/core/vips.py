"""Which VIPs concern a pool. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lbctl.core.model import Address, Declaration, Protocol


def vips_by_pool(declaration: Declaration) -> Mapping[str, tuple[Address, ...]]:
    """The VIPs that each pool answers for: those of TCP services first, and among these its own before those that it is the
    fallback of."""
    fallbacks = {pool.name: pool.fallback for pool in declaration.pools}
    found: dict[str, dict[Address, None]] = {name: {} for name in fallbacks}
    for protocol in (Protocol.TCP, Protocol.UDP):
        services = [service for service in declaration.services if service.protocol is protocol]
        for pool, service in (
            *((service.pool, service) for service in services),
            *((fallbacks[service.pool], service) for service in services),
        ):
            if pool is not None:
                found[pool][service.vip] = None
    return {pool: tuple(vips) for pool, vips in found.items()}
