"""What a fault run compares: the kernel's tables with its own idea of the world, and one count of everything with another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from lbctl.core.ids import identity
from lbctl.core.model import Protocol
from lbctl.core.slots import quotas
from lbctl.core.tables import BackendRow, BackendState, Lan, ServiceKey
from lbctl.lab.chaos.invariants import faults, unlike, unwell
from lbctl.lab.chaos.kerneltables import Held
from lbctl.lab.chaos.leaks import Census
from lbctl.lab.chaos.world import NODES, PLACES, TIGHT, Fate, Override, World, address_of, first_world

SLOTS = 1021
OWN = (2, "02:00:00:00:00:ff")
MACS = {node: f"02:00:00:00:00:{number:02x}" for number, node in enumerate(NODES)}


def row_of(world: World, pool: str, name: str, state: BackendState = BackendState.UP) -> tuple[int, BackendRow]:
    member = world.pools[pool].members[name]
    address = address_of(member.node, pool=pool)
    number = identity(f"{pool}/{name}@{address}")
    mac = bytes.fromhex(MACS[member.node].replace(":", ""))
    return number, BackendRow(generation=1, identity=number, address=address, lan=Lan(2), state=state, mac=mac)


def held_by(world: World) -> Held:
    """Tables that are exactly as declared, everybody up."""
    services = {
        ServiceKey(vip=PLACES[name][0], port=PLACES[name][1], protocol=Protocol.TCP): identity(service.pool)
        for name, service in world.services.items()
    }
    slots: dict[int, Mapping[int, int]] = {
        identity(name): {
            row_of(world, name, key)[0]: count for key, count in quotas(pool.weights(), size=SLOTS).items()
        }
        for name, pool in world.pools.items()
    }
    rows = dict(row_of(world, pool, name) for pool, name, _ in world.members())
    return Held(services=services, backends=rows, slots=slots, interfaces=frozenset({OWN}))


def changed(held: Held, number: int, **fields: object) -> Held:
    row = replace(held.backends[number], **fields)  # type: ignore[arg-type]
    return replace(held, backends={**held.backends, number: row})


WORLD = first_world()
HELD = held_by(WORLD)
M1, M1_ROW = row_of(WORLD, "p1", "m1")
S1 = ServiceKey(vip=PLACES["s1"][0], port=PLACES["s1"][1], protocol=Protocol.TCP)
OTHER_PORT = ServiceKey(vip=PLACES["s1"][0], port=99, protocol=Protocol.TCP)
A_THIRD = HELD.slots[identity("p1")]


def test_tables_as_declared_are_alike() -> None:
    assert list(unlike(WORLD, HELD, MACS, own=OWN)) == []


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (replace(HELD, services={k: v for k, v in HELD.services.items() if k != S1}), "192.0.2.100:9001 is missing"),
        (replace(HELD, services={**HELD.services, OTHER_PORT: identity("p1")}), "192.0.2.100:99 is not declared"),
        (replace(HELD, services={**HELD.services, S1: identity("p2")}), "192.0.2.100:9001 has another pool"),
        (replace(HELD, backends={k: v for k, v in HELD.backends.items() if k != M1}), "p1/m1: has no row"),
        (changed(HELD, M1, state=BackendState.DOWN), "p1/m1: is DOWN, not UP"),
        (changed(HELD, M1, mac=bytes(6)), "p1/m1: has MAC 00:00:00:00:00:00, the server's is 02:00:00:00:00:00"),
        (replace(HELD, interfaces=frozenset({(3, OWN[1])})), "interfaces are known as [(3, "),
        (changed(HELD, M1, limit=5), "p1/m1: limit 5, not None"),
        (replace(HELD, slots={**HELD.slots, identity("p1"): {**A_THIRD, M1: A_THIRD[M1] - 9}}), "p1 has slots"),
        (replace(HELD, slots={**HELD.slots, identity("p1"): {**A_THIRD, 0: 1}}), "p1 has slots"),
        (replace(HELD, backends={**HELD.backends, 7: M1_ROW}), "192.0.2.11 takes connections and is not declared"),
    ],
)
def test_tables_that_are_not_as_declared_are_told(held: Held, words: str) -> None:
    assert words in "; ".join(unlike(WORLD, held, MACS, own=OWN))


@pytest.mark.parametrize(
    ("world", "state"),
    [
        (replace(WORLD, overrides={"p1/m1": Override.DRAINED}), BackendState.DRAINING),
        (replace(WORLD, overrides={"p1/m1": Override.HALTED}), BackendState.HALTED),
        (replace(WORLD, fates={**WORLD.fates, "backend1": Fate.KILLED}), BackendState.DEAD),
    ],
    ids=["drained", "halted", "killed"],
)
def test_member_that_takes_nothing_has_its_state_and_no_slot(world: World, state: BackendState) -> None:
    told = list(unlike(world, changed(HELD, M1, state=state), MACS, own=OWN))
    assert [words for words in told if words.startswith("p1/m1")] == []
    assert any(words.startswith("p1 has slots") for words in told)


def status_of(world: World, **states: str) -> dict[str, object]:
    """What the daemon says when all is well but these services and members."""
    names = [*world.services, *(["datagrams"] if world.has_datagrams else [])]
    services = [{"name": name, "state": states.get(name, "active"), "reason": "so"} for name in names]
    pools = [
        {"name": key, "backends": [{"name": name, "state": states.get(f"{key}_{name}", "up")} for name in pool.members]}
        for key, pool in world.pools.items()
    ]
    daemon: dict[str, object] = {"unconfirmed": None, "config_error": None, "last_error": None, "warnings": []}
    return {"daemon": daemon, "interfaces": [], "services": services, "pools": pools}


def test_service_without_backend_is_unwell() -> None:
    assert list(unwell(WORLD, status_of(WORLD))) == []
    assert list(unwell(WORLD, status_of(WORLD, s1="no backend"))) == ["service s1 is no backend: so"]


def test_service_without_backend_may_be_full_where_the_limit_is_tight() -> None:
    """One drained, one dead, and the last has as many connections as it may."""
    tight = WORLD.with_pool("p1", replace(WORLD.pools["p1"], limit=TIGHT))
    drained = replace(tight, overrides={"p1/m1": Override.DRAINED})
    world = replace(drained, fates={**WORLD.fates, "backend2": Fate.CUT}, has_datagrams=True)
    members = {"p1_m1": "draining", "p1_m2": "down", "p1_m3": "full", "p6_m1": "down"}
    assert (
        list(unwell(world, status_of(world, s1="no backend", s4="no backend", datagrams="no backend", **members))) == []
    )
    assert list(unwell(world, status_of(world, s1="refused", **members))) == ["service s1 is refused: so"]


def test_faults_of_its_own_are_told_and_other_ways_out_are_not() -> None:
    reasons = {"established": {"packets": 5}, "malformed": {"packets": 1}, "loop_own": {"packets": 0}}
    assert faults({"reasons": reasons}) == {"malformed": 1}


def test_census_tells_what_has_grown_beyond_its_allowance() -> None:
    first = Census(counts={"pins": 35, "daemon: memory, MB": 60, "rules": 4})
    last = Census(counts={"pins": 36, "daemon: memory, MB": 70, "rules": 3})
    assert last.growth_over(first) == ["pins: 35 at the beginning, 36 at the end"]
    assert (
        replace(last, counts={**last.counts, "daemon: memory, MB": 90}).growth_over(first)[1].startswith("daemon: mem")
    )
