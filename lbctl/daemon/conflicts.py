"""Stations that say that a VIP is theirs: who they are, and the answer to them (RFC 5227 section 2.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lbctl.core.model import Address
from lbctl.dataplane.port import Claim

LOOK_INTERVAL_S = 1.0
DEFEND_INTERVAL_S = 10.0
"""RFC 5227 section 2.4 (c): no oftener, or two stations that both defend flood the network."""
TOLD_FOR_S = 600.0
"""A station asks anew when its ARP cache forgets, so that silence of a minute proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A station, by its MAC, claimed a VIP: so often since the daemon looks, and lastly at this moment (monotonic seconds)."""

    vip: Address
    mac: bytes
    times: int
    last: float


class Conflicts:
    """Remembers claims, and when a VIP was last defended. Pure but for its memory."""

    def __init__(self) -> None:
        self._seen: Mapping[Address, int] | None = None
        self._found: dict[tuple[Address, bytes], Conflict] = {}
        self._defended: dict[Address, float] = {}
        self._owed: set[Address] = set()

    def noted(self, claims: Mapping[Address, Claim], *, now: float) -> tuple[Conflict, ...]:
        """The program counted so many claims since it runs; returns those that are new, each with how often that station
        claimed the VIP in all. What was counted before the first look is past."""
        before, self._seen = self._seen, {vip: claim.times for vip, claim in claims.items()}
        if before is None:
            return ()
        news = tuple(self._renewed(claims, before, now=now))
        self._owed = {vip for vip in self._owed if vip in claims} | {conflict.vip for conflict in news}
        self._found |= {(conflict.vip, conflict.mac): conflict for conflict in news}
        self._found = {key: known for key, known in self._found.items() if now - known.last < TOLD_FOR_S}
        return news

    def _renewed(
        self, claims: Mapping[Address, Claim], before: Mapping[Address, int], *, now: float
    ) -> Iterator[Conflict]:
        for vip, claim in claims.items():
            fresh = claim.times - before.get(vip, 0)
            if fresh > 0:
                known = self._found.get((vip, claim.mac))
                yield Conflict(vip=vip, mac=claim.mac, times=fresh + (known.times if known else 0), last=now)

    def to_defend(self, *, now: float) -> tuple[Address, ...]:
        """The VIPs that were claimed since they were last defended, and may be defended again now, which is noted."""
        due = tuple(vip for vip in self._owed if now - self._defended.get(vip, -DEFEND_INTERVAL_S) >= DEFEND_INTERVAL_S)
        self._owed -= set(due)
        self._defended |= dict.fromkeys(due, now)
        return due

    def current(self, *, now: float) -> tuple[Conflict, ...]:
        """The claims of the last minutes, the latest first."""
        recent = (known for known in self._found.values() if now - known.last < TOLD_FOR_S)
        return tuple(sorted(recent, key=lambda known: -known.last))
