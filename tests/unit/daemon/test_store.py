"""The operator's overrides on disk: atomic, strict, and never half-changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbctl.daemon.store import Overrides, OverrideStore, with_drained
from lbctl.errors import SystemRequirementError

DRAINED = Overrides(drained=frozenset({"archives/pacs1", "archives/pacs2"}))


def test_store_without_a_file_knows_of_no_drain(tmp_path: Path) -> None:
    assert OverrideStore(tmp_path / "nowhere").load() == Overrides()


def test_store_gives_back_what_was_saved_last(tmp_path: Path) -> None:
    store = OverrideStore(tmp_path / "made" / "on demand")
    store.save(Overrides(drained=frozenset({"p/a"})))
    store.save(DRAINED)
    assert OverrideStore(tmp_path / "made" / "on demand").load() == DRAINED
    assert [path.name for path in (tmp_path / "made" / "on demand").iterdir()] == ["overrides.json"]


def test_store_interrupted_before_the_replacement_has_the_old_content(tmp_path: Path) -> None:
    store = OverrideStore(tmp_path)
    store.save(DRAINED)
    (tmp_path / "overrides.next").write_text('{"drained": ["p/')
    assert store.load() == DRAINED
    store.save(Overrides())
    assert store.load() == Overrides()


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"drained": ["p/a"', '{"drained": "p/a"}', '{"drained": [1]}', '{"drian": []}', "[]", "\0" * 40],
)
def test_store_with_a_corrupt_file_is_an_error_and_leaves_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "overrides.json"
    path.write_text(content)
    with pytest.raises(SystemRequirementError) as caught:
        OverrideStore(tmp_path).load()
    assert str(path) in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
    assert "move it away" in caught.value.hint
    assert path.read_text() == content


def test_store_that_cannot_write_says_so_and_keeps_the_old_content(tmp_path: Path) -> None:
    """A directory is in the way of the new file: that stops root, too."""
    store = OverrideStore(tmp_path)
    store.save(DRAINED)
    (tmp_path / "overrides.next").mkdir()
    with pytest.raises(SystemRequirementError, match=r"overrides\.json cannot be written: Is a directory") as caught:
        store.save(Overrides())
    assert "nothing was changed" in caught.value.hint
    assert store.load() == DRAINED


def test_store_whose_directory_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemRequirementError, match="cannot be written: Not a directory"):
        OverrideStore(tmp_path / "file" / "state").save(DRAINED)


def test_store_file_can_be_read_by_people(tmp_path: Path) -> None:
    OverrideStore(tmp_path).save(DRAINED)
    assert json.loads((tmp_path / "overrides.json").read_text()) == {"drained": ["archives/pacs1", "archives/pacs2"]}


def test_drained_labels_are_added_and_taken_away() -> None:
    more = with_drained(DRAINED, ["p/a"], drained=True)
    assert more.drained == DRAINED.drained | {"p/a"}
    assert with_drained(more, ["p/a", "p/b"], drained=False) == DRAINED
