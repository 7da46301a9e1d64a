"""Which backend is active in a pool where only one may be, and what the others are then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.failover import active_of, actives_of, has_one, receivers, standings_with, turned_receivers
from lbctl.core.model import Declaration, Failback, Policy, Pool
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import BackendState
from tests.unit.core.declarations import declaration, down, draining, up

FULL = replace(up(), condition=Condition.FULL)
WEIGHTLESS = replace(draining(), reason="its weight is 0")
HALTED = Standing(condition=Condition.HALTED, reason="halted by an operator", state=BackendState.HALTED, weight=0)
UNPROBED = replace(down(), condition=Condition.UNKNOWN)
MANUAL = replace(declaration({"feeds": {"a": 11, "b": 12, "c": 13}}).pools[0], policy=Policy.FAILOVER)
AUTOMATIC = replace(MANUAL, failback=Failback.AUTOMATIC)
UNABLE = (down(), draining(), WEIGHTLESS, HALTED)
ABLE = (up(), FULL, up(1))


def standing_as(pool: Pool, *found: Standing) -> Mapping[str, Standing]:
    """In the order of the file."""
    return {backend.label: stands for backend, stands in zip(pool.backends, found, strict=True)}


def active(pool: Pool, *found: Standing, before: str | None) -> str | None:
    return active_of(pool, standing_as(pool, *found), before=before)


# Who is active --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [MANUAL, AUTOMATIC])
def test_active_at_first_is_the_first_in_order_that_can(pool: Pool) -> None:
    assert active(pool, up(), up(), up(), before=None) == "a"
    assert active(pool, down(), up(), up(), before=None) == "b"


def test_active_by_manual_failback_stays_when_one_further_up_returns() -> None:
    assert active(MANUAL, up(), up(), up(), before="c") == "c"
    assert active(MANUAL, up(), up(), down(), before="c") == "a"


def test_active_by_automatic_failback_gives_way_to_one_further_up() -> None:
    assert active(AUTOMATIC, up(), up(), up(), before="c") == "a"
    assert active(AUTOMATIC, down(), up(), up(), before="c") == "b"
    assert active(AUTOMATIC, down(), up(), up(), before="b") == "b"


@pytest.mark.parametrize("pool", [MANUAL, AUTOMATIC])
def test_active_stays_while_nobody_can(pool: Pool) -> None:
    assert active(pool, down(), down(), down(), before="b") == "b"
    assert active(pool, down(), down(), down(), before=None) is None


def test_active_that_was_removed_from_the_file_is_not_kept() -> None:
    assert active(MANUAL, up(), up(), up(), before="gone") == "a"
    assert active(MANUAL, down(), down(), down(), before="gone") is None


@pytest.mark.parametrize("stands", UNABLE)
def test_active_that_takes_no_connections_is_replaced_by_the_first_that_does(stands: Standing) -> None:
    """Whatever the cause: it is down, an operator or its agent drains it, its weight is 0."""
    assert active(MANUAL, stands, up(), up(), before="a") == "b"
    assert active(MANUAL, up(), stands, up(), before="b") == "a"


@pytest.mark.parametrize("stands", UNABLE)
def test_active_is_never_chosen_among_those_who_take_no_connections(stands: Standing) -> None:
    assert active(MANUAL, stands, stands, up(1), before=None) == "c"


@pytest.mark.parametrize("pool", [MANUAL, AUTOMATIC])
def test_active_that_is_full_stays(pool: Pool) -> None:
    """Another receiver for the feeds that find no room would split them."""
    assert active(pool, FULL, up(), up(), before="a") == "a"


@pytest.mark.parametrize("pool", [MANUAL, AUTOMATIC])
def test_active_that_was_never_probed_is_given_the_time_to_be(pool: Pool) -> None:
    """As after a reboot: the others' probes may end before its own."""
    assert active(pool, up(), UNPROBED, up(), before="b") == "b"
    assert active(pool, UNPROBED, up(), up(), before=None) == "b"


@pytest.mark.parametrize("pool", [MANUAL, AUTOMATIC])
def test_active_that_is_silent_where_nobody_is_heard_stays(pool: Pool) -> None:
    """It may be the director that is cut off: whoever takes over would be no better."""
    standings = standing_as(pool, down(), up(), up())
    assert active_of(pool, standings, before="a", unheard={"feeds/a"}) == "a"
    assert active_of(pool, standings, before="a", unheard={"feeds/c", "web/a"}) == "b"
    assert active_of(pool, standings, before=None, unheard={"feeds/a"}) == "b"


# What the others are ---------------------------------------------------------------------------------------------------


def declared(pool: Pool) -> Declaration:
    """With a pool besides that balances."""
    others = declaration({"feeds": {}, "web": {"x": 21, "y": 22}})
    return replace(others, pools=(pool, *others.pools[1:]))


