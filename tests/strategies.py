"""Random tables. `successors` draws tables that may follow others as the controller makes them follow each other: ids are
reused with another generation, pools keep their block or move to one that nobody has or had, a list of sources stays as it is
or goes. `TABLES` follow empty ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from lbctl.core.ids import MAX_GENERATION
from lbctl.core.model import Address, Network, OnEmpty, Protocol
from lbctl.core.tables import (
    NOBODY,
    ROUTED,
    BackendRow,
    BackendState,
    InterfaceRow,
    Lan,
    Members,
    PoolRow,
    ServiceKey,
    ServiceRow,
    Sources,
    Tables,
    reference,
)

Option = TypeVar("Option")

BLOCK = 16
"""Blocks begin at multiples of this, and no pool has more slots. (Any size will do for a plan.)"""

IDS = range(1, 6)
POOL_IDS = range(1, 4)
LANS = tuple(Lan(1, vlan) for vlan in (0, 20, 4095, 20 * 4096 + 7))
"""Of the one device that is in every network namespace: there must be such a one."""
VIPS: tuple[Address, ...] = (
    IPv4Address("192.0.2.100"),
    IPv6Address("2001:db8::100"),
    IPv4Address("192.0.2.101"),
    IPv6Address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
)
KEYS = tuple(
    ServiceKey(vip=vip, port=port, protocol=protocol)
    for vip in VIPS
    for port, protocol in ((104, Protocol.TCP), (104, Protocol.UDP), (65535, Protocol.TCP))
)
LISTS = range(1, 5)
PREFIXES: Mapping[int, tuple[Network, ...]] = {
    4: tuple(map(IPv4Network, ("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.0.2.128/25"))),
    6: tuple(map(IPv6Network, ("::/0", "2001:db8::/32", "2001:db8:0:1::/64", "2001:db8::1/128", "fc00::/7"))),
}
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
    number: int,
    generation: int,
    *,
    state: BackendState,
    mac: bytes | None,
    lan: Lan = LANS[0],
    limit: int = 0,
    resume: int = 0,
) -> BackendRow:
    """Within one generation a backend's address and identity never change. Those with even numbers have IPv6 addresses."""
    host = number * 0x10000 + generation
    return BackendRow(
        generation=generation,
        identity=number << 16 | generation,
        address=IPv4Address(0x0A000000 + host) if number % 2 else IPv6Address((0x20010DB8 << 96) + host),
        lan=lan,
        state=state,
        mac=mac,
        limit=limit,
        resume=resume,
    )


def _interfaces(dice: Dice) -> dict[Lan, InterfaceRow]:
    """There is always one."""
    return {lan: _interface(dice, number) for number, lan in enumerate([LANS[0], *dice.subset(LANS[1:])])}


def _interface(dice: Dice, number: int) -> InterfaceRow:
    address, address6 = IPv4Address(0xC0000201 + number), IPv6Address((0xFD00 << 112) + 1 + number)
    own = dice.pick(((address, None), (None, address6), (address, address6)))
    return InterfaceRow(mac=dice.pick(MACS), address=own[0], address6=own[1])


def _backends(dice: Dice, current: Tables, lans: Sequence[Lan]) -> dict[int, BackendRow]:
    """Those who take connections are on a segment that there is."""
    found = {}
    for number in IDS:
        generation = dice.pick(list(_generations(current, number)))
        if generation:
            state = dice.pick((BackendState.UP, *(state for state in BackendState if state)))
            mac = dice.pick(MACS if state is BackendState.UP else (*MACS, None))
            limit, resume = dice.pick(((0, 0), (0, 0), (10, 9), (1, 0), (0x3FFF_FFFE, 7)))
            lan = dice.pick(lans if state is BackendState.UP else LANS)
            found[number] = backend_row(number, generation, state=state, mac=mac, lan=lan, limit=limit, resume=resume)
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


def _sources(dice: Dice, current: Tables, pools: Sequence[int]) -> dict[int, Sources]:
    """A list that refers to a pool that goes, goes too."""
    found: dict[int, Sources] = {}
    for number in LISTS:
        was = current.sources.get(number)
        if was is None and dice.pick((False, True)):
            prefixes = PREFIXES[dice.pick((4, 6))]
            chosen = dice.subset(prefixes) or [dice.pick(prefixes)]
            found[number] = {prefix: dice.pick((0, *pools)) for prefix in chosen}
        elif was is not None and {0, *pools}.issuperset(was.values()) and dice.pick((False, True)):
            found[number] = was
    return found


def _services(dice: Dice, pools: Sequence[int], sources: Mapping[int, Sources]) -> dict[ServiceKey, ServiceRow]:
    versions = {number: next(iter(found)).version for number, found in sources.items()}
    rows = {}
    for number, key in enumerate(dice.subset(KEYS) if pools else [], start=1):
        lists = (0, *(found for found, version in versions.items() if version == key.vip.version))
        rows[key] = ServiceRow(id=number, pool_id=dice.pick(pools), source_list=dice.pick(lists))
    return rows


def _freed(current: Tables, backends: Mapping[int, BackendRow]) -> dict[int, int]:
    last = {**current.freed, **{number: row.generation for number, row in current.backends.items()}}
    return {number: generation for number, generation in last.items() if number not in backends}


def _successor(dice: Dice, current: Tables) -> Tables:
    """Slots refer to backends that are up, services to pools and lists, lists to pools, VIPs to interfaces."""
    interfaces, pools = _interfaces(dice), _pools(dice, current)
    backends = _backends(dice, current, list(interfaces))
    sources = _sources(dice, current, list(pools))
    owners = [NOBODY] + [reference(i, row.generation) for i, row in backends.items() if row.state is BackendState.UP]
    return Tables(
        interfaces=interfaces,
        vips={vip: dice.pick((*interfaces, ROUTED)) for vip in dice.subset(VIPS)},
        services=_services(dice, list(pools), sources),
        sources=sources,
        pools=pools,
        backends=backends,
        slots={n: np.array([dice.pick(owners) for _ in range(row.size)], np.uint32) for n, row in pools.items()},
        members={number: _members(dice, owners[1:]) for number in pools},
        freed=_freed(current, backends),
        drops_wrong_ports=dice.pick((False, True)),
    )


def successors(current: Tables) -> st.SearchStrategy[Tables]:
    """Tables that may follow ``current``."""
    return st.binary(min_size=256, max_size=256).map(lambda throws: _successor(Dice(throws), current))


TABLES = successors(Tables())
CHANGES = TABLES.flatmap(lambda current: st.tuples(st.just(current), successors(current)))
"""(current, desired)."""
