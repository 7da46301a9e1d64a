"""What an operator's commands do, and what they are answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbctl.core.model import Declaration
from lbctl.core.targets import named
from lbctl.daemon.state.overrides import Overrides, OverrideStore
from lbctl.errors import SystemRequirementError, UsageError
from tests.unit.daemon.desk import Desk
from tests.unit.daemon.rig import declared

FEEDS = declared("a", "b", "c", keys="policy: failover")
PRIVATE = declared("a", "b", kind="archive", keys="storage: private")
FALLING = declared("a", "b", keys="fallback: spare", spare=("x",))
SHARED = declared("a", "b")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, SHARED)


def refused(desk: Desk, verb: str, *told: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        desk.hear(getattr(desk.operator, verb)(*told))
    return caught.value


# Drain, halt, enable --------------------------------------------------------------------------------------------------


def test_drain_halt_and_enable_say_what_becomes_of_connections(desk: Desk) -> None:
    operator = desk.operator
    assert desk.hear(operator.drain(named("p/a"))) == "p/a drained: no new connections, live ones go on"
    assert desk.rig.states() == {"a": "draining", "b": "up"}
    assert desk.hear(operator.halt(named("p/a"))) == "p/a halted: no new connections, live ones are reset"
    assert desk.rig.states() == {"a": "halted", "b": "up"}
    assert desk.hear(operator.enable(named("p/a"))) == "p/a enabled"
    assert desk.rig.states() == {"a": "up", "b": "up"}


@pytest.mark.parametrize(
    ("verb", "word", "saved"),
    [
        ("drain", "drained", Overrides(drained=frozenset({"p/a"}))),
        ("halt", "halted", Overrides(halted=frozenset({"p/a"}))),
        ("enable", "enabled", Overrides()),
    ],
)
def test_override_is_on_the_disk_and_said_again_when_asked_again(
    desk: Desk, verb: str, word: str, saved: Overrides
) -> None:
    if verb == "enable":
        desk.hear(desk.operator.drain(named("p/a")))
    desk.hear(getattr(desk.operator, verb)(named("p/a")))
    assert OverrideStore(desk.state).load() == saved
    written = len(desk.dataplane.written)
    assert desk.hear(getattr(desk.operator, verb)(named("p/a"))) == f"p/a was {word} already"
    assert len(desk.dataplane.written) == written


def test_halt_and_drain_take_each_others_place(desk: Desk) -> None:
    desk.hear(desk.operator.halt(named("p/a")))
    desk.hear(desk.operator.drain(named("p/a")))
    assert OverrideStore(desk.state).load() == Overrides(drained=frozenset({"p/a"}))
    assert desk.rig.states()["a"] == "draining"


@pytest.mark.parametrize("verb", ["drain", "halt"])
def test_override_of_the_last_one_warns_and_is_done(desk: Desk, verb: str) -> None:
    desk.hear(desk.operator.drain(named("p/b")))
    told = desk.hear(getattr(desk.operator, verb)(named("p/a")))
    assert told.endswith("; warning: nobody in its pool takes new connections now")
    assert desk.rig.shares() == {"nobody": 1}


@pytest.mark.parametrize("verb", ["drain", "halt"])
def test_override_of_the_last_one_with_a_fallback_does_not_warn(tmp_path: Path, verb: str) -> None:
    desk = Desk(tmp_path, FALLING)
    desk.hear(desk.operator.drain(named("p/b")))
    assert "warning" not in desk.hear(getattr(desk.operator, verb)(named("p/a")))
    assert desk.rig.shares() == {"x": 1}


@pytest.mark.parametrize("verb", ["drain", "halt", "enable", "activate"])
def test_command_that_names_no_backend_suggests_the_nearest(desk: Desk, verb: str) -> None:
    error = refused(desk, verb, "p/aa" if verb == "activate" else named("p/aa"))
    assert (error.message, error.hint) == ("there is no backend p/aa", "did you mean p/a?")


@pytest.mark.parametrize("verb", ["drain", "halt", "enable"])
def test_override_that_cannot_be_saved_changes_nothing(desk: Desk, verb: str) -> None:
    if verb == "enable":
        desk.hear(desk.operator.drain(named("p/a")))
    states, written = desk.rig.states(), len(desk.dataplane.written)
    desk.disk_refuses("overrides")
    with pytest.raises(SystemRequirementError, match=r"overrides\.json cannot be written") as caught:
        desk.hear(getattr(desk.operator, verb)(named("p/a")))
    assert "nothing was changed" in caught.value.hint
    desk.rig.reconcile()
    assert (desk.rig.states(), len(desk.dataplane.written)) == (states, written)


def test_override_that_the_kernel_refuses_is_saved_and_told_as_such(desk: Desk) -> None:
    desk.kernel_refuses()
    told = desk.hear(desk.operator.halt(named("p/a")))
    assert told == "p/a will be halted: it is saved, but the kernel refused for now; lbctl goes on trying"
    assert OverrideStore(desk.state).load().halted == {"p/a"}
    desk.dataplane.fail_after = None
    desk.rig.reconcile()
    assert desk.rig.states()["a"] == "halted"


# Fail-over ------------------------------------------------------------------------------------------------------------


def test_activate_says_whose_connections_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path, FEEDS)
    assert desk.hear(desk.operator.activate("p/b")) == "p/b is active now; connections to a are reset"
    assert desk.rig.states() == {"a": "halted", "b": "up", "c": "halted"}
    assert desk.hear(desk.operator.activate("p/b")) == "p/b was active already"


def test_activate_that_the_kernel_refuses_is_told_as_such(tmp_path: Path) -> None:
    desk = Desk(tmp_path, FEEDS)
    desk.kernel_refuses()
    told = desk.hear(desk.operator.activate("p/b"))
    assert told == "p/b will be active, but the kernel refused for now; lbctl goes on trying"
    desk.dataplane.fail_after = None
    desk.rig.reconcile()
    assert desk.reconciler.actives == {"p": "b"}


@pytest.mark.parametrize(
    ("declaration", "message", "hint"),
    [
        (SHARED, "all backends of pool p are active", "only in a pool with `policy: failover` one is"),
        (
            declared("a", "b", keys="policy: failover, failback: automatic"),
            "pool p fails back by itself to the first backend that is up",
            "drain the backends before this one, or set `failback: manual`",
        ),
    ],
    ids=["balance", "automatic"],
)
def test_activate_where_nobody_can_be_chosen_says_why(
    tmp_path: Path, declaration: Declaration, message: str, hint: str
) -> None:
    desk = Desk(tmp_path, declaration)
    error = refused(desk, "activate", "p/b")
    assert (error.message, error.hint) == (message, hint)


def test_activate_of_one_that_takes_no_connections_says_what_it_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path, FEEDS)
    desk.hear(desk.operator.halt(named("p/b")))
    error = refused(desk, "activate", "p/b")
    assert error.message == "p/b takes no connections: it is halted (halted by an operator)"
    assert error.hint == "bring it up first, or choose another"
    assert desk.rig.states() == {"a": "up", "b": "halted", "c": "halted"}


def test_drain_of_one_that_stands_by_names_the_active_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path, FEEDS)
    assert desk.hear(desk.operator.drain(named("p/c"))) == "p/c drained: a is the active one of its pool"


def test_drain_of_the_active_one_says_that_its_connections_end(tmp_path: Path) -> None:
    """Unlike a drain anywhere else: nobody may receive beside the one that takes over."""
    desk = Desk(tmp_path, FEEDS)
    assert desk.hear(desk.operator.drain(named("p/a"))) == "p/a drained: b took over, connections to a are reset"
    assert desk.rig.states() == {"a": "halted", "b": "up", "c": "halted"}


def test_drain_of_the_active_one_that_nobody_replaces_lets_its_connections_go_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path, FEEDS)
    for name in "bc":
        desk.hear(desk.operator.drain(named(f"p/{name}")))
    assert desk.hear(desk.operator.drain(named("p/a"))) == (
        "p/a drained: no new connections, live ones go on; warning: nobody in its pool takes new connections now"
    )
    assert desk.rig.states() == {"a": "draining", "b": "halted", "c": "halted"}


def test_halt_of_the_active_one_makes_the_next_one_active(tmp_path: Path) -> None:
    desk = Desk(tmp_path, FEEDS)
    assert desk.hear(desk.operator.halt(named("p/a"))) == "p/a halted: no new connections, live ones are reset"
    assert desk.rig.states() == {"a": "halted", "b": "up", "c": "halted"}
    assert desk.hear(desk.operator.enable(named("p/a"))) == "p/a enabled; b stays the active one (lbctl activate p/a)"
    assert desk.pool().active == "b"


def test_halt_of_every_one_warns_at_the_last(tmp_path: Path) -> None:
    desk = Desk(tmp_path, FEEDS)
    told = [desk.hear(desk.operator.halt(named(f"p/{name}"))) for name in "abc"]
    assert ["warning" in answer for answer in told] == [False, False, True]
