"""From the tables that are to the tables that should be: an ordered, printable, invertible list of steps.

Order (house rule 3): what is needed is written before what refers to it, and removed after. Segments, then backends that
gain (appear, get a MAC, come up, are found on another segment), then slots and pools, then lists of sources, then services,
then VIPs; then the other way: VIPs, services, lists, pools, backends that lose, segments. So every prefix of a plan is safe:
no slot ever refers to a backend that was not written, no backend stops taking connections while slots still send them, and no
service has a list of which a part is missing. But who is halted is halted before all else: where messages are ordered, nobody
else may receive while he still does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from lbctl.core.model import Address
from lbctl.core.tables import (
    NOBODY,
    BackendRow,
    BackendState,
    InterfaceRow,
    Lan,
    Members,
    PoolRow,
    ServiceKey,
    ServiceRow,
    Slots,
    Sources,
    Tables,
)

Key = TypeVar("Key")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetInterface:
    """Write or remove (``after`` is ``None``) the row of a segment of ours."""

    lan: Lan
    before: InterfaceRow | None
    after: InterfaceRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVip:
    """Begin or cease to answer for a VIP, on a segment or (`ROUTED`) wherever it comes in; ``None``: it is no VIP."""

    vip: Address
    before: Lan | None
    after: Lan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetService:
    """Write or remove a service."""

    key: ServiceKey
    before: ServiceRow | None
    after: ServiceRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPool:
    """Point a pool at a block of slots, or free it."""

    pool_id: int
    before: PoolRow | None
    after: PoolRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBackend:
    """Write or remove a backend's row. A removed row keeps its generation, so that the id's next owner gets another."""

    backend_id: int
    before: BackendRow | None
    after: BackendRow | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetSlots:
    """Give slots of a pool to other backends; ``at`` are positions within the block of ``size`` slots from ``base`` on."""

    pool_id: int
    base: int
    size: int
    at: np.ndarray[tuple[int], np.dtype[np.intp]]
    before: Slots
    after: Slots


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMembers:
    """Say anew who is asked for room in a pool when a slot's owner has none."""

    pool_id: int
    before: Members
    after: Members


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWrongPorts:
    """Drop what comes to a VIP's port that no service has, or refuse it."""

    before: bool
    after: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSources:
    """Write or remove a list of sources. A list that services have is never changed: they get another one."""

    number: int
    before: Sources | None
    after: Sources | None


