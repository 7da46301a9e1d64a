"""What a fault run compares: the kernel's tables with its own idea of the world, and one count of everything with another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from lbctl.core.ids import identity
from lbctl.core.model import Protocol, Reassign
from lbctl.core.slots import quotas
from lbctl.core.tables import BackendRow, BackendState, Lan, ServiceKey
from lbctl.lab.chaos.invariants import actives, faults, holders, misassigned, unlike, unwell
from lbctl.lab.chaos.kerneltables import Held
from lbctl.lab.chaos.leaks import Census
from lbctl.lab.chaos.world import (
    FEED,
    NODES,
    PLACES,
    TIGHT,
    VAULT,
    Fate,
    Override,
    World,
    address_of,
    first_world,
)

SLOTS = 1021
OWN = (2, "02:00:00:00:00:ff")
HOLDERS = {"192.0.2.202": "m1", "192.0.2.203": "m2"}
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
            row_of(world, name, key)[0]: count
            for key, count in quotas(shared(world, name), size=SLOTS).items()
            if count
        }
        for name in world.pools
    }
    rows = dict(row_of(world, pool, name, state_of(pool, name)) for pool, name, _ in world.members())
    held = {(identity(VAULT), source): row_of(world, VAULT, name)[0] for source, name in HOLDERS.items()}
    return Held(services=services, backends=rows, slots=slots, holders=held, interfaces=frozenset({OWN}))


def shared(world: World, pool: str) -> Mapping[str, int]:
    """Where one is active at a time, it is the first one."""
    weights = world.weights(pool)
    return {name: weight if pool != FEED or name == "m1" else 0 for name, weight in weights.items()}


def state_of(pool: str, name: str) -> BackendState:
    return BackendState.HALTED if pool == FEED and name != "m1" else BackendState.UP


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


def backend_of(world: World, pool: str, name: str, state: str | None) -> dict[str, object]:
    usual = "standby" if pool == FEED and name != "m1" else "up"
    return {"name": name, "state": state or usual, "given_weight": world.given.get(f"{pool}/{name}")}


def status_of(world: World, **states: str) -> dict[str, object]:
    """What the daemon says when all is well but these services and members."""
    names = [*world.services, *(["datagrams"] if world.has_datagrams else [])]
    services = [{"name": name, "state": states.get(name, "active"), "reason": "so"} for name in names]
    pools = [
        {
            "name": key,
            "active": "m1" if key == FEED else None,
            "backends": [backend_of(world, key, name, states.get(f"{key}_{name}")) for name in pool.members],
        }
        for key, pool in world.pools.items()
    ]
    daemon: dict[str, object] = {"unconfirmed": None, "config_error": None, "last_error": None, "warnings": []}
    return {"daemon": daemon, "interfaces": [], "services": services, "pools": pools}


def test_tables_tell_who_is_active_and_who_holds_what() -> None:
    assert actives(WORLD, HELD) == {FEED: "m1"}
    assert holders(WORLD, HELD) == HOLDERS


def with_all_slots(held: Held, owner: int) -> Held:
    return replace(held, slots={**held.slots, identity(FEED): {owner: SLOTS}})


def test_active_one_that_none_may_be_is_told() -> None:
    world = replace(WORLD, actives={FEED: frozenset({"m1"})})
    second, _ = row_of(WORLD, FEED, "m2")
    words = "; ".join(unlike(world, with_all_slots(HELD, second), MACS, own=OWN))
    assert "m2 is the active one of pf, not m1" in words
    assert "pf/m2: is HALTED, not UP" in words and "pf/m1: is UP, not HALTED" in words
    assert list(unlike(world, HELD, MACS, own=OWN)) == []


def test_two_that_share_the_slots_of_a_pool_with_one_active_are_told() -> None:
    numbers = [row_of(WORLD, FEED, name)[0] for name in ("m1", "m2")]
    held = replace(HELD, slots={**HELD.slots, identity(FEED): dict.fromkeys(numbers, 500)})
    assert "None is the active one of pf, not m1 or m2 or m3" in "; ".join(unlike(WORLD, held, MACS, own=OWN))


def test_weight_by_an_operator_is_the_one_that_counts() -> None:
    """Also with no weight at all: it has no slots, and is said to be draining."""
    world = replace(WORLD, given={"p1/m1": 0, "p2/m1": 7})
    told = list(unlike(world, HELD, MACS, own=OWN))
    assert [words.partition(" ")[0] for words in told] == ["p1/m1:", "p1", "p2"]
    assert list(unlike(world, changed(held_by(world), M1, state=BackendState.DRAINING), MACS, own=OWN)) == []
    assert list(unwell(world, status_of(world, p1_m1="draining"))) == []
    assert list(unwell(WORLD, status_of(replace(WORLD, given={"p1/m2": 7})))) == [
        "p1/m2 is said to have weight 7 by an operator, not None"
    ]


@pytest.mark.parametrize(
    ("expected", "said", "words"),
    [
        ({"192.0.2.202": "m2"}, {"192.0.2.202": "m2"}, "192.0.2.202 is assigned to m1, not to m2"),
        ({"192.0.2.202": "m1"}, {"192.0.2.202": "m2"}, "192.0.2.202 is said to be assigned to m2, not to m1"),
        ({"192.0.2.204": "m1"}, {"192.0.2.204": "m1"}, "192.0.2.204 is assigned to None, not to m1"),
        ({"192.0.2.202": "m9"}, {"192.0.2.202": "m9"}, "192.0.2.202 is assigned to m1, not to None"),
    ],
)
def test_source_that_is_not_assigned_as_it_must_be_is_told(
    expected: Mapping[str, str], said: Mapping[str, str], words: str
) -> None:
    assert list(misassigned(WORLD, HELD, HOLDERS, HOLDERS)) == []
    assert list(misassigned(WORLD, HELD, expected, said)) == [words]


def test_source_of_a_holder_that_is_gone_is_told_unless_it_is_to_keep_to_it() -> None:
    held = replace(HELD, holders={(identity(VAULT), "192.0.2.205"): 0})
    never = WORLD.with_pool(VAULT, replace(WORLD.pools[VAULT], reassign=Reassign.NEVER))
    assert list(misassigned(WORLD, held, {}, {})) == ["192.0.2.205 is assigned to nobody of the file"]
    assert list(misassigned(never, held, {}, {})) == []


def test_active_one_that_the_daemon_says_and_none_may_be_is_told() -> None:
    world = replace(WORLD, actives={FEED: frozenset({"m2"})})
    assert "m1 is said to be the active one of pf, not m2" in list(unwell(world, status_of(world)))


def test_service_without_backend_is_unwell() -> None:
    assert list(unwell(WORLD, status_of(WORLD))) == []
    assert list(unwell(WORLD, status_of(WORLD, s1="no backend"))) == ["service s1 is no backend: so"]


def test_service_without_backend_may_be_full_where_the_limit_is_tight() -> None:
    """One drained, one dead, and the last has as many connections as it may."""
    tight = WORLD.with_pool("p1", replace(WORLD.pools["p1"], limit=TIGHT))
    drained = replace(tight, overrides={"p1/m1": Override.DRAINED})
    world = replace(drained, fates={**WORLD.fates, "backend2": Fate.CUT}, has_datagrams=True)
    members = {"p1_m1": "draining", "p1_m2": "down", "p1_m3": "full", "p6_m1": "down", "pf_m1": "down"}
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
