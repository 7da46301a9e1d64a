"""Texts put in force, on fakes: what is refused, what is remembered, what becomes of the file, and the way back."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lbctl.core.plan import SetVip
from lbctl.daemon.changes import reading
from lbctl.daemon.changes.history import History, How, digest
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import ConfigError, ConflictError, KernelError, LbctlError, RolledBackError, UsageError
from tests.unit.daemon.office import ERNA, FIRST, SECOND, Office
from tests.unit.daemon.rig import OTHER_VIP, VIP, file

pytestmark = pytest.mark.usefixtures("short_waits")


def test_apply_puts_a_text_in_force_and_into_the_file_with_its_owner_and_mode(office: Office) -> None:
    async def scene() -> None:
        office.config.chmod(0o640)
        assert (await office.apply()).startswith("entry 2 is in force: services.s1: (none) -> ")
        assert office.vips() == {VIP, OTHER_VIP}
        assert (office.config.read_text(), stat.S_IMODE(office.config.stat().st_mode)) == (SECOND, 0o640)
        assert office.outcomes() == [("start", "applied"), ("apply", "in force")]

    office.act(scene)


def test_apply_replaces_what_a_link_points_to_not_the_link(office: Office) -> None:
    target = office.config.with_name("elsewhere.yaml")
    office.config.rename(target)
    office.config.symlink_to(target)

    async def scene() -> None:
        await office.apply()
        assert office.config.is_symlink()
        assert target.read_text() == SECOND

    office.act(scene)


def test_apply_on_top_of_another_text_is_refused_naming_who_put_it_there(office: Office) -> None:
    async def scene() -> None:
        await office.apply()
        with pytest.raises(ConflictError, match=r"by erna \(apply, entry 2 of the history\)"):
            await office.apply(FIRST, base=digest(FIRST))
        assert office.vips() == {VIP, OTHER_VIP}

    office.act(scene)


@pytest.mark.parametrize("text", ["a: [", file("a").replace("pool: p", "pol: p"), "# " + "é" * (1 << 19)])
def test_apply_of_what_is_no_configuration_leaves_no_entry(office: Office, text: str) -> None:
    async def scene() -> None:
        with pytest.raises((ConfigError, UsageError)):
            await office.apply(text)
        assert office.outcomes() == [("start", "in force")]
        assert office.config.read_text() == FIRST

    office.act(scene)


def test_apply_with_a_disk_that_refuses_changes_nothing(office: Office) -> None:
    async def scene() -> None:
        before = office.dataplane.read()
        (office.state / "history" / "000002.next").mkdir()
        with pytest.raises(LbctlError, match="history cannot be written") as caught:
            await office.apply()
        assert "free space" in caught.value.hint
        assert office.dataplane.read().vips == before.vips
        assert {service.vip for service in office.status().services} == {VIP}
        assert office.config.read_text() == FIRST

    office.act(scene)


def test_apply_to_be_confirmed_is_not_begun_if_that_cannot_be_remembered(office: Office) -> None:
    async def scene() -> None:
        (office.state / "pending.next").mkdir()
        with pytest.raises(LbctlError, match=r"pending\.json cannot be written"):
            await office.apply(confirm_s=60)
        assert office.vips() == {VIP}
        assert office.outcomes() == [("start", "in force"), ("apply", "failed")]
        assert office.status().daemon.unconfirmed is None

    office.act(scene)


def test_apply_with_a_file_that_cannot_be_written_stands_and_says_so(office: Office) -> None:
    async def scene() -> None:
        in_the_way = office.config.with_suffix(".next")
        in_the_way.mkdir()
        said = await office.apply()
        assert "differs from what is in force, for it cannot be written: Is a directory" in said
        assert "differs from what is in force" in office.warnings()
        assert (office.vips(), office.config.read_text()) == ({VIP, OTHER_VIP}, FIRST)
        in_the_way.rmdir()
        await office.apply()
        assert ("differs" in office.warnings(), office.config.read_text()) == (False, SECOND)

    office.act(scene)


def test_apply_of_the_same_text_is_answered_without_parsing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    async def scene() -> None:
        monkeypatch.setattr(reading, "parse", never)
        before = len(office.dataplane.written)
        assert await office.apply(FIRST) == "nothing to do: this very text is in force"
        assert len(office.dataplane.written) == before
        assert office.outcomes() == [("start", "in force")]

    office.act(scene)


@pytest.mark.parametrize("table", ["services", "slots"])
def test_apply_of_the_same_text_mends_what_somebody_else_wrote(office: Office, table: str) -> None:
    async def scene() -> None:
        before = office.dataplane.read()
        if table == "services":
            office.dataplane.services.clear()
        else:
            office.dataplane.slots[: before.pools[1].size] += 1
        assert (await office.apply(FIRST)).startswith("the tables are as lbctl wrote them again")
        after = office.dataplane.read()
        assert after.services == before.services
        assert (after.slots[1] == before.slots[1]).all()
        assert (await office.apply(FIRST)).startswith("nothing to do")

    office.act(scene)


def test_apply_of_another_text_is_not_hindered_by_what_somebody_else_wrote(office: Office) -> None:
    async def scene() -> None:
        office.dataplane.services.clear()
        assert (await office.apply()).startswith("entry 2 is in force")
        assert office.vips() == {VIP, OTHER_VIP}

    office.act(scene)


# Going back ------------------------------------------------------------------------------------------------------------


def test_rollback_goes_to_the_entry_before_and_back_again(office: Office) -> None:
    async def scene() -> None:
        await office.apply()
        assert (await office.roll_back()).startswith("entry 3 is in force")
        assert (office.vips(), office.config.read_text()) == ({VIP}, FIRST)
        await office.roll_back()
        assert (office.vips(), office.config.read_text()) == ({VIP, OTHER_VIP}, SECOND)
        assert [how for how, _ in office.outcomes()] == ["start", "apply", "rollback", "rollback"]

    office.act(scene)


def test_rollback_without_anything_before_is_refused(office: Office) -> None:
    async def scene() -> None:
        with pytest.raises(UsageError, match="nothing was in force before"):
            await office.roll_back()

    office.act(scene)


class Refusing(FakeDataplane):
    """Never takes the second VIP."""

    def write(self, step: object) -> None:
        if isinstance(step, SetVip) and step.vip == OTHER_VIP and step.after is not None:
            raise KernelError("writing a map entry: no memory")
        super().write(step)  # type: ignore[arg-type]


def test_reload_that_the_kernel_refuses_is_rolled_back_and_told_everywhere(tmp_path: Path) -> None:
    office = Office(tmp_path, text=FIRST, dataplane=Refusing())

    async def scene() -> None:
        office.config.write_text(SECOND)
        with pytest.raises(RolledBackError, match="rolled back: writing a map entry: no memory"):
            await office.daemon.reload()
        assert {service.vip for service in office.status().services} == {VIP}
        assert len(office.dataplane.services) == 1
        entry = office.daemon.applier.history().entries[-1]
        assert (entry.how, entry.outcome, entry.why) == ("reload", "failed", "writing a map entry: no memory")
        last = office.audited()[-1]
        assert (last["user"], last["action"], last["done"]) == ("SIGHUP", "reload", False)
        assert "no memory" in str(office.status().daemon.config_error)
        assert office.status().daemon.last_error is None

    office.act(scene)


# Over a restart --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "outcome"), [(SECOND, "in force"), (FIRST, "failed")], ids=["after", "before"])
def test_change_that_the_daemon_was_killed_at_is_settled_by_what_the_next_one_starts_from(
    office: Office, tmp_path: Path, text: str, outcome: str
) -> None:
    async def first() -> None:
        assert office.outcomes() == [("start", "in force")]

    office.act(first)
    History(office.state).add(SECOND, actor=ERNA, how=How.RELOAD, source=str(office.config), what="")
    second = Office(tmp_path, text=text, dataplane=office.dataplane)

    async def scene() -> None:
        assert second.outcomes()[-1] == ("reload", outcome)
        assert len(second.outcomes()) == 2

    second.act(scene)


def test_start_without_a_place_for_the_history_succeeds_and_says_so(office: Office) -> None:
    office.state.mkdir()
    (office.state / "history").write_text("")

    async def scene() -> None:
        assert "what is in force is not in the history" in office.warnings()
        (office.state / "history").unlink()
        await office.apply()
        assert office.outcomes() == [("start", "applied"), ("apply", "in force")]
        assert office.warnings() == ""

    office.act(scene)


def test_file_that_was_changed_before_a_start_is_an_entry_of_its_own(office: Office, tmp_path: Path) -> None:
    async def first() -> None:
        await office.apply()

    office.act(first)
    second = Office(tmp_path, text=file("a"), dataplane=office.dataplane)

    async def scene() -> None:
        assert second.outcomes() == [("start", "applied"), ("apply", "applied"), ("start", "in force")]
        await second.roll_back()
        assert second.config.read_text() == SECOND

    second.act(scene)


# Killed ----------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing is done any more."""


@pytest.mark.parametrize("confirm_s", [None, 600], ids=["at once", "confirmed"])
@pytest.mark.parametrize("is_written", [False, True], ids=["before", "after"])
def test_kill_at_the_file_leaves_a_history_that_agrees_with_what_is_in_force_then(
    tmp_path: Path, is_written: bool, confirm_s: float | None
) -> None:
    office = Office(tmp_path, text=FIRST)
    memory = office.daemon.applier._memory

    def die(text: str) -> None:
        if is_written:
            memory.config.replace(text)
        raise Killed

    async def scene() -> None:
        memory.write_file = die  # type: ignore[method-assign]
        with pytest.raises(Killed):
            await office.apply(confirm_s=confirm_s)
            await office.daemon.applier.confirm()

    office.act(scene)
    later = Office(tmp_path, text=office.config.read_text(), dataplane=office.dataplane)

    async def look() -> None:
        is_there = is_written or confirm_s is not None
        assert later.vips() == ({VIP, OTHER_VIP} if is_there else {VIP})
        outcome = "unconfirmed" if confirm_s else "in force" if is_written else "failed"
        assert [each for each in later.outcomes() if each[0] == "apply"] == [("apply", outcome)]

    later.act(look)
