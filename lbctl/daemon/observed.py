"""What is known of each declared backend's health and capacity, by label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lbctl.core import capacity as capacities
from lbctl.core import health as healths
from lbctl.core.capacity import Capacity
from lbctl.core.desired import backend_key
from lbctl.core.health import Health
from lbctl.core.ids import identity
from lbctl.core.model import CheckTiming, Declaration
from lbctl.core.tables import Tables
from lbctl.core.verdict import AgentReport, AgentSilence, ProbeResult
from lbctl.daemon.adoption import adopted_health, adopted_percents
from lbctl.daemon.store import Overrides


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one declared backend."""

    health: Health
    capacity: Capacity


class Observed:
    """Begins each backend where the kernel's tables left it."""

    def __init__(self, declaration: Declaration, current: Tables, *, overrides: Overrides, now: float) -> None:
        self._declaration = declaration
        self._timings = _timings(declaration)
        self.members: dict[str, Member] = {}
        shares = adopted_percents(declaration, current)
        rows = {row.identity: row for row in current.backends.values()}
        for backend in declaration.backends():
            row = rows.get(identity(backend_key(backend)))
            self.members[backend.label] = Member(
                adopted_health(row, override=overrides.of(backend.label), now=now),
                Capacity.adopted(shares.get(backend.label, 0)) if backend.agent and row else Capacity(),
            )

    def declare(self, declaration: Declaration, *, now: float) -> None:
        """Another file. What is known of backends that stay (under the same address) stays known."""
        before = {backend.label: backend for backend in self._declaration.backends()}
        known = {}
        for backend in declaration.backends():
            stays = backend.label in before and before[backend.label].address == backend.address
            has_agent = stays and backend.agent is not None
            member = self.members[backend.label] if stays else Member(Health(since_s=now), Capacity())
            known[backend.label] = member if has_agent else replace(member, capacity=Capacity())
        self.restore(declaration, known)

    def restore(self, declaration: Declaration, members: dict[str, Member]) -> None:
        """Go back to what was known."""
        self._declaration, self.members = declaration, members
        self._timings = _timings(declaration)

    def probed(self, label: str, result: ProbeResult, *, now: float) -> tuple[healths.HealthEvent, ...]:
        """A probe ended. One of a backend that was removed meanwhile counts for nothing."""
        member = self.members.get(label)
        if member is None:
            return ()
        health, events = healths.observe(member.health, result, timing=self._timings[label], now=now)
        self.members[label] = replace(member, health=health)
        return events

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


def _timings(declaration: Declaration) -> Mapping[str, CheckTiming]:
    return {backend.label: backend.check.timing for backend in declaration.backends()}
