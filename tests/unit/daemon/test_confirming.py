"""Changes that are to be confirmed, on fakes: they stay, or what was before comes back."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from lbctl.core.capacity import Capacity
from lbctl.core.health import Health
from lbctl.core.model import Declaration
from lbctl.core.tables import Tables
from lbctl.daemon.changes.changing import Changer, Commit
from lbctl.daemon.observed import Member
from lbctl.errors import ConflictError, UsageError
from tests.unit.daemon.office import FIRST, SECOND, Office
from tests.unit.daemon.rig import OTHER_VIP, VIP, file

pytestmark = pytest.mark.usefixtures("short_waits")


def test_apply_that_nobody_confirms_is_rolled_back_by_lbctl_itself(office: Office) -> None:
    async def scene() -> None:
        await office.apply(confirm_s=1)
        assert (office.vips(), office.config.read_text()) == ({VIP, OTHER_VIP}, FIRST)
        await office.eventually((office.state / "audit.jsonl").exists)
        assert office.outcomes()[-1] == ("apply", "rolled back")
        assert (office.vips(), office.config.read_text()) == ({VIP}, FIRST)
        assert not (office.state / "pending.json").exists()
        last = office.audited()[-1]
        assert (last["user"], last["action"], last["target"], last["done"]) == ("lbctl", "roll back", "entry 2", True)

    office.act(scene)


def test_apply_that_nobody_confirms_is_rolled_back_also_after_a_failure_that_nobody_foresaw(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Declaration] = []
    change = Changer.change

    async def failing_once(changer: Changer, declaration: Declaration, *, commit: Commit) -> None:
        begun.append(declaration)
        if len(begun) == 2:
            raise RuntimeError
        await change(changer, declaration, commit=commit)

    monkeypatch.setattr(Changer, "change", failing_once)

    async def scene() -> None:
        await office.apply(confirm_s=1)
        await office.eventually((office.state / "audit.jsonl").exists)
        assert (len(begun), office.outcomes()[-1]) == (3, ("apply", "rolled back"))

    office.act(scene)


def test_apply_that_is_confirmed_stays_and_is_written(office: Office) -> None:
    async def scene() -> None:
        await office.apply(confirm_s=600)
        waits = office.status().daemon.unconfirmed
        assert waits is not None
        assert (waits.number, waits.user) == (2, "erna")
        assert (await office.daemon.applier.confirm()).startswith("confirmed: entry 2 is in force")
        assert (office.status().daemon.unconfirmed, office.config.read_text()) == (None, SECOND)
        with pytest.raises(UsageError, match="nothing waits"):
            await office.daemon.applier.confirm()

    office.act(scene)


def test_everything_else_is_refused_while_a_change_waits(office: Office) -> None:
    async def scene() -> None:
        await office.apply(confirm_s=600)
        for act in (office.apply(FIRST), office.roll_back(2), office.daemon.reload()):
            with pytest.raises(ConflictError, match="waits for its confirmation"):
                await act
        assert "waits for its confirmation" in str(office.status().daemon.config_error)
        assert office.vips() == {VIP, OTHER_VIP}
        await office.daemon.applier.confirm()
        assert office.status().daemon.config_error is None

    office.act(scene)


WITH_BOTH, WITH_ONE = (file(*names, kind="archive", keys="storage: private") for names in (("a", "b"), ("a",)))
STAYS, MOVES = ip_address("192.0.2.77"), ip_address("192.0.2.78")


def books(office: Office) -> dict[object, str]:
    """Who keeps to whom."""
    return {each.source: each.backend for each in office.daemon.operator.assignments("p").assignments}


async def remove_b_meanwhile(office: Office) -> None:
    """Two sources keep to b, which a change that waits removes; one finds another backend meanwhile."""
    for source in (STAYS, MOVES):
        await office.daemon.operator.assign("p", source, "b")
    await office.apply(WITH_ONE, confirm_s=600)
    assert books(office) == {}
    await office.daemon.operator.assign("p", MOVES, "a")


def test_sources_of_a_backend_that_was_removed_keep_to_it_when_the_change_is_taken_back(tmp_path: Path) -> None:
    """Nobody else has their studies. Who found another backend meanwhile has studies there."""
    office = Office(tmp_path, text=WITH_BOTH)

    async def scene() -> None:
        await remove_b_meanwhile(office)
        await office.roll_back()
        assert books(office) == {STAYS: "b", MOVES: "a"}
        assert {key.source for key in office.dataplane.assigned} == {STAYS, MOVES}

    office.act(scene)


def started_anew(before: Office, directory: Path, *, text: str = WITH_BOTH) -> Office:
    """By another daemon: the kernel has its tables still, the disk what was saved."""
    return Office(directory, text=text, dataplane=before.dataplane)


def test_sources_of_a_removed_backend_keep_to_it_when_another_daemon_takes_the_change_back(tmp_path: Path) -> None:
    first = Office(tmp_path, text=WITH_BOTH)
    first.act(lambda: remove_b_meanwhile(first))
    second = started_anew(first, tmp_path)

    async def scene() -> None:
        assert books(second) == {MOVES: "a"}
        await second.roll_back()
        assert books(second) == {STAYS: "b", MOVES: "a"}

    second.act(scene)
    third = started_anew(second, tmp_path)
    assert third.start.waits is None and third.start.expired is None
    assert books(third) == {STAYS: "b", MOVES: "a"}, "it is on the disk"


def test_sources_of_a_removed_backend_keep_to_it_when_nobody_can_confirm_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Office(tmp_path, text=WITH_BOTH)
    first.act(lambda: remove_b_meanwhile(first))
    monkeypatch.setattr("lbctl.daemon.changes.pending.boot_id", lambda: "after a reboot")
    second = started_anew(first, tmp_path)

    async def scene() -> None:
        assert second.outcomes()[-1] == ("apply", "rolled back")
        assert books(second) == {STAYS: "b", MOVES: "a"}
        assert {key.source for key in second.dataplane.assigned} == {STAYS, MOVES}

    second.act(scene)
    assert books(started_anew(second, tmp_path)) == {STAYS: "b", MOVES: "a"}, "it is on the disk"


def test_sources_of_a_removed_backend_are_let_go_of_for_good_by_the_confirmation(tmp_path: Path) -> None:
    first = Office(tmp_path, text=WITH_BOTH)

    async def scene() -> None:
        await remove_b_meanwhile(first)
        await first.daemon.applier.confirm()

    first.act(scene)
    second = started_anew(first, tmp_path)  # with the file that has b again
    assert books(second) == {MOVES: "a"}


FAILOVER = file("a", "b", keys="policy: failover")
WITHOUT_IT = (file("a", "b"), file("c").replace("  p:", "  o:").replace("pool: p", "pool: o"))
"""The pool is balanced meanwhile, or not there."""


def rise(office: Office) -> None:
    """Everybody is up."""
    members = office.daemon._reconciler.observed.members
    members.update((label, Member(Health.adopted(True, now=0.0), Capacity())) for label in members)


async def try_without_it(office: Office, tried: str) -> None:
    """The second one is active; the file would begin with the first."""
    rise(office)
    await office.daemon.operator.activate("p/b")
    await office.apply(tried, confirm_s=600)
    rise(office)
    assert office.status().pools[0].active is None


@pytest.mark.parametrize("tried", WITHOUT_IT)
def test_active_one_of_a_pool_is_so_again_when_the_change_is_taken_back(tmp_path: Path, tried: str) -> None:
    office = Office(tmp_path, text=FAILOVER)

    async def scene() -> None:
        await try_without_it(office, tried)
        planned = await office.daemon.planner.plan(FAILOVER, source="x")
        assert not any("b do" in effect.text for effect in planned.effects)  # not receive any more
        await office.roll_back()
        assert office.status().pools[0].active == "b"

    office.act(scene)


def test_active_one_since_the_compiler_began_to_work_for_a_change_is_so_again_when_that_is_taken_back(
    tmp_path: Path,
) -> None:
    office = Office(tmp_path, text=FAILOVER)

    async def scene() -> None:
        extend, operator = office.daemon._specialiser.extend, office.daemon.operator

        async def and_meanwhile(declaration: Declaration, *, current: Tables) -> None:
            office.daemon._specialiser.extend = extend  # type: ignore[method-assign]
            await operator.activate("p/b")
            await extend(declaration, current=current)

        rise(office)
        office.daemon._specialiser.extend = and_meanwhile  # type: ignore[method-assign]
        await office.apply(WITHOUT_IT[1], confirm_s=600)
        rise(office)
        await office.roll_back()
        assert office.status().pools[0].active == "b"

    office.act(scene)


@pytest.mark.parametrize("is_too_late", [False, True], ids=["by hand", "too late"])
@pytest.mark.parametrize("tried", WITHOUT_IT)
def test_active_one_of_a_pool_is_so_again_when_another_daemon_takes_the_change_back(
    tmp_path: Path, tried: str, is_too_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Office(tmp_path, text=FAILOVER)
    first.act(lambda: try_without_it(first, tried))
    if is_too_late:
        monkeypatch.setattr("lbctl.daemon.changes.pending.boot_id", lambda: "after a reboot")
    second = started_anew(first, tmp_path, text=FAILOVER)

    async def scene() -> None:
        rise(second)
        if not is_too_late:
            await second.roll_back()
        assert second.status().pools[0].active == "b"

    second.act(scene)
