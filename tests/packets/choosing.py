"""Who takes a new connection, as the oracle sees it: written from the program's description, not from the program."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from lbctl.core.model import Address, OnEmpty
from lbctl.core.tables import (
    NOBODY,
    BackendRow,
    BackendState,
    PoolRow,
    ServiceKey,
    ServiceRow,
    Tables,
    id_of,
)
from lbctl.dataplane.layout import Reason
from tests.packets.hashes import hash_source, slot_of
from tests.packets.memory import FlowKey, Places

PROBES, OWN_PROBES = 32, 24
"""So many members are asked for room; so many of them the pool's own, if there are others."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a packet without flow asks for. ``shared_by`` is the pool row that its class of connections is shared by: the
    pool's, or one of its own."""

    key: FlowKey
    service: int
    pool: int
    shared_by: int


@dataclass(slots=True)
class Chooser:
    """The tables, and what is remembered of places and of sources; sources by (source, pool)."""

    tables: Tables
    places: defaultdict[int, Places] = field(default_factory=lambda: defaultdict(Places))
    assignments: dict[tuple[Address, int], int] = field(default_factory=dict)

    def hold(self, tables: Tables) -> None:
        """Other tables from now on."""
        for number, row in tables.backends.items():
            before = self.tables.backends.get(number)
            self.places[number].hold(row, is_new=before is None or before.generation != row.generation)
        self.tables = tables

    # Who may ask -----------------------------------------------------------------------------------------------------

    def service(self, key: FlowKey) -> ServiceRow | None:
        return self.tables.services.get(ServiceKey(vip=key.vip, port=key.vip_port, protocol=key.protocol))

    def asked(self, key: FlowKey) -> Asked | Reason:
        """Or why it may not be asked for."""
        service = self.service(key)
        if service is None:
            return Reason.NO_SERVICE
        pool_of_class = self._pool_of_class(key.client, service)
        if pool_of_class is None:
            return Reason.DENIED
        return Asked(key, service.id, service.pool_id, pool_of_class or service.pool_id)

    def _pool_of_class(self, client: Address, service: ServiceRow) -> int | None:
        """0: of none. ``None``: the source may not come."""
        if not service.source_list:
            return 0
        listed = self.tables.sources[service.source_list]
        matching = [prefix for prefix in listed if client in prefix]
        return listed[max(matching, key=lambda prefix: prefix.prefixlen)] if matching else None

    # Who takes it ----------------------------------------------------------------------------------------------------

    def for_new(self, asked: Asked) -> int:
        """Who holds what the source sent, and nobody else; or the slot's owner, or else who has more room."""
        holder = self.holder(asked)
        candidates = [holder] if holder else [self.owner(asked), *self._members(asked)]
        best = max(candidates, key=self.room)  # the first of equals
        return best if self.room(best) else NOBODY

    def in_mid_stream(self, asked: Asked) -> int:
        """The holder is right whatever its state."""
        owner = self.owner(asked)
        return self.holder(asked) or (owner if self.is_taker(owner) else NOBODY)

    def _members(self, asked: Asked) -> list[int]:
        """In the order in which they are asked."""
        members, at = self.tables.members[asked.shared_by], asked.key.hash % (1 << 32)
        own, others = members.own, members.fallbacks
        asked_own = min(len(own), OWN_PROBES) if others else len(own)
        refs = [own[(at + i) % (1 << 32) % len(own)] for i in range(asked_own)]
        refs += [others[(at + i) % (1 << 32) % len(others)] for i in range(asked_own, len(own) + len(others)) if others]
        return refs[:PROBES]

    def holder(self, asked: Asked) -> int:
        ref = self.assignments.get((asked.key.client, asked.pool), NOBODY)
        return ref if self.pool(asked).is_private and self.row(ref) is not None else NOBODY

    def owner(self, asked: Asked) -> int:
        slots = self.tables.slots[asked.shared_by]
        by_source = hash_source(asked.key.client) * len(slots) >> 32
        return int(slots[by_source if self.pool(asked).is_private else slot_of(asked.key.hash, len(slots))])

    def nobody(self, asked: Asked) -> Reason:
        """What becomes of it if nobody does."""
        return Reason.NO_BACKEND if self.pool(asked).on_empty is OnEmpty.DROP else Reason.EMPTY

    # Backends --------------------------------------------------------------------------------------------------------

    def pool(self, asked: Asked) -> PoolRow:
        return self.tables.pools[asked.shared_by]

    def row(self, ref: int) -> BackendRow | None:
        row = self.tables.backends.get(id_of(ref))
        return row if row is not None and row.generation == ref >> 16 else None

    def is_taker(self, ref: int) -> bool:
        row = self.row(ref)
        return row is not None and row.state is BackendState.UP

    def room(self, ref: int) -> int:
        return self.places_of(ref).room if self.is_taker(ref) else 0

    def places_of(self, ref: int) -> Places:
        return self.places[id_of(ref)]
