"""What the kernel's tables should be, given what was declared and what is observed. Pure.

Ids, generations, slot blocks and numbers of lists go on as the current tables have them, so that an unchanged declaration
changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from lbctl.core.entrances import interface_rows, moved, service_rows, vip_lans
from lbctl.core.ids import FREE, Ids, Ref, identity
from lbctl.core.model import Declaration, WrongPort
from lbctl.core.shares import Share, classes_of, row_numbers, rows_of, shares_of
from lbctl.core.situation import Limits, NicFacts, Situation
from lbctl.core.tables import BackendRow, BackendState, Lan, Slots, Tables
from lbctl.core.takers import members, owned_slots

__all__ = ["Limits", "NicFacts", "Situation", "desired_tables"]

NOWHERE = Lan(0)
"""The segment of a backend whose interface was never seen."""


def desired_tables(declaration: Declaration, situation: Situation, *, current: Tables, limits: Limits) -> Tables:
    """The tables that should be. `LbctlError` if they do not fit."""
    situation = _without_the_cut_off(declaration, situation)
    ids, refs = _refs(declaration, situation, current, limits)
    shares = shares_of(declaration)
    numbers = row_numbers(shares, current, limits)
    lingering = _lingering(declaration, situation, current, ids)
    vips = vip_lans(declaration, situation, current=current)
    services, sources = service_rows(
        declaration, situation, current=current, pool_ids=numbers, classed=classes_of(shares, numbers), limits=limits
    )
    used = {*vips.values(), *(row.lan for row in lingering.values())}
    return Tables(
        interfaces=interface_rows(declaration, situation, current=current, used=used, limits=limits),
        vips=vips,
        services=services,
        sources=sources,
        pools=rows_of(shares, numbers, current, limits),
        backends={**lingering, **_declared(declaration, situation, current, ids, refs)},
        slots={numbers[share.name]: _slots(share, situation, refs, current, numbers) for share in shares},
        members={
            numbers[share.name]: members(share, situation.standings, refs, limit=limits.members) for share in shares
        },
        freed={number: row.generation for number, row in ids.rows.items() if row.identity == FREE},
        drops_wrong_ports=declaration.director.wrong_port is WrongPort.DROP,
    )


def _without_the_cut_off(declaration: Declaration, situation: Situation) -> Situation:
    """Whose interface is not there takes no new connections, whatever its probes said last."""
    cut_off = [backend.label for backend in declaration.backends() if backend.interface not in situation.nics]
    stand = {label: situation.standings[label] for label in cut_off}
    down = {
        label: replace(found, state=BackendState.DOWN, weight=0)
        for label, found in stand.items()
        if found.state is BackendState.UP
    }
    return replace(situation, standings={**situation.standings, **down}) if down else situation


def _slots(
    share: Share, situation: Situation, refs: Mapping[str, Ref], current: Tables, numbers: Mapping[str, int]
) -> Slots:
    """No agent has a word in how a class is shared, so it need not wait for any."""
    waits = share.traffic_class is None and share.pool.name in situation.settling_pools
    settled = current.slots.get(numbers[share.name]) if waits else None
    return owned_slots(share, situation.standings, refs, settled=settled)


def _refs(
    declaration: Declaration, situation: Situation, current: Tables, limits: Limits
) -> tuple[Ids, Mapping[str, Ref]]:
    """Each declared backend's reference by label. Removed backends keep their ids while they are busy; one that takes
    connections until this very moment counts as busy, for a client may have come since the flows were counted."""
    taking = {number for number, row in current.backends.items() if row.state is BackendState.UP}
    keys = {backend.label: backend.key for backend in declaration.backends()}
    declared = {identity(key) for key in keys.values()}
    removed = {number for number, row in current.backends.items() if row.identity not in declared}
    ids = _ids_of(current, limits).without(*removed).release(*removed - situation.busy_backends - taking)
    ids, refs = ids.with_keys(keys.values())
    return ids, {label: refs[key] for label, key in keys.items()}


def _ids_of(current: Tables, limits: Limits) -> Ids:
    held = {number: (row.generation, row.identity) for number, row in current.backends.items()}
    free = {number: (generation, FREE) for number, generation in current.freed.items()}
    return Ids.adopt({**free, **held}, limit=limits.backends - 1)


_FIELDS = tuple(field.name for field in fields(BackendRow))
_values_of = attrgetter(*_FIELDS)


def _declared(
    declaration: Declaration, situation: Situation, current: Tables, ids: Ids, refs: Mapping[str, Ref]
) -> Mapping[int, BackendRow]:
    """Rows that are as they were are the same objects: of thousands, most are."""
    rows: dict[int, BackendRow] = {}
    lans = {name: nic.lan for name, nic in situation.nics.items()}
    for backend in declaration.backends():
        ref = refs[backend.label]
        was = current.backends.get(ref.id)
        values: tuple[Any, ...] = (
            ref.generation,
            ids.rows[ref.id].identity,
            backend.address,
            lans.get(backend.interface) or _former_lan(ref, was),
            situation.standings[backend.label].state,
            situation.macs.get(backend.address),
            backend.connection_limit,
            backend.resume_at,
        )
        is_same = was is not None and _values_of(was) == values
        rows[ref.id] = was if is_same and was else BackendRow(**dict(zip(_FIELDS, values, strict=True)))
    return rows


def _former_lan(ref: Ref, was: BackendRow | None) -> Lan:
    """Where a backend was, of which nobody knows where it is: its interface is not there."""
    return was.lan if was is not None and was.generation == ref.generation else NOWHERE


def _lingering(declaration: Declaration, situation: Situation, current: Tables, ids: Ids) -> Mapping[int, BackendRow]:
    """Rows of removed backends that are still busy: a removal is a drain, except where two must not receive at once. One that
    was down or halted stays so: what a client sends anew (a datagram, a connection from the same port) goes to somebody
    else."""
    rows = {number: current.backends[number] for number in ids.retired}
    return {
        number: replace(
            row,
            state=_state_of_removed(row, situation),
            mac=situation.macs.get(row.address, row.mac),
            lan=moved(row.lan, row.address, declaration=declaration, nics=situation.nics),
        )
        for number, row in rows.items()
    }


def _state_of_removed(row: BackendRow, situation: Situation) -> BackendState:
    if row.identity in situation.former_receivers:
        return BackendState.HALTED
    if row.state is BackendState.DEAD:  # it is not probed any more, and may come back
        return BackendState.DOWN
    return row.state if row.state in (BackendState.DOWN, BackendState.HALTED) else BackendState.DRAINING
