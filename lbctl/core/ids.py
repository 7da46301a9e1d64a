"""Small stable numbers for backends and services, each with a generation, so that a number in a flow cannot be mistaken.

The kernel's tables know an object by ``(id, generation)``. An id is given to one key at a time; when it goes to another
key the generation rises, so a flow that still carries the old pair finds nothing. The kernel's row of an id keeps the
identity of its key (a hash) and the generation, also while it is free: a daemon that restarts goes on from there.

An id has three states: held by a live key; *retired*, its key gone but flows still using it; free. The caller moves it
on: `Ids.without` retires, `Ids.release` frees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Self

from lbctl.errors import LbctlError

MAX_GENERATION = 0xFFFF
"""Generations are 16 bits wide in the kernel's tables; 0 means that the id was never used."""

FREE = 0
"""The identity in the row of an id that no key holds."""


@lru_cache(maxsize=1 << 16)
def identity(key: str) -> int:
    """64 bits that stand for a stable key, never `FREE`: the first 8 bytes of its BLAKE2b (RFC 7693), little-endian."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, person=b"lbctl ids").digest(), "little") or 1


@dataclass(frozen=True, slots=True)
class Ref:
    """What flows and slots carry: an id (from 1) and its generation (from 1 to 65,535)."""

    id: int
    generation: int


@dataclass(frozen=True, slots=True)
class Row:
    """What the kernel keeps for an id: the latest generation, and the holder's identity or `FREE`."""

    generation: int
    identity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Who holds which id of 1 … ``limit``. A value: every method returns a new one.

    ``rows`` has one row for each id that was ever used; ``retired`` are the ids whose key is gone, but not yet released.
    """

    limit: int
    rows: Mapping[int, Row] = field(default_factory=lambda: MappingProxyType({}))
    retired: frozenset[int] = frozenset()

    @classmethod
    def adopt(cls, existing: Mapping[int, tuple[int, int]], *, limit: int) -> Self:
        """The ids as the kernel holds them: ``{id: (generation, identity)}``, identity `FREE` for a free one.

        Leaving out a row that was used forgets its generation; rows of generation 0 were never used and may be left out.
        Whatever is held counts as live; `unclaimed` then tells what the declaration no longer has.
        """
        rows = {number: Row(*row) for number, row in existing.items() if row[0]}
        return cls(limit=limit, rows=MappingProxyType(rows))

    def exported(self) -> dict[int, tuple[int, int]]:
        """The rows as `adopt` takes them."""
        return {number: (row.generation, row.identity) for number, row in self.rows.items()}

    def ref(self, key: str) -> Ref | None:
        """The reference that the key holds, retired or not."""
        wanted = identity(key)
        for number, row in self.rows.items():
            if row.identity == wanted:
                return Ref(number, row.generation)
        return None

    def with_key(self, key: str) -> tuple[Self, Ref]:
        """Make sure that the key holds an id. A retired key that comes back in time gets its own id back, flows and all.

        Raises `LbctlError` if every id is taken.
        """
        ref = self.ref(key)
        if ref is not None:
            return replace(self, retired=self.retired - {ref.id}), ref
        number = self._lowest_free(key)
        last = self.rows[number].generation if number in self.rows else 0
        ref = Ref(number, last % MAX_GENERATION + 1)
        return self._with_row(number, Row(ref.generation, identity(key))), ref

    def without(self, number: int) -> Self:
        """Retire an id: its key is gone, but flows may still carry it. `KeyError` if nobody holds it."""
        self._held(number)
        return replace(self, retired=self.retired | {number})

    def release(self, number: int) -> Self:
        """Free a retired id, nothing carries it any more. `KeyError` if nobody holds it, `ValueError` if it is live."""
        row = self._held(number)
        if number not in self.retired:
            raise ValueError(f"id {number} is live: retire it first")
        return replace(self._with_row(number, replace(row, identity=FREE)), retired=self.retired - {number})

    def unclaimed(self, keys: Iterable[str]) -> frozenset[int]:
        """The live ids that belong to none of these keys: the ones to retire."""
        claimed = {ref.id for ref in map(self.ref, keys) if ref is not None}
        return frozenset(
            number
            for number, row in self.rows.items()
            if row.identity != FREE and number not in claimed and number not in self.retired
        )

    def _held(self, number: int) -> Row:
        row = self.rows.get(number)
        if row is None or row.identity == FREE:
            raise KeyError(f"nobody holds id {number}")
        return row

    def _lowest_free(self, key: str) -> int:
        for number in range(1, self.limit + 1):
            row = self.rows.get(number)
            if row is None or row.identity == FREE:
                return number
        raise LbctlError(
            f"no id is left for {key!r}: all {self.limit} are taken, {len(self.retired)} of them by removed entries "
            "that connections still use",
            hint="remove entries that are no longer needed, or wait until the connections of removed ones have ended",
        )

    def _with_row(self, number: int, row: Row) -> Self:
        return replace(self, rows=MappingProxyType({**self.rows, number: row}))
