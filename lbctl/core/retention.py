"""How long a removed backend or VIP stays in the tables: while it has flows, and for as long as a handshake may take.

Pure but for its own memory; ``now`` is monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from lbctl.core.tables import id_of

HANDSHAKE_S = 70.0
"""Half-open entries are trusted for 64 ticks of about a second: a connection may still be on its way to a flow."""

_Name = int | IPv4Address


class Retention:
    """Remembers when something was removed, and what the latest sweep found alive."""

    def __init__(self) -> None:
        self._removed_at: dict[_Name, float] = {}
        self._last_alive: dict[_Name, float] = {}
        self._swept_at: float | None = None

    def removed(self, backends: Iterable[int], vips: Iterable[IPv4Address], *, now: float) -> None:
        """These (ids, addresses) are in the tables, but no longer declared."""
        names: set[_Name] = {*backends, *vips}
        self._removed_at = {name: self._removed_at.get(name, now) for name in names}

    def swept(self, flows: Mapping[int, int], vips: Mapping[IPv4Address, int], *, now: float) -> None:
        """A sweep found flows of these backend references and VIPs."""
        self._swept_at = now
        self._last_alive = dict.fromkeys([*map(id_of, flows), *vips], now)

    def backends(self, *, now: float) -> frozenset[int]:
        """The ids of removed backends that must stay."""
        return frozenset(name for name in self._kept(now) if isinstance(name, int))

    def vips(self, *, now: float) -> frozenset[IPv4Address]:
        """The removed VIPs that must stay."""
        return frozenset(name for name in self._kept(now) if isinstance(name, IPv4Address))

    def _kept(self, now: float) -> Iterable[_Name]:
        """Nothing goes before a sweep that began after its handshakes can have ended found it idle."""
        for name, removed_at in self._removed_at.items():
            was_swept_since = self._swept_at is not None and self._swept_at >= removed_at + HANDSHAKE_S
            if not was_swept_since or name in self._last_alive:
                yield name
