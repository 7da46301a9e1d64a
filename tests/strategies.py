"""Random tables. `successors` draws tables that may follow others as the controller makes them follow each other: ids are
reused with another generation, pools keep their block or move to one that nobody has or had. `TABLES` follow empty ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from lbctl.core.ids import MAX_GENERATION
from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.tables import (
    NOBODY,
    BackendRow,
    BackendState,
    InterfaceRow,
    Members,
    PoolRow,
    ServiceKey,
    ServiceRow,
    Tables,
    reference,
)

Option = TypeVar("Option")

BLOCK = 16
"""Blocks begin at multiples of this, and no pool has more slots. (Any size will do for a plan.)"""

IDS = range(1, 6)
POOL_IDS = range(1, 4)
IFINDEXES = (1, 2, 7, 255)
VIPS = tuple(IPv4Address(f"192.0.2.{host}") for host in (100, 101, 102))
KEYS = tuple(
    ServiceKey(vip=vip, port=port, protocol=protocol)
    for vip in VIPS
    for port, protocol in ((104, Protocol.TCP), (104, Protocol.UDP), (65535, Protocol.TCP))
)
MACS = tuple(bytes.fromhex(mac) for mac in ("020000000001", "ffffffffffff", "000000000001", "80a1b2c3d4e5"))


class Dice:
    """Decisions out of one string of bytes: a single draw, where a draw for each decision would make the suite slow. Nought,
    and whatever lies beyond the end, is the first option, so that hypothesis shrinks towards that."""

    def __init__(self, throws: bytes) -> None:
        self._throws = iter(throws)

    def pick(self, options: Sequence[Option]) -> Option:
        """One of at most 256 options."""
        return options[next(self._throws, 0) % len(options)]

    def subset(self, options: Sequence[Option]) -> list[Option]:
        """Some of them, in their order."""
        return [option for option in options if self.pick((False, True))]


def backend_row(
    number: int, generation: int, *, state: BackendState, mac: bytes | None, limit: int = 0, resume: int = 0
) -> BackendRow:
    """Within one generation a backend's address and identity never change."""
    return BackendRow(
        generation=generation,
        identity=number << 16 | generation,
        address=IPv4Address(0x0A000000 + number * 0x10000 + generation),
        state=state,
        mac=mac,
        limit=limit,
        resume=resume,
    )


def _backends(dice: Dice, current: Tables) -> dict[int, BackendRow]:
    found = {}
    for number in IDS:
        generation = dice.pick(list(_generations(current, number)))
        if generation:
            state = dice.pick((BackendState.UP, *(state for state in BackendState if state)))
            mac = dice.pick(MACS if state is BackendState.UP else (*MACS, None))
            limit, resume = dice.pick(((0, 0), (0, 0), (10, 9), (1, 0), (0x3FFF_FFFE, 7)))
            found[number] = backend_row(number, generation, state=state, mac=mac, limit=limit, resume=resume)
    return found


def _generations(current: Tables, number: int) -> Iterator[int]:
    """What generation an id may have next; 0 is free. An id whose row takes connections is freed before it is reused."""
    yield 0
    row = current.backends.get(number)
    if row is not None:
        yield row.generation
    if row is None or row.state is not BackendState.UP:
        last = row.generation if row is not None else current.freed.get(number)
        yield from (1, MAX_GENERATION) if last is None else (last % MAX_GENERATION + 1,)


def _pools(dice: Dice, current: Tables) -> dict[int, PoolRow]:
    taken = {row.base for row in current.pools.values()}
    found = {}
    for number in POOL_IDS:
        was = current.pools.get(number)
        fate = dice.pick(("none", "block") if was is None else ("none", "block", "stay", "stay"))
        if fate == "stay" and was is not None:
            found[number] = was
        elif fate == "block":
            base = next(base for base in range(0, 16 * BLOCK, BLOCK) if base not in taken)
            taken.add(base)
            found[number] = PoolRow(
                identity=number,
                base=base,
                size=dice.pick(range(1, BLOCK + 1)),
                on_empty=dice.pick(tuple(OnEmpty)),
                is_private=dice.pick((False, True)),
            )
    return found


def _members(dice: Dice, takers: Sequence[int]) -> Members:
    chosen = dice.subset(takers)
    at = dice.pick(range(len(chosen) + 1))
    return Members(own=tuple(chosen[at:]), fallbacks=tuple(chosen[:at]))


def _services(dice: Dice, pools: Sequence[int]) -> dict[ServiceKey, ServiceRow]:
    keys = dice.subset(KEYS) if pools else []
    return {key: ServiceRow(id=number, pool_id=dice.pick(pools)) for number, key in enumerate(keys, start=1)}


def _freed(current: Tables, backends: Mapping[int, BackendRow]) -> dict[int, int]:
    last = {**current.freed, **{number: row.generation for number, row in current.backends.items()}}
    return {number: generation for number, generation in last.items() if number not in backends}


def _successor(dice: Dice, current: Tables) -> Tables:
    """Slots refer to backends that are up, services to pools, VIPs to interfaces."""
    interfaces = [IFINDEXES[0], *dice.subset(IFINDEXES[1:])]
    pools, backends = _pools(dice, current), _backends(dice, current)
    owners = [NOBODY] + [reference(i, row.generation) for i, row in backends.items() if row.state is BackendState.UP]
    return Tables(
        interfaces={i: InterfaceRow(mac=dice.pick(MACS), address=IPv4Address(0xC0000200 + i)) for i in interfaces},
        vips={vip: dice.pick(interfaces) for vip in dice.subset(VIPS)},
        services=_services(dice, list(pools)),
        pools=pools,
        backends=backends,
        slots={n: np.array([dice.pick(owners) for _ in range(row.size)], np.uint32) for n, row in pools.items()},
        members={number: _members(dice, owners[1:]) for number in pools},
        freed=_freed(current, backends),
        drops_wrong_ports=dice.pick((False, True)),
    )


def successors(current: Tables) -> st.SearchStrategy[Tables]:
    """Tables that may follow ``current``."""
    return st.binary(min_size=192, max_size=192).map(lambda throws: _successor(Dice(throws), current))


TABLES = successors(Tables())
CHANGES = TABLES.flatmap(lambda current: st.tuples(st.just(current), successors(current)))
"""(current, desired)."""