Step = SetSources | SetWrongPorts | SetMembers | SetInterface | SetVip | SetService | SetPool | SetBackend | SetSlots


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in the order in which they are safe."""

    steps: tuple[Step, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps

    @property
    def declared_steps(self) -> tuple[Step, ...]:
        """The steps that a change of the *declaration* causes. Health, weights, MACs and segments are no part of it."""
        return tuple(step for step in self.steps if not is_dynamic(step))

    def inverse(self) -> Plan:
        """The plan that undoes this one, in the reverse order."""
        return Plan(steps=tuple(inverse(step) for step in reversed(self.steps)))


def is_dynamic(step: Step) -> bool:
    """Whether a step follows from what was observed (health, capacity, MACs, indexes of interfaces) and not from what was
    declared."""
    if isinstance(step, SetSlots | SetMembers):
        return True
    if isinstance(step, SetBackend):
        return step.before is not None and step.after is not None and _is_same_server(step.before, step.after)
    return isinstance(step, SetInterface) and step.before is not None and step.after is not None


def _is_same_server(before: BackendRow, after: BackendRow) -> bool:
    """With the same declaration."""
    return replace(before, state=after.state, mac=after.mac, lan=after.lan) == after


def inverse(step: Step) -> Step:
    """The step that undoes one."""
    return replace(step, before=step.after, after=step.before)  # type: ignore[arg-type]  # each with its own kind


def diff(current: Tables, desired: Tables) -> Plan:
    """The plan from one to the other; empty if they agree."""
    interfaces = [
        SetInterface(lan=k, before=b, after=a) for k, b, a in _changes(current.interfaces, desired.interfaces)
    ]
    backends = [SetBackend(backend_id=k, before=b, after=a) for k, b, a in _changes(current.backends, desired.backends)]
    pools = [SetPool(pool_id=k, before=b, after=a) for k, b, a in _changes(current.pools, desired.pools)]
    sources = [SetSources(number=k, before=b, after=a) for k, b, a in _changes(current.sources, desired.sources)]
    services = [SetService(key=k, before=b, after=a) for k, b, a in _changes(current.services, desired.services)]
    vips = [SetVip(vip=k, before=b, after=a) for k, b, a in _changes(current.vips, desired.vips)]
    steps: list[Step] = []
    steps += [step for step in backends if _halts(step)]
    steps += [step for step in interfaces if step.after is not None]
    steps += [step for step in backends if not _halts(step) and not _loses(step)]
    steps += _slot_steps(current, desired)
    steps += _member_steps(current, desired)
    steps += [step for step in pools if step.after is not None]
    steps += [step for step in sources if step.after is not None]
    steps += [step for step in services if step.after is not None]
    steps += [step for step in vips if step.after is not None]
    steps += [step for step in vips if step.after is None]
    steps += [step for step in services if step.after is None]
    steps += [step for step in sources if step.after is None]
    steps += _dissolved(current, desired)
    steps += [step for step in pools if step.after is None]
    steps += [step for step in backends if not _halts(step) and _loses(step)]
    steps += [step for step in interfaces if step.after is None]
    if current.drops_wrong_ports != desired.drops_wrong_ports:
        steps.append(SetWrongPorts(before=current.drops_wrong_ports, after=desired.drops_wrong_ports))
    return Plan(steps=tuple(steps))


def _changes(before: Mapping[Key, Row], after: Mapping[Key, Row]) -> Iterator[tuple[Key, Row | None, Row | None]]:
    """Keys whose rows differ, those of ``after`` first, each in its mapping's order."""
    if before == after:  # as most are; that is found out at once, should the rows be the same objects
        return
    for key, row in after.items():
        was = before.get(key)
        if was is not row and was != row:
            yield key, was, row
    for key, row in before.items():
        if key not in after:
            yield key, row, None


def _halts(step: SetBackend) -> bool:
    """Whether a backend is halted by this step."""
    was_halted = step.before is not None and step.before.state is BackendState.HALTED
    return step.after is not None and step.after.state is BackendState.HALTED and not was_halted


def _loses(step: SetBackend) -> bool:
    """Whether a backend ceases to take what slots may still send it: to be written after the slots."""
    if step.before is None or step.after is None:
        return step.after is None
    loses_state = step.before.state is BackendState.UP and step.after.state is not BackendState.UP
    return loses_state or (step.before.mac is not None and step.after.mac is None)


def _member_steps(current: Tables, desired: Tables) -> Iterator[SetMembers]:
    for pool_id, after in desired.members.items():
        before = current.members.get(pool_id)
        if before != after:
            yield SetMembers(pool_id=pool_id, before=before or Members(), after=after)


def _dissolved(current: Tables, desired: Tables) -> Iterator[SetMembers]:
    """Of pools that go: so that the inverse brings them back."""
    for pool_id, before in current.members.items():
        if pool_id not in desired.members and before != Members():
            yield SetMembers(pool_id=pool_id, before=before, after=Members())


def _slot_steps(current: Tables, desired: Tables) -> Iterator[SetSlots]:
    """Changed slots in place; a whole block where a pool is new or moves."""
    for pool_id, pool in desired.pools.items():
        after = desired.slots[pool_id]
        was = current.pools.get(pool_id)
        stays = was is not None and (was.base, was.size) == (pool.base, pool.size)
        before = current.slots[pool_id] if stays else np.full(pool.size, NOBODY, np.uint32)
        at = np.flatnonzero(before != after) if stays else np.arange(pool.size)
        if at.size:
            yield SetSlots(pool_id=pool_id, base=pool.base, size=pool.size, at=at, before=before[at], after=after[at])
