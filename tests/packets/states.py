"""Random states of a director: few segments and few servers, mostly as they should be and now and then as they should not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from random import Random

import numpy as np

from lbctl.core.model import Address, Network, OnEmpty
from lbctl.core.tables import NOBODY, ROUTED, BackendRow, BackendState, Lan, Members, PoolRow, Tables
from tests.packets.families import FAMILIES, Family
from tests.packets.rows_lans import OURS, STACK, VLAN_20
from tests.packets.world import FAR, HERE, POOL, SIZE, backend_row, interface_row, tables, up_in

STATES = [BackendState.UP] * 8 + [state for state in BackendState if state is not BackendState.UP]
LIMITS = [(0, 0)] * 3 + [(1, 0), (2, 1), (3, 0), (4, 2), (6, 5)]
"""A backend's limit, and where it resumes: few enough for the few clients to meet them."""
GENERATIONS = [7] * 8 + [8, 7 + 256]
STRANGE = Lan(HERE.ifindex, 99)
"""A segment that is never ours."""
LANS = (*OURS, STRANGE)
CLASSES = (2, 3)
"""Pool rows."""


def client_of(ip: Family, number: int) -> Address:
    """One of a family's few clients, each in a network of its own of 2^8 addresses."""
    return type(ip.client)(int(ip.client) + (number << 8) + number)


CLIENTS: Mapping[int, list[Address]] = {ip.version: [client_of(ip, number) for number in range(4)] for ip in FAMILIES}


def random_tables(random: Random) -> Tables:
    """Three backends in any state, on any segment; slots and members that refer to them; who may come."""
    home = random.choice([HERE] * 6 + [VLAN_20, STACK])
    rows = {number: _random_row(number, home, random) for number in (1, 2, 3)}
    rows = {number: row for number, row in rows.items() if row.state is not BackendState.ABSENT}
    up = list(up_in(rows))
    odd = [NOBODY, 1 | 6 << 16, 2 | 7 << 16, 3 | 8 << 16]
    owners = (up or [NOBODY]) if random.random() < 0.8 else up + odd
    is_private, on_empty = random.random() < 0.3, random.choice(list(OnEmpty))
    usual = tables(rows, _random_slots(owners, random), on_empty=on_empty, is_private=is_private)
    placed = replace(
        usual,
        interfaces={lan: interface_row(mac) for lan, mac in OURS.items() if lan == home or random.random() < 0.8},
        vips={vip: lan for ip in FAMILIES for vip, lan in ((ip.vip, _random_home(home, random)), (ip.far_vip, FAR))},
        members={POOL: _random_members(owners, random)},
        drops_wrong_ports=random.random() < 0.2,
    )
    return _with_sources(placed, owners, random) if random.random() < 0.4 else placed


def _random_home(home: Lan, random: Random) -> Lan:
    return ROUTED if random.random() < 0.15 else home


def _random_row(number: int, home: Lan, random: Random) -> BackendRow:
    limit, resume = random.choice(LIMITS)
    mac = b"" if random.random() < 0.08 else None
    lan = home if random.random() < 0.7 else random.choice(LANS)
    row = backend_row(number, state=random.choice(STATES), mac=mac, limit=limit, resume=resume, lan=lan)
    return replace(row, generation=random.choice(GENERATIONS))


def _random_slots(owners: list[int], random: Random) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(random.choices(owners, k=SIZE), np.uint32)


def _random_members(refs: list[int], random: Random) -> Members:
    """Any of them, some for the fallback; now and then more than are asked."""
    chosen = random.sample(refs, random.randint(0, len(refs))) * random.choice((1, 1, 1, 30))
    own = random.randint(0, len(chosen))
    return Members(own=tuple(chosen[:own]), fallbacks=tuple(chosen[own:]))


def _with_sources(usual: Tables, owners: list[int], random: Random) -> Tables:
    """A list for each family, that some of the services have; and classes that share the backends in ways of their own."""
    lists = {ip.version: random.randrange(1, 1 << 15) * 2 + (ip.version == 6) for ip in FAMILIES}
    pool = usual.pools[POOL]
    classes = {row: replace(pool, identity=100 + row, base=row * SIZE) for row in CLASSES}
    shared: dict[int, PoolRow] = {POOL: pool, **classes}
    return replace(
        usual,
        sources={lists[ip.version]: _random_list(ip, random) for ip in FAMILIES},
        services={
            key: replace(row, source_list=lists[key.vip.version] if random.random() < 0.8 else 0)
            for key, row in usual.services.items()
        },
        pools=shared,
        slots={**usual.slots, **{row: _random_slots(owners, random) for row in classes}},
        members={**usual.members, **{row: _random_members(owners, random) for row in classes}},
    )


def _random_list(ip: Family, random: Random) -> dict[Network, int]:
    """Prefixes of the clients' addresses, of any length, nested as they come."""
    lengths = (0, 8, ip.client.max_prefixlen - 12, ip.client.max_prefixlen - 8, ip.client.max_prefixlen)
    chosen = ((random.choice(CLIENTS[ip.version]), random.choice(lengths)) for _ in range(random.randint(0, 5)))
    return {ip_network(given, strict=False): random.choice((0, 0, *CLASSES)) for given in chosen}
