"""An operator's word on several backends at once, and on their weights."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lbctl.config.loader import parse
from lbctl.core.model import Declaration
from lbctl.core.tables import BackendState
from lbctl.core.targets import named
from lbctl.daemon.state.overrides import GivenWeight, Overrides, OverrideStore
from lbctl.errors import ConflictError, LbctlError, SystemRequirementError, UsageError
from tests.unit.daemon.desk import CT, MR, Desk
from tests.unit.daemon.rig import HEALTHY, Rig, declared

FILE = """
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  archive: {vip: 192.0.2.100, ports: [104], pool: p}
  portal: {vip: 192.0.2.101, ports: [443], protocol: tcp, pool: q}
  feed: {vip: 192.0.2.102, ports: [2575], pool: f}
pools:
  p: {kind: other, check: {type: tcp}, backends: {a: {address: 192.0.2.11}, b: {address: 192.0.2.12}}}
  q: {kind: web, check: {type: tcp}, backends: {w: {address: 192.0.2.11}, x: {address: 192.0.2.13}}}
  f: {kind: hl7, policy: failover, check: {type: tcp}, backends: {g: {address: 192.0.2.11}, h: {address: 192.0.2.13}}}
"""
PRIVATE = declared("a", "b", kind="archive", keys="storage: private")
HOST = named("192.0.2.11")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, parse(FILE, source="lbctl.yaml"))


def refused(desk: Desk, verb: str, *told: object, **more: object) -> LbctlError:
    with pytest.raises((UsageError, ConflictError)) as caught:
        desk.hear(getattr(desk.operator, verb)(*told, **more))
    return caught.value


def labels(desk: Desk, **found: object) -> set[str]:
    """The backends whose state is one of these."""
    rows = [(f"{pool.name}/{row.name}", row) for pool in desk.operator.reporter.status().pools for row in pool.backends]
    return {label for label, row in rows if all(getattr(row, key) == value for key, value in found.items())}


# Pools and hosts ------------------------------------------------------------------------------------------------------


def test_drain_of_a_host_is_one_change_in_all_its_pools(desk: Desk) -> None:
    generation = desk.reconciler.generation
    assert desk.hear(desk.operator.drain(HOST)) == (
        "host 192.0.2.11 (p/a, q/w, f/g) drained: no new connections, live ones go on; "
        "in pool f h took over, connections to g are reset"
    )
    assert labels(desk, state="draining") == {"p/a", "q/w", "f/g"}
    assert desk.reconciler.generation == generation + 1
    assert OverrideStore(desk.state).load() == Overrides(drained=frozenset({"p/a", "q/w", "f/g"}))
    assert desk.hear(desk.operator.drain(HOST)) == "host 192.0.2.11 (p/a, q/w, f/g) was drained already"
    assert desk.hear(desk.operator.enable(HOST)) == (
        "host 192.0.2.11 (p/a, q/w, f/g) enabled; h stays the active one (lbctl activate f/g)"
    )
    assert labels(desk, state="draining") == set()


@pytest.mark.parametrize("verb", ["drain", "halt", "enable", "weigh"])
def test_change_of_several_that_cannot_be_saved_is_none_of_any(desk: Desk, verb: str) -> None:
    if verb == "enable":
        desk.hear(desk.operator.drain(HOST))
    before, written = desk.operator.reporter.status().pools, len(desk.dataplane.written)
    desk.disk_refuses("overrides")
    with pytest.raises(SystemRequirementError, match=r"overrides\.json cannot be written"):
        desk.hear(getattr(desk.operator, verb)(HOST, *([7] if verb == "weigh" else [])))
    desk.rig.reconcile()
    states = [[row.state for row in pool.backends] for pool in desk.operator.reporter.status().pools]
    assert states == [[row.state for row in pool.backends] for pool in before]
    assert len(desk.dataplane.written) == written


def test_halt_of_a_pool_warns_that_nobody_is_left(desk: Desk) -> None:
    assert desk.hear(desk.operator.halt(named("q"))) == (
        "pool q (q/w, q/x) halted: no new connections, live ones are reset; "
        "warning: nobody in its pool takes new connections now"
    )
    assert labels(desk, state="halted") == {"q/w", "q/x"}


def test_drain_of_a_pool_takes_in_those_that_were_not_drained_yet(desk: Desk) -> None:
    desk.hear(desk.operator.drain(named("p/a")))
    told = desk.hear(desk.operator.drain(named("p")))
    assert told.startswith("pool p (p/a, p/b) drained: ")
    assert labels(desk, state="draining") == {"p/a", "p/b"}


def test_drain_of_a_host_names_the_pool_in_which_nobody_is_left(desk: Desk) -> None:
    desk.hear(desk.operator.drain(named("p/b")))
    assert "; warning: nobody in pool p takes new connections now" in desk.hear(desk.operator.drain(HOST))


def test_drain_of_a_pool_counts_the_sources_that_are_turned_away(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PRIVATE)
    desk.connect(CT, "a")
    desk.connect(MR, "b")
    desk.hear(desk.assigner.settle())
    assert desk.hear(desk.operator.drain(named("p"))).endswith("; assigned sources are turned away meanwhile: 2")


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("192.0.2.14", "no backend has the address 192.0.2.14", "the nearest are: 192.0.2.11, 192.0.2.12, 192.0.2.13"),
        ("pp", "there is no pool pp", "did you mean p?"),
        ("zzz", "there is no pool zzz", "the pools are: p, q, f"),
    ],
)
def test_target_that_does_not_exist_is_told_with_the_nearest(desk: Desk, target: str, message: str, hint: str) -> None:
    error = refused(desk, "drain", named(target))
    assert (error.message, error.hint) == (message, hint)
    assert refused(desk, "weigh", named(target), 7).message == message


def test_drain_that_spares_the_last_one_is_refused_before_anything_is_changed(desk: Desk) -> None:
    desk.hear(desk.operator.drain(named("192.0.2.13")))
    written = len(desk.dataplane.written)
    error = refused(desk, "drain", HOST, spare_last=True)
    assert error.message == "nobody else in pool q takes new connections, so host 192.0.2.11 was not drained"
    assert labels(desk, state="draining") == {"q/x", "f/h"}
    assert len(desk.dataplane.written) == written
    desk.hear(desk.operator.drain(HOST))
    assert labels(desk, state="draining") >= {"p/a", "q/w", "f/g"}


def test_drain_that_spares_the_last_one_takes_a_standby_for_another_and_a_fallback_for_none(
    desk: Desk, tmp_path: Path
) -> None:
    assert "h took over" in desk.hear(desk.operator.drain(named("f/g"), spare_last=True))
    falling = Desk(tmp_path / "falling", declared("a", keys="fallback: spare", spare=("x",)))
    assert isinstance(refused(falling, "drain", named("p/a"), spare_last=True), ConflictError)


def test_two_drains_at_once_that_spare_the_last_one_leave_one_host(desk: Desk) -> None:
    async def both() -> list[object]:
        hosts = [named("192.0.2.11"), named("192.0.2.12"), named("192.0.2.13")]
        drains = [desk.operator.drain(host, spare_last=True) for host in hosts]
        return list(await asyncio.gather(*drains, return_exceptions=True))

    told = desk.hear(both())
    assert [isinstance(answer, ConflictError) for answer in told] == [False, True, True]
    assert labels(desk, state="draining") == {"p/a", "q/w", "f/g"}


# Weights --------------------------------------------------------------------------------------------------------------


def test_weight_is_said_with_its_share_and_shown_beside_the_declared_one(desk: Desk) -> None:
    assert desk.hear(desk.operator.weigh(named("p/a"), 50)) == (
        "p/a has weight 50 (100 in the file); 33.3% of the new connections of pool p, 50.0% before; "
        "live connections stay where they are"
    )
    row = desk.backends()["a"]
    assert (row.weight, row.given_weight, row.effective_weight) == (100, 50, 50.0)
    assert row.share == pytest.approx(1 / 3, abs=0.001)
    assert desk.hear(desk.operator.weigh(named("p/a"), 50)) == "p/a has weight 50 already"
    assert desk.hear(desk.operator.weigh(named("p/a"), None)) == (
        "p/a has the weight of the file; 50.0% of the new connections of pool p, 33.3% before; "
        "live connections stay where they are"
    )
    assert desk.backends()["a"].given_weight is None
    assert OverrideStore(desk.state).load() == Overrides()


def test_weight_moves_slots_only_so_that_live_connections_stay(desk: Desk) -> None:
    rows, written = dict(desk.dataplane.backends), len(desk.dataplane.written)
    desk.hear(desk.operator.weigh(named("p/a"), 10))
    assert {type(step).__name__ for step in desk.dataplane.written[written:]} == {"SetSlots"}
    assert desk.dataplane.backends == rows


def test_weight_of_a_whole_pool_tells_no_shares_and_of_failover_that_it_does_not_matter(desk: Desk) -> None:
    told = desk.hear(desk.operator.weigh(named("p"), 7))
    assert told == "pool p (p/a, p/b) has weight 7 (100 in the file); live connections stay where they are"
    assert "in pool f one backend has all connections" in desk.hear(desk.operator.weigh(named("f/g"), 7))


def test_weight_of_nought_lets_live_connections_go_on_and_warns_at_the_last(desk: Desk) -> None:
    desk.hear(desk.operator.weigh(named("p/a"), 0))
    told = desk.hear(desk.operator.weigh(named("p/b"), 0))
    assert told.endswith("; warning: nobody in its pool takes new connections now")
    assert labels(desk, state="draining", reason="its weight is 0 by an operator") == {"p/a", "p/b"}


def test_weight_is_apart_from_drains(desk: Desk) -> None:
    desk.hear(desk.operator.weigh(named("p/a"), 50))
    desk.hear(desk.operator.drain(named("p/a")))
    desk.hear(desk.operator.enable(named("p/a")))
    assert desk.backends()["a"].effective_weight == 50.0


def test_weight_that_the_kernel_refuses_is_saved_and_told_as_such(desk: Desk) -> None:
    desk.kernel_refuses()
    told = desk.hear(desk.operator.weigh(named("p/a"), 50))
    assert told == "p/a will have weight 50: it is saved, but the kernel refused for now; lbctl goes on trying"
    assert OverrideStore(desk.state).load().weights == {"p/a": GivenWeight(weight=50, declared=100)}


def test_weight_stays_through_a_reload_that_declares_another_and_the_status_tells_both(desk: Desk) -> None:
    desk.hear(desk.operator.weigh(named("p/a"), 50))
    text = FILE.replace("a: {address: 192.0.2.11}", "a: {address: 192.0.2.11, weight: 80}")
    desk.reconciler.declare(parse(text, source="lbctl.yaml"), now=desk.rig.now)
    desk.rig.reconcile()
    row = desk.backends()["a"]
    assert (row.weight, row.given_weight, row.weight_declared_then) == (80, 50, 100)
    assert row.share == pytest.approx(1 / 3, abs=0.001)


def test_weight_of_a_backend_that_left_the_file_is_kept_for_its_return(desk: Desk) -> None:
    whole = desk.reconciler.declaration
    desk.hear(desk.operator.weigh(named("p/a"), 50))
    without: Declaration = parse(FILE.replace("a: {address: 192.0.2.11}, ", ""), source="lbctl.yaml")
    desk.reconciler.declare(without, now=desk.rig.now)
    desk.rig.reconcile()
    assert refused(desk, "weigh", named("p/a"), 7).message == "p/a was removed from the file"
    desk.reconciler.declare(whole, now=desk.rig.now)
    desk.rig.probe(HEALTHY, "a", times=3)
    desk.rig.reconcile()
    assert desk.backends()["a"].effective_weight == 50.0


def test_weight_survives_a_restart_and_leaves_the_kernels_tables_as_they_are() -> None:
    rig = Rig(declared("a", "b agent"), overrides=Overrides(weights={"p/b": GivenWeight(weight=25, declared=100)})).up()
    shares = rig.shares()
    assert shares["b"] == pytest.approx(0.2, abs=0.001)
    again = rig.restarted()
    assert again.reconciler.observed.members["p/b"].capacity.percent == 100
    assert again.reconcile().is_empty
    assert again.shares() == shares


def test_word_that_the_kernel_refused_is_tried_again_when_it_is_said_again(desk: Desk) -> None:
    told = "p/a will be drained: it is saved, but the kernel refused for now; lbctl goes on trying"
    desk.kernel_refuses()
    assert [desk.hear(desk.operator.drain(named("p/a"))) for _ in range(2)] == [told, told]
    desk.dataplane.fail_after = None
    assert desk.hear(desk.operator.drain(named("p/a"))) == "p/a was drained already"
    assert desk.rig.row("a").state is BackendState.DRAINING
