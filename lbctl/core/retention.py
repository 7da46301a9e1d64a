"""How long a removed backend, service or VIP stays in the tables: while it has flows, and for as long as a handshake may take.

Pure but for its own memory; ``now`` is monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from lbctl.core.model import Address

HANDSHAKE_S = 170.0
"""Half-open entries are trusted for 64 ticks of 256 jiffies, 164 s on a kernel with 100 Hz: a connection may still be on its
way to a flow."""

Name = tuple[str, int] | Address
"""``("backend", id)``, ``("service", id)``, or a VIP."""


class Retention:
    """Remembers when something was removed, and what the latest sweep found alive."""

    def __init__(self) -> None:
        self._removed_at: dict[Name, float] = {}
        self._alive: frozenset[Name] = frozenset()
        self._swept_at: float | None = None

    def removed(self, names: Iterable[Name], *, now: float) -> None:
        """These are in the tables or were until lately, but are no longer declared: all of them, at each call."""
        self._removed_at = {name: self._removed_at.get(name, now) for name in names}

    def swept(self, alive: Iterable[Name], *, now: float) -> None:
        """A sweep that began at this moment found flows of these."""
        self._swept_at, self._alive = now, frozenset(alive)

    def kept(self) -> frozenset[Name]:
        """What must stay: nothing goes before a sweep that began after its handshakes can have ended found it idle."""
        return frozenset(name for name, removed_at in self._removed_at.items() if not self._is_over(name, removed_at))

    def _is_over(self, name: Name, removed_at: float) -> bool:
        was_swept_since = self._swept_at is not None and self._swept_at >= removed_at + HANDSHAKE_S
        return was_swept_since and name not in self._alive
