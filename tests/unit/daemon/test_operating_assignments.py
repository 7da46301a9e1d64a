"""What an operator's words on assignments do, and what they are answered with."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path

import pytest

from lbctl.core.targets import named
from lbctl.daemon.models import Assignment, Assignments
from lbctl.errors import KernelError, SystemRequirementError, UsageError
from tests.unit.daemon.desk import CT, MR, US, Desk
from tests.unit.daemon.test_operating import PRIVATE, SHARED, refused


@pytest.fixture
def private(tmp_path: Path) -> Desk:
    """CT has its studies at a, MR at b; and the daemon knows."""
    desk = Desk(tmp_path, PRIVATE)
    desk.connect(MR, "b")
    desk.connect(CT, "a")
    desk.hear(desk.assigner.settle())
    return desk


def test_assignments_are_listed_in_the_order_of_their_sources(private: Desk) -> None:
    rows = tuple(Assignment(pool="p", source=source, backend=name) for source, name in ((CT, "a"), (MR, "b")))
    assert private.operator.assignments(None) == private.operator.assignments("p") == Assignments(assignments=rows)


@pytest.mark.parametrize("verb", ["drain", "halt"])
def test_override_of_an_archive_says_how_many_sources_are_turned_away(private: Desk, verb: str) -> None:
    told = private.hear(getattr(private.operator, verb)(named("p/a")))
    assert told.endswith("; assigned sources are turned away meanwhile: 1")


def test_assign_gives_the_next_connection_of_a_source_to_another(private: Desk) -> None:
    told = private.hear(private.operator.assign("p", CT, "b"))
    assert told == "192.0.2.201 goes to p/b from its next connection on; what it stored elsewhere stays there"
    assert private.assigned() == {CT: "b", MR: "b"}
    private.hear(private.assigner.settle())
    assert private.assigned() == {CT: "b", MR: "b"}


def test_assign_of_a_source_that_was_never_seen_is_done(private: Desk) -> None:
    private.hear(private.operator.assign("p", US, "a"))
    assert private.assigned() == {CT: "a", MR: "b", US: "a"}


@pytest.mark.parametrize("source", ["2001:db8::201", "fe80::1%eth0"])
def test_assign_of_a_source_that_cannot_come_is_refused(private: Desk, source: str) -> None:
    error = refused(private, "assign", "p", IPv6Address(source), "a")
    assert source in error.message
    assert error.hint
    assert private.assigned() == {CT: "a", MR: "b"}


def test_unassign_lets_the_program_choose_anew(private: Desk) -> None:
    told = private.hear(private.operator.unassign("p", CT))
    assert told == "192.0.2.201 is given a backend anew at its next connection; what it stored before stays where it is"
    assert private.assigned() == {MR: "b"}
    private.connect(CT, "b")
    private.hear(private.assigner.settle())
    assert [row.backend for row in private.operator.assignments("p").assignments] == ["b", "b"]


def test_unassign_of_a_source_that_has_none_says_so(private: Desk) -> None:
    assert private.hear(private.operator.unassign("p", US)) == "192.0.2.203 has no backend of its own in pool p"


def test_unassign_knows_of_what_the_program_assigned_a_moment_ago(private: Desk) -> None:
    private.connect(US, "a")
    assert "is given a backend anew" in private.hear(private.operator.unassign("p", US))
    assert US not in private.assigned()


def test_assign_of_no_such_backend_suggests_the_nearest(private: Desk) -> None:
    error = refused(private, "assign", "p", CT, "aa")
    assert (error.message, error.hint) == ("there is no backend p/aa", "did you mean p/a?")


@pytest.mark.parametrize(("verb", "told"), [("assign", (CT, "a")), ("unassign", (CT,))])
def test_assignment_in_a_pool_that_has_none_says_why(tmp_path: Path, verb: str, told: tuple[object, ...]) -> None:
    desk = Desk(tmp_path, SHARED)
    error = refused(desk, verb, "p", *told)
    assert error.message == "pool p assigns no sources, for its storage is not private"
    assert error.hint == "the file declares no pool with `storage: private`"
    error = refused(desk, verb, "q", *told)
    assert error.message == "there is no pool q"


def test_assignments_of_no_such_pool_name_those_there_are(private: Desk) -> None:
    with pytest.raises(UsageError, match="there is no pool q") as caught:
        private.operator.assignments("q")
    assert caught.value.hint == "such a pool: p"


@pytest.mark.parametrize(("verb", "told"), [("assign", (CT, "b")), ("unassign", (CT,))])
def test_assignment_that_cannot_be_saved_changes_nothing(private: Desk, verb: str, told: tuple[object, ...]) -> None:
    private.disk_refuses("assignments")
    with pytest.raises(SystemRequirementError, match=r"assignments\.json cannot be written"):
        private.hear(getattr(private.operator, verb)("p", *told))
    assert private.assigned() == {CT: "a", MR: "b"}
    private.disk_recovers("assignments")
    private.hear(private.assigner.settle())
    assert private.assigned() == {CT: "a", MR: "b"}


def test_assignment_that_the_kernel_refuses_is_made_later(private: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(changes: object) -> None:
        raise KernelError(f"writing a map entry: no room for {changes}")

    with monkeypatch.context() as patch:
        patch.setattr(private.dataplane, "assign", refuse)
        with pytest.raises(KernelError):
            private.hear(private.operator.assign("p", CT, "b"))
    private.hear(private.assigner.settle())
    assert private.assigned() == {CT: "b", MR: "b"}
