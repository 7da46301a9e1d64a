"""The history on the disk: what is kept, what is let go, and what is not believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbctl.daemon.audit import Actor
from lbctl.daemon.changes import history as kept
from lbctl.daemon.changes.history import Entry, History, How, Outcome, digest
from lbctl.errors import SystemRequirementError, UsageError

ERNA = Actor(name="erna", uid=1000, pid=7)


def added(history: History, text: str = "a: 1\n", *, outcome: Outcome = Outcome.DONE) -> Entry:
    entry = history.add(text, actor=ERNA, how=How.APPLY, source="/srv/a.yaml", what="a: 1 -> 2")
    return history.settle(entry, outcome)


def test_history_that_was_never_written_is_empty(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert (history.entries(), history.in_force()) == ((), None)


def test_entry_is_kept_with_its_text_for_root_only(tmp_path: Path) -> None:
    entry = added(History(tmp_path), "# words\r\na: 1\n")
    again = History(tmp_path)
    assert again.entries() == (entry,)
    assert again.text(1) == "# words\r\na: 1\n"
    assert (entry.user, entry.uid, entry.pid, entry.sha256) == ("erna", 1000, 7, digest("# words\r\na: 1\n"))
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "history").iterdir()}
    assert modes == {"000001.json": "0o600", "000001.yaml": "0o600"}


def test_entry_in_force_is_the_latest_that_was_not_found_wrong(tmp_path: Path) -> None:
    history = History(tmp_path)
    for outcome in (Outcome.DONE, Outcome.UNCONFIRMED, Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.BEGUN):
        added(history, outcome=outcome)
    found = history.in_force()
    assert found is not None
    assert (found.number, found.outcome) == (2, Outcome.UNCONFIRMED)


def test_history_keeps_the_latest_hundred_and_what_is_needed(tmp_path: Path) -> None:
    history = History(tmp_path)
    for _ in range(kept.KEPT + 3):
        added(history)
    history.prune(keep=frozenset((2,)))
    assert [entry.number for entry in history.entries()] == [2, *range(4, kept.KEPT + 4)]
    assert {path.stem for path in (tmp_path / "history").glob("*.yaml")} == {
        path.stem for path in (tmp_path / "history").glob("*.json")
    }


def test_number_of_an_entry_that_cannot_be_read_is_not_given_again(tmp_path: Path) -> None:
    history = History(tmp_path)
    added(history)
    added(history)
    (tmp_path / "history" / "000002.json").write_text("{")
    assert [entry.number for entry in history.entries()] == [1]
    assert added(history).number == 3


def test_text_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    history = History(tmp_path)
    added(history)
    (tmp_path / "history" / "000001.yaml").write_text("a: 2\n")
    with pytest.raises(UsageError, match="is not the one that was in force"):
        history.text(1)


def test_entry_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no entry 9") as caught:
        History(tmp_path).text(9)
    assert "lbctl history" in caught.value.hint


def test_entry_that_the_disk_refuses_is_none_at_all(tmp_path: Path) -> None:
    history = History(tmp_path)
    (tmp_path / "history" / "000001.next").mkdir(parents=True)
    with pytest.raises(SystemRequirementError, match="history cannot be written"):
        added(history)
    assert not list((tmp_path / "history").glob("*.*l"))
    assert history.entries() == ()


def test_history_whose_place_is_taken_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("")
    assert History(tmp_path).entries() == ()
    with pytest.raises(SystemRequirementError, match="history cannot be written"):
        added(History(tmp_path))


def test_outcome_that_the_disk_refuses_is_known_until_the_end(tmp_path: Path) -> None:
    history = History(tmp_path)
    entry = history.add("a: 1\n", actor=ERNA, how=How.APPLY, source="/srv/a.yaml", what="")
    (tmp_path / "history" / "000001.next").mkdir()
    with pytest.raises(SystemRequirementError):
        history.settle(entry, Outcome.DONE)
    assert [entry.outcome for entry in history.entries()] == [Outcome.DONE]
    assert [entry.outcome for entry in History(tmp_path).entries()] == [Outcome.BEGUN]


def test_outcome_that_the_disk_refused_is_written_with_the_next_one(tmp_path: Path) -> None:
    """Else a change that was done would be told as failed after the next start."""
    history = History(tmp_path)
    first, second = (history.add(f"a: {n}\n", actor=ERNA, how=How.APPLY, source="/srv/a.yaml", what="") for n in (1, 2))
    (tmp_path / "history" / "000001.next").mkdir()
    with pytest.raises(SystemRequirementError):
        history.settle(first, Outcome.DONE)
    (tmp_path / "history" / "000001.next").rmdir()
    history.settle(second, Outcome.FAILED)
    assert [entry.outcome for entry in History(tmp_path).entries()] == [Outcome.DONE, Outcome.FAILED]
