"""Which parts of the data plane's program a declaration needs: the others are compiled out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lbctl.core.model import Declaration, Storage
from lbctl.core.tables import Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Each field is a compile-time switch of ``ebpf/lb.c``, ``LB_`` and its name in capitals. Switching one on or off changes
    no map's layout, so flows go on."""

    ipv6: bool = True
    """Services with IPv6 addresses."""
    lans: bool = True
    """Backends on another segment than the packet came in by: another NIC, or another VLAN."""
    sources: bool = True
    """Allow-lists and classes of connections."""
    limits: bool = True
    """Connection limits."""
    private: bool = True
    """Private storage."""

    def __or__(self, other: Features) -> Features:
        """What either has."""
        return Features(**{each.name: getattr(self, each.name) or getattr(other, each.name) for each in fields(self)})

    @property
    def words(self) -> tuple[str, ...]:
        """The compiler's options, ``-DLB_IPV6=1`` and so on."""
        return tuple(f"-DLB_{each.name.upper()}={int(getattr(self, each.name))}" for each in fields(self))


def features_of(declaration: Declaration) -> Features:
    """What a declaration uses."""
    return Features(
        ipv6=declaration.has_ipv6,
        lans=len(declaration.interfaces) > 1,
        sources=any(pool.class_weights for pool in declaration.pools)
        or any(service.allow for service in declaration.services),
        limits=any(backend.connection_limit for backend in declaration.backends()),
        private=any(pool.storage is Storage.PRIVATE for pool in declaration.pools),
    )


def features_in(tables: Tables) -> Features:
    """What tables use. They may hold more than is declared: what was removed stays in them while connections to it live, and
    these must not lose the part of the program that carries them."""
    return Features(
        ipv6=any(vip.version == 6 for vip in tables.vips),
        lans=len({*tables.interfaces, *(row.lan for row in tables.backends.values())}) > 1,
        sources=bool(tables.sources),
        limits=any(row.limit for row in tables.backends.values()),
        private=any(row.is_private for row in tables.pools.values()),
    )
