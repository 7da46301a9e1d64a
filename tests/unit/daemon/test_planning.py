"""What a proposed file would change: exactly what an apply then leads to, and nothing changes by asking."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.config.loader import parse
from lbctl.core.model import Declaration
from lbctl.core.standing import Override
from lbctl.core.tables import Tables
from lbctl.daemon.changes.rehearsing import Rehearsal
from lbctl.dataplane.port import Connected
from lbctl.errors import ConfigError, LbctlError, NetworkError
from tests.strategies import Dice
from tests.unit.daemon.planners import OLD, Bench
from tests.unit.daemon.rig import HEALTHY, LINK, OTHER_VIP, VIP, Rig, file, neighbour

LINKS = {"eth0": LINK}


# What is told ---------------------------------------------------------------------------------------------------------


def test_plan_of_the_text_in_force_is_empty() -> None:
    report = Bench().plan(OLD)
    assert (report.is_empty, report.changes, report.effects, report.steps, report.drift) == (True, (), (), (), ())
    assert report.base == report.proposed
    assert report.generation == 1


def test_plan_of_the_same_declaration_in_other_words_is_empty() -> None:
    report = Bench().plan(f"# a comment\n{OLD}")
    assert (report.is_empty, report.changes) == (True, ())
    assert report.base != report.proposed


def test_plan_tells_changes_effects_and_steps() -> None:
    report = Bench().plan(file("a weight=50", "b"))
    assert [(each.key, each.before, each.after) for each in report.changes] == [
        ("pools.p.backends.a.weight", "100", "50")
    ]
    assert report.effects[0].text == "p: 16.7 % of new connections move from a to b; no live session is touched"
    assert report.effects[0].moves[0].percent == pytest.approx(100 / 6, abs=0.1)
    assert report.steps[0].text == "set 170 of 1,021 slots of p"
    assert not report.is_empty


def test_plan_counts_the_connections_of_who_is_cut() -> None:
    bench = Bench(file("a", "b", keys="policy: failover"))
    bench.dataplane.connected[bench.rig.number("a")] = Connected(connections=12)
    report = bench.plan(file("b address=192.0.2.12", keys="policy: failover"))
    assert (
        report.effects[0].text == "p: a is removed, and no two may receive at a time: its 12 live connections are reset"
    )
    assert report.effects[0].sessions == 12
    assert [effect.text for effect in report.effects[1:]] == ["p: all new connections move from a to b"]


@pytest.mark.parametrize("said", [Override.DRAINED, Override.HALTED])
def test_plan_of_a_backend_that_an_operator_drained_once_does_not_promise_that_it_takes_part(said: Override) -> None:
    """Its name is known from before: a drain lasts."""
    bench = Bench()
    bench.rig.override("c", to=said)
    new, held = (text for text in bench.effects(file("a", "b", "c", "d")) if " is new: " in text)
    assert new.startswith("p: d is new: probed first, and takes part")
    assert held.startswith("p: c is new: probed, but without new connections, for what an operator said of that name")


def test_plan_of_a_receiver_before_the_active_one_leaves_that_one_active() -> None:
    """With manual failback nobody is waited for, and nobody takes over who is not needed."""
    keys = "policy: failover"
    bench = Bench(file("a", "b", keys=keys))
    found = bench.effects(file("z address=192.0.2.19", "a address=192.0.2.11", "b address=192.0.2.12", keys=keys))
    assert found == ["p: z is new: probed first, and takes part once a check has succeeded"]


def test_plan_in_place_of_the_active_receiver_names_the_one_that_takes_over_at_once() -> None:
    """Not the newcomer, which is first in order: it is not up yet then, and later nobody fails back."""
    keys = "policy: failover"
    bench = Bench(file("a", "b", keys=keys))
    found = bench.effects(file("z address=192.0.2.19", "b address=192.0.2.12", keys=keys))
    assert "p: all new connections move from a to b" in found


def test_plan_is_made_for_the_situation_as_it_is() -> None:
    """Who is down gets nothing."""
    bench = Bench(file("a", "b", "c"))
    bench.rig.fail("b")
    bench.rig.reconcile()
    assert bench.effects(file("a weight=100", "b weight=50", "c")) == []
    assert (
        bench.effects(file("a", "b"))[0] == "p: 50.0 % of new connections move from c to a; no live session is touched"
    )


def test_plan_of_a_backend_where_nobody_is_up_says_who_takes_connections_then() -> None:
    bench = Bench()
    bench.rig.fail("a", "b")
    bench.rig.reconcile()
    found = bench.effects(file("a", "b", "c"))
    assert (
        found[0]
        == "p: new connections, which nobody took, are taken: 100 % to c (once it is up); no live session is touched"
    )


def test_plan_heeds_an_operators_word() -> None:
    bench = Bench()
    bench.rig.override("a", to=Override.DRAINED)
    bench.rig.reconcile()
    assert bench.effects(file("a weight=50", "b")) == []


# Nothing changes by asking --------------------------------------------------------------------------------------------


def _knowledge(rig: Rig) -> object:
    """All that a reconciler goes by."""
    reconciler = rig.reconciler
    return (
        reconciler.facts(),
        dict(reconciler.neighbourhood.neighbours),
        dict(reconciler.neighbourhood.macs),
        dict(reconciler.labels),
        reconciler.standings(),
        reconciler.observed.members.keys(),
        [reconciler.conditions.since(label, otherwise=-1.0) for label in reconciler.index.backends],
        len(rig.dataplane.written),
        rig.dataplane.sealed,
    )


PROPOSED = (
    file("a"),
    file("a", "b", "c"),
    file("a weight=0", "b"),
    file("a address=192.0.2.77", "b"),
    file("a", "b", vips=(VIP, OTHER_VIP)),
    file("a", "b", keys="policy: failover"),
)


@pytest.mark.parametrize("text", PROPOSED)
def test_plan_changes_nothing(text: str) -> None:
    bench = Bench()
    before = _knowledge(bench.rig)
    bench.plan(text)
    assert _knowledge(bench.rig) == before
    assert bench.rig.reconcile().is_empty


@pytest.mark.parametrize(
    ("text", "error", "named"),
    [
        ("pools: 7", ConfigError, "new.yaml:1:"),
        (OLD.replace("eth0", "eth7"), NetworkError, "eth7"),
        (OLD.replace("192.0.2.10/24", "192.0.2.9/24"), NetworkError, "192.0.2.9/24"),
    ],
)
def test_plan_of_what_an_apply_would_refuse_is_refused(text: str, error: type[LbctlError], named: str) -> None:
    bench = Bench()
    before = _knowledge(bench.rig)
    with pytest.raises(error, match=named):
        bench.plan(text)
    assert _knowledge(bench.rig) == before


# The tables foreseen --------------------------------------------------------------------------------------------------


def _file(dice: Dice) -> str:
    """A pool of some of four servers, each perhaps at another address or with another weight."""
    names = dice.subset("abcd") or ["a"]
    addresses = {name: f"192.0.2.{11 + 'abcd'.index(name) + dice.pick((0, 0, 20))}" for name in names}
    backends = [f"{name} address={addresses[name]} weight={dice.pick((100, 50, 1))}" for name in names]
    vips = dice.pick(((VIP,), (VIP, OTHER_VIP), (OTHER_VIP,)))
    keys = dice.pick(("policy: balance", "policy: failover", "policy: failover, failback: automatic"))
    return file(*backends, vips=vips, keys=keys)


def _without_macs(tables: Tables) -> Tables:
    """Those of newcomers are not known before."""
    rows = {number: replace(row, mac=None) for number, row in tables.backends.items()}
    return replace(tables, backends=rows, slots={n: slots.tolist() for n, slots in tables.slots.items()})


@given(st.binary(min_size=40, max_size=40))
def test_plan_foresees_the_tables_that_an_apply_leads_to(throws: bytes) -> None:
    dice = Dice(throws)
    old, new = parse(_file(dice), source="old"), parse(_file(dice), source="new")
    rig = Rig(old).up()
    rig.fail(*dice.subset([backend.name for backend in old.backends()]))
    rig.override(*dice.subset("ab"), to=dice.pick((Override.DRAINED, Override.HALTED)))
    rig.reconcile()
    foreseen = Rehearsal(rig.reconciler).tables_with(new, LINKS, now=rig.now)
    _apply(rig, new)
    assert _without_macs(foreseen) == _without_macs(rig.dataplane.read())


def _apply(rig: Rig, new: Declaration) -> None:
    """Written at once; then newcomers are met, and their checks succeed."""
    before = {backend.label: backend.address for backend in rig.reconciler.declaration.backends()}
    newcomers = [each for each in new.backends() if before.get(each.label) != each.address]
    rig.reconciler.declare(new, now=rig.now)
    rig.reconcile()
    for backend in newcomers:
        rig.reconciler.neighbour_seen(neighbour(backend.address))
    rig.probe(HEALTHY, *[backend.name for backend in newcomers], times=3) if newcomers else None
    rig.reconcile()
