"""The assignments of sources in three places: the book, the program's map, and the disk."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lbctl.core.plan import SetPool, Step
from lbctl.core.tables import NOBODY_ELSE, reference
from lbctl.core.targets import named
from lbctl.daemon import assigning
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.state.store import Assigned as Saved
from lbctl.daemon.state.store import AssignmentStore, Remembered
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import Assigned
from lbctl.errors import KernelError, SystemRequirementError
from tests.unit.daemon.desk import CT, MR, US, Desk
from tests.unit.daemon.rig import Rig, declared

PRIVATE = declared("a", "b", kind="archive", keys="storage: private")
NEVER = declared("a", "b", kind="archive", keys="storage: private, reassign: never")
DOWN = declared("a", "b", kind="archive", keys="storage: private, reassign: down")
ONLY_B = {
    keys: declared("b address=192.0.2.12", kind="archive", keys=f"storage: private, reassign: {keys}")
    for keys in ("never", "removed")
}

UP_ONCE = {f"p/{name}@192.0.2.{host}": Remembered(is_up=True, percent=100) for name, host in (("a", 11), ("b", 12))}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, PRIVATE)


def saved(desk: Desk) -> dict[str, object]:
    return dict(AssignmentStore(desk.state).load().pools)


def settle(desk: Desk) -> None:
    desk.hear(desk.assigner.settle())


def test_source_that_the_program_assigned_is_on_the_disk_after_one_look(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    desk.connect(CT, "a")
    desk.connect(MR, "b")
    settle(desk)
    assert saved(desk) == {"p": {CT: "a", MR: "b"}}
    assert caplog.messages == ["pool p: 2 sources assigned for the first time"]
    assert "192.0.2.201" not in caplog.text


def test_nothing_new_is_neither_written_nor_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.connect(CT, "a")
    settle(desk)
    desk.disk_refuses("assignments")  # so that a write would be noticed
    caplog.set_level(logging.INFO)
    settle(desk)
    assert caplog.messages == []


def test_reboot_gives_the_program_what_the_disk_has(tmp_path: Path) -> None:
    AssignmentStore(tmp_path).save(Saved(pools={"p": {CT: "a", MR: "b"}, "removed": {US: "x"}}))
    desk = Desk(tmp_path, PRIVATE)
    assert desk.assigned() == {}
    settle(desk)
    assert desk.assigned() == {CT: "a", MR: "b"}
    assert saved(desk)["removed"] == {US: "x"}


def test_restart_changes_nothing_and_learns_what_was_assigned_while_no_daemon_ran(desk: Desk) -> None:
    desk.connect(CT, "a")
    settle(desk)
    desk.connect(MR, "b")
    again = Desk(desk.state, PRIVATE, dataplane=desk.dataplane)
    settle(again)
    assert again.assigned() == {CT: "a", MR: "b"}
    assert saved(again) == {"p": {CT: "a", MR: "b"}}


def test_weights_drains_and_failures_move_no_source(desk: Desk) -> None:
    desk.connect(CT, "a")
    settle(desk)
    desk.hear(desk.operator.drain(named("p/a")))
    settle(desk)
    desk.rig.fail("a")
    desk.rig.reconcile()
    settle(desk)
    desk.reconciler.declare(declared("a weight=1", "b", kind="archive", keys="storage: private"), now=desk.rig.now)
    desk.rig.reconcile()
    settle(desk)
    assert desk.assigned() == {CT: "a"}


def test_source_of_a_removed_backend_is_assigned_anew_and_that_is_logged(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.connect(CT, "a")
    desk.connect(MR, "b")
    settle(desk)
    desk.reconciler.declare(ONLY_B["removed"], now=desk.rig.now)
    desk.rig.reconcile()
    settle(desk)
    assert desk.assigned() == {MR: "b"}
    assert saved(desk) == {"p": {MR: "b"}}
    assert "pool p: 1 sources whose backend is gone will be assigned anew" in caplog.messages


def test_source_that_is_never_assigned_anew_waits_for_its_backend(tmp_path: Path) -> None:
    desk = Desk(tmp_path, NEVER)
    desk.connect(CT, "a")
    settle(desk)
    desk.reconciler.declare(ONLY_B["never"], now=desk.rig.now)
    desk.rig.reconcile()
    settle(desk)
    assert desk.assigned() == {CT: NOBODY_ELSE}
    assert saved(desk) == {"p": {CT: "a"}}
    desk.reconciler.declare(NEVER, now=desk.rig.now)
    desk.rig.meet_all()
    desk.rig.reconcile()
    settle(desk)
    assert desk.assigned() == {CT: "a"}


def test_source_of_a_backend_that_is_down_is_assigned_anew_where_the_pool_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path, DOWN)
    desk.connect(CT, "a")
    settle(desk)
    desk.rig.fail("a")
    desk.rig.reconcile()
    settle(desk)
    assert desk.assigned() == {}
    assert saved(desk) == {"p": {}}


def test_source_of_another_server_under_the_same_id_is_none_of_ours(desk: Desk) -> None:
    """Its entry is of a generation that is no more."""
    desk.dataplane.assigned[desk.key(CT)] = reference(desk.rig.number("a"), 77)
    settle(desk)
    assert desk.assigned() == {}


def test_source_of_a_pool_with_shared_storage_is_left_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", "b"))
    desk.connect(CT, "a")
    settle(desk)
    assert desk.assigned() == {CT: "a"}
    assert not desk.assigner.has_work
    assert list(tmp_path.iterdir()) == []


def test_source_of_another_pool_is_not_counted_in(desk: Desk) -> None:
    desk.connect(CT, "a")
    settle(desk)
    stray = Assigned(pool_id=desk.rig.pool_id("p") + 1, source=US)
    desk.dataplane.assigned[stray] = desk.rig.reference("b")
    settle(desk)
    assert saved(desk) == {"p": {CT: "a"}}
    assert stray not in desk.dataplane.assigned  # or it would rule the next pool of that id


# Trouble -------------------------------------------------------------------------------------------------------------


def test_disk_that_refuses_is_told_and_the_program_goes_on_with_what_it_has(desk: Desk) -> None:
    desk.connect(CT, "a")
    desk.disk_refuses("assignments")
    with pytest.raises(SystemRequirementError, match=r"assignments\.json cannot be written"):
        settle(desk)
    assert desk.assigned() == {CT: "a"}
    desk.disk_recovers("assignments")
    settle(desk)
    assert saved(desk) == {"p": {CT: "a"}}


class WithoutPools(FakeDataplane):
    """A kernel that has no room for a pool."""

    def write(self, step: Step) -> None:
        if isinstance(step, SetPool):
            raise KernelError("writing a map entry: no room")
        super().write(step)


def test_pool_that_the_kernel_was_not_given_yet_waits(tmp_path: Path) -> None:
    AssignmentStore(tmp_path).save(Saved(pools={"p": {CT: "a"}}))
    rig = Rig(PRIVATE, dataplane=WithoutPools())
    with pytest.raises(KernelError):
        rig.reconcile()
    store = AssignmentStore(tmp_path)
    assigner = Assigner(rig.reconciler, rig.dataplane, store)
    Desk.hear(assigner.settle())
    Desk.hear(assigner.assign(rig.reconciler.declaration.pool("p"), MR, "b"))
    assert rig.dataplane.assigned == {}
    assert store.load().pools == {"p": {CT: "a", MR: "b"}}


@pytest.mark.parametrize(("room", "is_full"), [(2, True), (3, False)])
def test_table_of_sources_that_is_full_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, room: int, is_full: bool
) -> None:
    monkeypatch.setattr(assigning, "ASSIGNMENTS", room)
    desk.connect(CT, "a")
    desk.connect(MR, "b")
    settle(desk)
    assert desk.assigner.is_full == is_full
    warned = [
        line
        for line in desk.operator.reporter.status().daemon.warnings
        if line.startswith("no more sources can be assigned")
    ]
    assert len(warned) == is_full


@pytest.mark.parametrize(
    ("keys", "holder"), [("never", NOBODY_ELSE), ("removed", None)], ids=["never reassigned", "reassigned"]
)
def test_source_that_was_assigned_while_no_daemon_ran_keeps_to_a_backend_that_went_meanwhile(
    keys: str, holder: int | None, tmp_path: Path
) -> None:
    """Unless it is to be given another one: then its next connection finds that."""
    former = Desk(tmp_path, NEVER)
    former.connect(CT, "a")  # and nobody notes it
    desk = Desk(tmp_path, ONLY_B[keys], dataplane=former.dataplane, remembered=UP_ONCE)
    settle(desk)
    assert desk.dataplane.assigned.get(desk.key(CT)) == holder
    assert saved(desk).get("p", {}) == ({CT: "a"} if holder else {})


def test_source_that_was_assigned_while_no_daemon_ran_keeps_to_a_backend_that_moved_meanwhile(tmp_path: Path) -> None:
    former = Desk(tmp_path, PRIVATE)
    former.connect(CT, "a")  # and nobody notes it
    moved = declared("a address=192.0.2.19", "b address=192.0.2.12", kind="archive", keys="storage: private")
    desk = Desk(tmp_path, moved, dataplane=former.dataplane, remembered=UP_ONCE)
    settle(desk)
    assert desk.assigned() == {CT: "a"}
