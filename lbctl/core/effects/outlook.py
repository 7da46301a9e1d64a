"""What the effects of a change are told from: both declarations, the tables that each leads to, and how many live now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from lbctl.core.ids import identity
from lbctl.core.model import Backend, Declaration
from lbctl.core.tables import NOBODY, BackendRow, Tables, id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Counts of the moment: ``connections`` by backend label, ``flows`` by service id, assigned ``sources`` by backend label.
    ``None``: nobody counts, for there is no daemon."""

    connections: Mapping[str, int] | None = None
    flows: Mapping[int, int] | None = None
    sources: Mapping[str, int] | None = None

    def of_backend(self, label: str) -> int | None:
        """Its TCP connections."""
        return None if self.connections is None else self.connections.get(label, 0)

    def of_services(self, numbers: list[int]) -> int | None:
        """The flows of these ids together."""
        return None if self.flows is None else sum(self.flows.get(number, 0) for number in numbers)

    def sources_of(self, label: str) -> int | None:
        """The sources that a backend was assigned."""
        return None if self.sources is None else self.sources.get(label, 0)


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """``was`` are the tables that the declaration in force (``before``) leads to, ``will_be`` those of the one proposed, under
    the same circumstances; but new backends are taken to be up."""

    before: Declaration
    after: Declaration
    was: Tables
    will_be: Tables
    live: Live = field(default_factory=Live)

    @cached_property
    def backends_before(self) -> Mapping[str, Backend]:
        """By label."""
        return {backend.label: backend for backend in self.before.backends()}

    @cached_property
    def backends_after(self) -> Mapping[str, Backend]:
        """By label."""
        return {backend.label: backend for backend in self.after.backends()}

    @cached_property
    def servers_before(self) -> Mapping[int, Backend]:
        """By identity: under another address it is another server."""
        return {identity(backend.key): backend for backend in self.backends_before.values()}

    @cached_property
    def servers_after(self) -> Mapping[int, Backend]:
        """By identity."""
        return {identity(backend.key): backend for backend in self.backends_after.values()}

    @cached_property
    def removed(self) -> Mapping[int, Backend]:
        """Servers that are no longer declared, by identity."""
        return {number: backend for number, backend in self.servers_before.items() if number not in self.servers_after}

    @cached_property
    def added(self) -> Mapping[int, Backend]:
        """Servers that were not declared, by identity."""
        return {number: backend for number, backend in self.servers_after.items() if number not in self.servers_before}

    @cached_property
    def rows_before(self) -> Mapping[int, BackendRow]:
        """Rows of backends by identity."""
        return {row.identity: row for row in self.was.backends.values()}

    @cached_property
    def rows_after(self) -> Mapping[int, BackendRow]:
        """Rows of backends by identity."""
        return {row.identity: row for row in self.will_be.backends.values()}

    @cached_property
    def pools_before(self) -> Mapping[int, int]:
        """Numbers of rows of pools (and of classes that these share in their own way) by identity."""
        return {row.identity: number for number, row in self.was.pools.items()}

    @cached_property
    def pools_after(self) -> Mapping[int, int]:
        """The same of the tables that will be."""
        return {row.identity: number for number, row in self.will_be.pools.items()}

    def name(self, ref: int, *, pool: str) -> str | None:
        """What a reference is called in a sentence about a pool: ``pacs1``, ``spare/pacs9`` of another pool,
        ``pacs1 (192.0.2.11)`` where the name means two servers; ``None`` if it is nobody's."""
        row = None if ref == NOBODY else self.will_be.backends.get(id_of(ref)) or self.was.backends.get(id_of(ref))
        if row is None:
            return None
        backend = self.servers_after.get(row.identity) or self.servers_before.get(row.identity)
        if backend is None:
            return str(row.address)
        name = backend.name if backend.pool == pool else backend.label
        return f"{name} ({backend.address})" if self.is_two(backend.label) else name

    def is_two(self, label: str) -> bool:
        """Whether a label means one server before and another one after."""
        was, will_be = self.backends_before.get(label), self.backends_after.get(label)
        return was is not None and will_be is not None and was.address != will_be.address

    def is_new(self, ref: int) -> bool:
        """Whether a reference is to a server that was not declared before."""
        row = self.will_be.backends.get(id_of(ref))
        return row is not None and row.identity in self.added
