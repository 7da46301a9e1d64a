"""What is known of each declared backend's health and capacity, by label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from lbctl.core import capacity as capacities
from lbctl.core import health as healths
from lbctl.core.capacity import Capacity
from lbctl.core.health import Health
from lbctl.core.ids import identity
from lbctl.core.model import Backend, Declaration
from lbctl.core.tables import Tables
from lbctl.core.verdict import AgentReport, AgentSilence, ProbeResult
from lbctl.daemon.adoption import adopted_health, adopted_percents, remembered_member
from lbctl.daemon.state.overrides import Overrides
from lbctl.daemon.state.store import Remembered

_FULL = Capacity()
"""Of a backend without an agent."""


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one declared backend."""

    health: Health
    capacity: Capacity


class Observed:
    """Begins each backend where the kernel's tables left it; if there are none, as after a reboot, with what is remembered."""

    def __init__(
        self,
        declaration: Declaration,
        current: Tables,
        *,
        overrides: Overrides,
        now: float,
        remembered: Mapping[str, Remembered] = MappingProxyType({}),
        actives: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._declaration, self._backends = declaration, _by_label(declaration)
        self.members: dict[str, Member] = {}
        shares = adopted_percents(declaration, current, weights=_weights(declaration, overrides, now=now))
        rows = {row.identity: row for row in current.backends.values()}
        for backend in declaration.backends():
            row = rows.get(identity(backend.key))
            if not rows:
                self.members[backend.label] = Member(*remembered_member(backend, remembered, actives=actives, now=now))
                continue
            self.members[backend.label] = Member(
                adopted_health(row, override=overrides.of(backend.label), now=now),
                Capacity.adopted(shares.get(backend.label, 0)) if backend.agent and row else _FULL,
            )

    def declare(self, declaration: Declaration, *, now: float) -> None:
        """Another file. What is known of backends that stay (under the same address) stays known."""
        known = {}
        for backend in declaration.backends():
            before = self._backends.get(backend.label)
            stays = before is not None and before.key == backend.key
            has_agent = stays and backend.agent is not None
            member = self.members[backend.label] if stays else Member(Health(since_s=now), _FULL)
            is_kept = has_agent or member.capacity == _FULL
            known[backend.label] = member if is_kept else replace(member, capacity=_FULL)
        self.restore(declaration, known)

    def restore(self, declaration: Declaration, members: dict[str, Member]) -> None:
        """Go back to what was known."""
        self._declaration, self._backends, self.members = declaration, _by_label(declaration), members

    def probed(self, label: str, result: ProbeResult, *, now: float) -> tuple[healths.HealthEvent, ...]:
        """A probe ended. One of a backend that was removed meanwhile counts for nothing."""
        member = self.members.get(label)
        if member is None:
            return ()
        health, events = healths.observe(member.health, result, timing=self._backends[label].check.timing, now=now)
        self.members[label] = replace(member, health=health)
        return events

    def health(self, label: str) -> Health:
        """Of a declared backend."""
        return self.members[label].health

    def agent_answered(
        self, label: str, answer: AgentReport | AgentSilence, *, now: float
    ) -> tuple[capacities.CapacityEvent, ...]:
        """An agent was asked."""
        member = self.members.get(label)
        if member is None:
            return ()
        capacity, events = capacities.observe(member.capacity, answer, now=now)
        self.members[label] = replace(member, capacity=capacity)
        return events

    def to_remember(self, before: Mapping[str, Remembered]) -> Mapping[str, Remembered]:
        """What to begin with after a reboot, by `Backend.key`; of those not probed yet what was remembered ``before``."""
        found: dict[str, Remembered] = {}
        for label, member in self.members.items():
            key = self._backends[label].key
            if member.health.status is not healths.Status.UNKNOWN:
                found[key] = _remembered(member.health.accepts_new, member.capacity.percent)
            elif key in before:
                found[key] = before[key]
        return found

    @property
    def is_first_look_over(self) -> bool:
        """Whether every backend was probed or has history, and every agent has answered."""
        return all(
            (member.health.last_result or member.health.accepts_new) and not member.capacity.is_adopted
            for member in self.members.values()
        )

    def is_guessed(self, label: str) -> bool:
        """Whether a backend's capacity is only what the kernel's tables let one guess."""
        return label in self.members and self.members[label].capacity.is_adopted

    def settling_pools(self) -> frozenset[str]:
        """Pools with an agent that has not been heard since the daemon's start."""
        return frozenset(
            pool.name
            for pool in self._declaration.pools
            if any(self.members[backend.label].capacity.is_adopted for backend in pool.backends)
        )


def _weights(declaration: Declaration, overrides: Overrides, *, now: float) -> Mapping[str, int]:
    """What an agent's percentages are of, in hundredths of the declared unit."""
    ramps = overrides.ramps(now)
    return {
        backend.label: (backend.weight if given is None else given) * ramps.get(backend.label, 100)
        for backend in declaration.backends()
        for given in (overrides.weight_of(backend.label),)
    }


def _by_label(declaration: Declaration) -> Mapping[str, Backend]:
    return {backend.label: backend for backend in declaration.backends()}


@cache
def _remembered(is_up: bool, percent: int) -> Remembered:
    """One for all that are alike: there may be thousands, every few seconds."""
    return Remembered(is_up=is_up, percent=percent)