def all_standings(pool: Pool, *found: Standing) -> dict[str, Standing]:
    return {**standing_as(pool, *found), "web/x": up(), "web/y": down()}


def test_standby_is_halted_has_no_weight_and_says_for_whom_it_waits() -> None:
    found = standings_with(declared(MANUAL), all_standings(MANUAL, up(), up(), up()), {"feeds": "b"})
    waits = Standing(condition=Condition.STANDBY, reason="takes over if b fails", state=BackendState.HALTED, weight=0)
    assert found == {"feeds/a": waits, "feeds/b": up(), "feeds/c": waits, "web/x": up(), "web/y": down()}


@pytest.mark.parametrize("stands", UNABLE)
def test_standby_that_would_not_take_over_is_told_as_what_it_is_and_halted_all_the_same(stands: Standing) -> None:
    found = standings_with(declared(MANUAL), all_standings(MANUAL, stands, up(), up()), {"feeds": "b"})
    assert found["feeds/a"] == replace(stands, state=BackendState.HALTED)


def test_active_that_is_down_keeps_its_state_while_nobody_replaces_it() -> None:
    """Its connections may be alive: what becomes of them is the pool's `reset_on_down`."""
    found = standings_with(declared(MANUAL), all_standings(MANUAL, down(), down(), down()), {"feeds": "a"})
    assert found["feeds/a"] == down()
    assert found["feeds/b"] == replace(down(), state=BackendState.HALTED)


def test_pool_without_an_active_one_has_all_of_them_halted() -> None:
    found = standings_with(declared(MANUAL), all_standings(MANUAL, up(), down(), down()), {})
    assert {stands.state for label, stands in found.items() if label.startswith("feeds/")} == {BackendState.HALTED}


def test_pools_that_balance_have_no_active_one() -> None:
    standings = all_standings(MANUAL, up(), up(), up())
    assert actives_of(declared(MANUAL), standings, before={"web": "x"}) == {"feeds": "a"}
    assert [has_one(pool) for pool in declared(MANUAL).pools] == [True, False]
    assert [backend.label for backend in receivers(declared(MANUAL))] == ["feeds/a", "feeds/b", "feeds/c"]


def test_pool_where_nobody_ever_could_has_no_active_one() -> None:
    assert actives_of(declared(MANUAL), all_standings(MANUAL, down(), down(), down()), before={}) == {}


def test_receivers_that_turn_are_those_of_a_pool_that_fails_over_from_now_on() -> None:
    balancing = declared(replace(MANUAL, policy=Policy.BALANCE))
    turned = turned_receivers(balancing, declared(replace(MANUAL, backends=MANUAL.backends[:1])))
    assert [backend.label for backend in turned] == ["feeds/a", "feeds/b", "feeds/c"]
    assert turned_receivers(declared(MANUAL), balancing) == ()


# Whatever happens -----------------------------------------------------------------------------------------------------

POOLS = st.sampled_from([MANUAL, AUTOMATIC])
MOMENTS = st.tuples(*[st.sampled_from([*ABLE, *UNABLE])] * 3)


@given(pool=POOLS, history=st.lists(MOMENTS, min_size=1, max_size=8), before=st.sampled_from([None, "a", "c", "gone"]))
def test_history_of_any_kind_never_has_two_receivers_and_switches_only_to_one_that_can(
    pool: Pool, history: list[tuple[Standing, ...]], before: str | None
) -> None:
    actives: Mapping[str, str] = {"feeds": before} if before else {}
    for moment in history:
        able = all_standings(pool, *moment)
        after = actives_of(declared(pool), able, before=actives)
        found = standings_with(declared(pool), able, after)
        receiving = [backend.name for backend in pool.backends if found[backend.label].weight]
        alive = [b.name for b in pool.backends if found[b.label].state is not BackendState.HALTED]
        could = [backend.name for backend in pool.backends if able[backend.label].weight]
        assert receiving == ([after["feeds"]] if could else [])
        assert set(alive) <= set(after.values())
        if after != actives and after:
            assert after["feeds"] in could
        actives = after


@given(pool=POOLS, moment=MOMENTS, before=st.sampled_from([None, "a", "b", "c"]))
def test_active_chosen_once_is_chosen_again_as_long_as_nothing_changes(
    pool: Pool, moment: tuple[Standing, ...], before: str | None
) -> None:
    chosen = active(pool, *moment, before=before)
    assert active(pool, *moment, before=chosen) == chosen


@given(moment=MOMENTS, before=st.sampled_from(["a", "b", "c"]))
def test_active_by_manual_failback_is_only_left_when_it_cannot(moment: tuple[Standing, ...], before: str) -> None:
    stands = moment["abc".index(before)]
    assert active(MANUAL, *moment, before=before) == before or not stands.weight
