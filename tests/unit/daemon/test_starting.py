"""What a daemon starts from: its file, what waits for a confirmation, or what was in force before."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbctl.daemon.audit import ITSELF, AuditLog
from lbctl.daemon.changes.history import Entry, History, How, Outcome
from lbctl.daemon.changes.pending import Pending, PendingStore, until
from lbctl.daemon.changes.remembering import Memory
from lbctl.daemon.changes.starting import Start, choose_start, other_start
from lbctl.daemon.facts import Facts
from lbctl.errors import ConfigError, NetworkError
from tests.unit.daemon.rig import file

FIRST, SECOND, BAD = file("a"), file("a", "b"), file("a").replace("pool: p", "pol: p")
THIRD = file("b")


class Place:
    """A configuration file and a state directory. The first text was in force, and then the second one was put there."""

    def __init__(self, directory: Path) -> None:
        self.config, self.state = directory / "lbctl.yaml", directory / "state"
        self.state.mkdir()
        self.history = History(self.state)

    def entry(self, text: str, outcome: Outcome) -> Entry:
        entry = self.history.add(text, actor=ITSELF, how=How.APPLY, source=f"/srv/{len(text)}.yaml", what="")
        return self.history.settle(entry, outcome)

    def waiting(self, outcome: Outcome, *, seconds: float, boot_id: str = "") -> Pending:
        """The second text waits on top of the first."""
        self.entry(FIRST, Outcome.DONE)
        self.entry(SECOND, outcome)
        pending = until(seconds, number=2, before=1)
        pending = pending.model_copy(update={"boot_id": boot_id}) if boot_id else pending
        PendingStore(self.state).save(pending)
        return pending

    def start(self, text: str | None) -> Start:
        """With this in the file."""
        if text is not None:
            self.config.write_text(text)
        return choose_start(self.config, self.state)

    def remembered(self, start: Start) -> Memory:
        """As the daemon notes that start."""
        audit = AuditLog(self.state)
        facts = Facts(started=0.0, config=self.config, director=start.declaration.director)
        memory = Memory(self.config, self.state, start=start, facts=facts, audit=audit)
        memory.note_start()
        return memory


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_start_with_a_good_file_is_from_the_file(place: Place) -> None:
    place.entry(FIRST, Outcome.DONE)
    start = place.start(SECOND)
    assert (start.text, start.source, start.config_error) == (SECOND, str(place.config), None)


@pytest.mark.parametrize("text", [BAD, None], ids=["wrong", "missing"])
def test_start_with_a_bad_file_is_from_what_was_in_force_last(place: Place, text: str | None) -> None:
    place.entry(FIRST, Outcome.DONE)
    place.entry(SECOND, Outcome.ROLLED_BACK)
    start = place.start(text)
    assert start.text == FIRST
    assert start.config_error is not None
    assert str(place.config) in start.config_error


def test_start_with_a_bad_file_passes_over_what_is_not_understood_any_more(place: Place) -> None:
    place.entry(FIRST, Outcome.DONE)
    place.entry(BAD, Outcome.DONE)
    assert place.start(BAD).text == FIRST


def test_start_with_a_bad_file_and_no_history_is_refused(place: Place) -> None:
    place.entry(SECOND, Outcome.FAILED)
    with pytest.raises(ConfigError, match="pol"):
        place.start(BAD)


@pytest.mark.parametrize("text", [FIRST, SECOND, BAD], ids=["before", "own", "wrong"])
def test_start_while_a_change_waits_goes_on_with_it(place: Place, text: str) -> None:
    pending = place.waiting(Outcome.UNCONFIRMED, seconds=600)
    start = place.start(text)
    assert (start.text, start.waits, start.expired) == (SECOND, pending, None)


LATE = [(Outcome.UNCONFIRMED, 0.0, ""), (Outcome.UNCONFIRMED, 600.0, "another-boot"), (Outcome.BEGUN, 600.0, "")]


@pytest.mark.parametrize(("outcome", "seconds", "boot_id"), LATE, ids=["too late", "after a reboot", "half written"])
def test_start_when_nobody_can_confirm_any_more_goes_back(
    place: Place, outcome: Outcome, seconds: float, boot_id: str
) -> None:
    pending = place.waiting(outcome, seconds=seconds, boot_id=boot_id)
    start = place.start(SECOND)
    assert (start.text, start.waits, start.expired) == (FIRST, None, pending)


@pytest.mark.parametrize("older", [False, True], ids=["nothing else", "something older"])
def test_start_too_late_when_the_text_before_is_spoilt_is_from_an_older_one_or_says_that_there_is_none(
    place: Place, older: bool
) -> None:
    if older:
        place.entry(THIRD, Outcome.DONE)
    before, refused = place.entry(FIRST, Outcome.DONE), place.entry(SECOND, Outcome.UNCONFIRMED)
    PendingStore(place.state).save(until(-1, number=refused.number, before=before.number))
    (place.state / "history" / f"{before.number:06}.yaml").write_text("spoilt")
    start = place.start(SECOND)
    assert start.expired is not None
    if older:
        assert (start.text, start.config_error) == (THIRD, None)
        return
    assert start.text == SECOND
    assert "nobody confirmed entry 2" in (start.config_error or "")
    memory = place.remembered(start)
    assert (memory.history.entry(2).outcome, PendingStore(place.state).load()) == (Outcome.DONE, None)
    assert memory.history.in_force() == memory.history.entry(2)


def test_start_too_late_with_a_file_written_since_is_from_that_file(place: Place) -> None:
    pending = place.waiting(Outcome.UNCONFIRMED, seconds=0)
    third = file("a", "b", "c")
    start = place.start(third)
    assert (start.text, start.expired) == (third, pending)


def test_start_too_late_with_a_bad_file_is_not_from_what_nobody_confirmed(place: Place) -> None:
    place.waiting(Outcome.UNCONFIRMED, seconds=0)
    assert place.start(BAD).text == FIRST


def test_start_with_a_pending_change_that_cannot_be_read_says_so(place: Place) -> None:
    (place.state / "pending.json").write_text("{")
    start = place.start(FIRST)
    assert start.text == FIRST
    assert "pending.json cannot be read" in str(start.fault)


def test_start_of_what_a_daemon_cannot_start_with_is_what_was_in_force_before(place: Place) -> None:
    place.entry(FIRST, Outcome.DONE)
    refused = place.start(SECOND)
    other = other_start(refused, place.state, why=NetworkError("interface eth9 does not exist"))
    assert other is not None
    assert (other.text, other.config_error) == (FIRST, "interface eth9 does not exist")
    assert other_start(other, place.state, why=NetworkError("nor that")) is None


def test_start_of_a_file_that_was_in_force_once_has_no_other(place: Place) -> None:
    """An interface that it always had may only be late."""
    place.entry(FIRST, Outcome.DONE)
    place.entry(THIRD, Outcome.DONE)
    assert other_start(place.start(FIRST), place.state, why=NetworkError("interface eth0 does not exist")) is None
