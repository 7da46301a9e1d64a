"""Texts put in force when something goes wrong that nobody foresaw, on fakes: nothing is lost, and nothing is left behind."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from lbctl.core.assignments import Book
from lbctl.daemon.changes.changing import Changer
from lbctl.daemon.changes.starting import choose_start
from tests.unit.daemon.office import FIRST, SECOND, Office
from tests.unit.daemon.rig import VIP

pytestmark = pytest.mark.usefixtures("short_waits")


def test_apply_loses_no_text_of_the_file_that_nobody_has_applied_yet(office: Office) -> None:
    """A colleague's, who is still writing."""

    async def scene() -> None:
        aside = office.config.with_name("lbctl.yaml.saved")
        assert "saved" not in await office.apply()
        office.config.write_text("# not yet\n" + FIRST)
        office.config.chmod(0o640)
        said = await office.apply(FIRST)
        assert said.endswith(f"but {office.config} had a text that the history does not have: it is in {aside} now")
        assert (office.config.read_text(), aside.read_text()) == (FIRST, "# not yet\n" + FIRST)
        assert (stat.S_IMODE(aside.stat().st_mode), office.warnings()) == (0o640, "")
        office.config.write_text("# nor this\n" + FIRST)
        assert (await office.apply(SECOND)).endswith(f"it is in {aside}.2 now")
        assert [path.read_text()[:6] for path in (aside, aside.with_name(f"{aside.name}.2"))] == ["# not ", "# nor "]

    office.act(scene)


@pytest.mark.parametrize(
    ("error", "said"),
    [(RuntimeError("of course"), "it failed: RuntimeError"), (asyncio.CancelledError(), "the daemon ended meanwhile")],
    ids=["unforeseen", "cut off"],
)
def test_reload_that_fails_in_a_way_that_nobody_foresaw_is_told_everywhere(
    office: Office, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise error

    async def scene() -> None:
        office.config.write_text(SECOND)
        monkeypatch.setattr(Changer, "change", fails)
        with pytest.raises(type(error)):
            await office.daemon.reload()
        last = office.audited()[-1]
        assert (last["user"], last["action"], last["done"]) == ("SIGHUP", "reload", False)
        assert last["outcome"].startswith(said)
        assert said in str(office.status().daemon.config_error)

    office.act(scene)


def test_history_of_changes_that_come_to_nothing_is_bounded_and_keeps_the_way_back(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbctl.daemon.changes.history.KEPT", 3)

    async def scene() -> None:
        await office.apply()
        for number in range(8):
            await office.apply(f"# {number}\n{SECOND}", confirm_s=600)
            await office.roll_back()
        assert [outcome for _, outcome in office.outcomes()] == ["applied", "in force", *3 * ["rolled back"]]
        assert "entry 11 is in force" in await office.roll_back()
        assert office.vips() == {VIP}

    office.act(scene)


def test_pending_change_that_cannot_be_read_is_told_until_the_next_one_is_made(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pending.json").write_text("{")
    office = Office(tmp_path, text=FIRST)

    async def scene() -> None:
        assert "pending.json cannot be read" in office.warnings()
        await office.apply()
        assert office.warnings() == ""

    office.act(scene)


def test_rollback_that_fails_after_the_tables_are_as_before_gives_the_file_its_text_back_all_the_same(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next start would begin with what nobody confirmed."""
    told: list[list[tuple[str, str]]] = []
    give_back = Changer.give_back

    async def failing_once(changer: Changer, taken: Mapping[str, Book]) -> None:
        told.append(office.outcomes())
        if len(told) == 1:
            raise RuntimeError
        await give_back(changer, taken)

    monkeypatch.setattr(Changer, "give_back", failing_once)

    async def scene() -> None:
        office.config.write_text(SECOND)
        await office.apply(source=str(office.config), confirm_s=1)
        await office.eventually((office.state / "audit.jsonl").exists)
        assert (len(told), office.config.read_text()) == (2, FIRST)
        assert told[-1][0] == ("start", "in force"), "and nobody waits for that one"

    office.act(scene)
    assert choose_start(office.config, office.state).text == FIRST
