"""What tests do with tables: compare two, carry out a plan, and tell whether a packet may meet them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from lbctl.core.plan import Plan
from lbctl.core.tables import NOBODY, ROUTED, BackendState, ServiceKey, ServiceRow, Tables, id_of
from lbctl.dataplane.port import Dataplane


def comparable(tables: Tables) -> dict[str, object]:
    """The tables in plain dictionaries and lists, so that ``==`` tells and pytest shows the difference."""
    values = {field.name: getattr(tables, field.name) for field in fields(tables)}
    plain: dict[str, object] = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()
    }
    plain["sources"] = {number: dict(found) for number, found in tables.sources.items()}
    return plain | {"slots": {number: slots.tolist() for number, slots in tables.slots.items()}}


def without_freed(tables: Tables) -> dict[str, object]:
    """As `comparable`; what generations the free ids had is left out."""
    return comparable(tables) | {"freed": {}}


def carry_out(plan: Plan, dataplane: Dataplane) -> None:
    """Write every step."""
    for step in plan.steps:
        dataplane.write(step)


def states_during(plan: Plan, dataplane: Dataplane) -> Iterator[Tables]:
    """Write step by step; the tables before the first and after each one."""
    yield dataplane.read()
    for step in plan.steps:
        dataplane.write(step)
        yield dataplane.read()


def dangers(tables: Tables) -> list[str]:
    """What a packet that comes in now could suffer from. Empty: nothing."""
    found = [fault for key, row in tables.services.items() for fault in _faults_of_service(tables, key, row)]
    found += [
        f"{vip} is on absent {lan}"
        for vip, lan in tables.vips.items()
        if lan != ROUTED and lan not in tables.interfaces
    ]
    found += [
        f"list {number}: {prefix} is shared by absent pool {pool_id}"
        for number, sources in tables.sources.items()
        for prefix, pool_id in sources.items()
        if pool_id and pool_id not in tables.pools
    ]
    for pool_id, slots in tables.slots.items():
        found += [f"pool {pool_id}: {fault}" for ref in set(slots.tolist()) if (fault := _fault(tables, ref))]
    return found


def _faults_of_service(tables: Tables, key: ServiceKey, row: ServiceRow) -> Iterator[str]:
    if row.pool_id not in tables.pools:
        yield f"{key} points to absent pool {row.pool_id}"
    if row.source_list and key.vip.version not in {p.version for p in tables.sources.get(row.source_list, ())}:
        yield f"{key} lets nobody in: list {row.source_list} has no prefix of its family"


def _fault(tables: Tables, ref: int) -> str:
    """Why a new connection must not follow a slot's reference; empty if it may."""
    if ref == NOBODY:
        return ""
    row = tables.backends.get(id_of(ref))
    if row is None:
        return f"slots refer to absent backend {id_of(ref)}"
    if row.generation != ref >> 16:
        return f"slots refer to generation {ref >> 16} of backend {id_of(ref)}, which is of {row.generation}"
    if row.state is BackendState.UP and row.lan not in tables.interfaces:
        return f"slots refer to backend {id_of(ref)} on absent {row.lan}"
    may_be_referred_to = row.state in (BackendState.UP, BackendState.HALTED)  # who is halted is halted before all else
    return "" if may_be_referred_to else f"slots refer to backend {id_of(ref)}, which is {row.state.name}"
