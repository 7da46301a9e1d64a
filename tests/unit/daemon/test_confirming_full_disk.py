"""Changes that are to be confirmed, on a disk that refuses to note what becomes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lbctl.core.plan import Step
from lbctl.daemon.changes.starting import choose_start
from tests.unit.daemon.office import FIRST, SECOND, Office
from tests.unit.daemon.rig import VIP

pytestmark = pytest.mark.usefixtures("short_waits")


def test_apply_whose_time_the_disk_refuses_to_renew_does_not_promise_all_of_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while it is carried out."""
    write = office.dataplane.write

    def refusing(step: Step) -> None:
        (office.state / "pending.next").mkdir(exist_ok=True)
        write(step)

    async def scene() -> None:
        monkeypatch.setattr(office.dataplane, "write", refusing)
        told = await office.apply(confirm_s=600)
        found = re.search(r"it is rolled back in (\d+)s \(and not in 10m, for the disk refused to note that\)", told)
        waits = office.status().daemon.unconfirmed
        assert found is not None, told
        assert waits is not None
        assert waits.left_s - 1 <= int(found[1]) < 600
        assert "pending.json cannot be written" in office.warnings()
        (office.state / "pending.next").rmdir()

    office.act(scene)


def test_rollback_of_what_waits_needs_no_room_on_the_disk(office: Office) -> None:
    async def scene() -> None:
        await office.apply(confirm_s=600)
        for number in (2, 3):
            (office.state / "history" / f"{number:06}.next").mkdir()
        assert (await office.roll_back()).startswith("entry 2 is rolled back (by erna), entry 1 is in force again")
        assert office.vips() == {VIP}
        assert office.outcomes()[-1] == ("apply", "rolled back")
        assert "history cannot be written" in office.warnings()

    office.act(scene)


async def taken_back_on_a_full_disk(office: Office, *, source: str) -> None:
    """An operator's rollback of what waits; afterwards there is room again."""
    await office.apply(source=source, confirm_s=600)
    in_the_way = [office.state / "history" / "000002.next", office.config.with_suffix(".next")]
    for each in in_the_way:
        each.mkdir()
    await office.roll_back()
    for each in in_the_way:
        each.rmdir()


def test_rollback_that_the_disk_refused_to_note_lasts_through_a_restart(office: Office) -> None:
    async def scene() -> None:
        await taken_back_on_a_full_disk(office, source="/srv/b.yaml")
        later = choose_start(office.config, office.state)
        assert (later.text, later.waits, later.expired) == (FIRST, None, None)

    office.act(scene)


def test_rollback_that_the_disk_refused_to_note_undoes_nothing_that_is_applied_later(tmp_path: Path) -> None:
    """Its own file has the text, and keeps it."""
    office = Office(tmp_path, text=FIRST)

    async def scene() -> None:
        office.config.write_text(SECOND)
        await taken_back_on_a_full_disk(office, source=str(office.config))
        assert (await office.apply(source=str(office.config))).startswith("entry 3 is in force")
        assert office.warnings() == ""

    office.act(scene)
    later = Office(tmp_path, text=office.config.read_text())
    assert (later.start.text, later.start.waits, later.start.expired) == (SECOND, None, None)

    async def look() -> None:
        assert later.outcomes() == [("start", "applied"), ("apply", "rolled back"), ("apply", "in force")]

    later.act(look)
