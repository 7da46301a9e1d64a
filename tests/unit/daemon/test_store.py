"""What outlasts a restart, on disk: atomic, strict, and never half-changed."""

from __future__ import annotations

import json
import os
import stat
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from lbctl.core.standing import Override
from lbctl.daemon.state.durable import replace_durably
from lbctl.daemon.state.overrides import Overrides, OverrideStore, with_override, with_slow_start, with_weights
from lbctl.daemon.state.store import Actives, ActiveStore, Assigned, AssignmentStore, kept_seed
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


def test_seed_is_made_once_and_is_for_root_only(tmp_path: Path) -> None:
    seed = kept_seed(tmp_path)
    assert 0 < seed < 1 << 63
    assert kept_seed(tmp_path) == seed
    assert (tmp_path / "seed.json").stat().st_mode & 0o777 == 0o600
    assert kept_seed(tmp_path / "another") != seed


def test_seed_that_cannot_be_kept_is_told_and_used_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert kept_seed(tmp_path / "file" / "state") > 0
    assert "cannot be" in caplog.text


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


# The files ------------------------------------------------------------------------------------------------------------


def test_overrides_are_a_line_each_in_the_order_of_their_names(tmp_path: Path) -> None:
    store = OverrideStore(tmp_path)
    store.save(Overrides(drained=frozenset({"p/c", "p/a", "p/b"}), halted=frozenset({"q/a"})))
    text = (tmp_path / "overrides.json").read_text()
    assert json.loads(text) == {"drained": ["p/a", "p/b", "p/c"], "halted": ["q/a"]}
    assert [line.strip() for line in text.splitlines()][2:5] == ['"p/a",', '"p/b",', '"p/c"']


def test_overrides_of_a_file_that_knows_of_drains_only_are_those(tmp_path: Path) -> None:
    (tmp_path / "overrides.json").write_text('{"drained": ["archives/pacs1", "archives/pacs2"]}')
    assert OverrideStore(tmp_path).load() == DRAINED


def test_overrides_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "overrides.json").write_text('{"drained": ["p/a", "p/b"], "halted": ["p/a"]}')
    with pytest.raises(SystemRequirementError, match="p/a cannot be drained and halted at once"):
        OverrideStore(tmp_path).load()


def test_actives_are_given_back_and_are_none_without_a_file(tmp_path: Path) -> None:
    store = ActiveStore(tmp_path)
    assert store.load() == Actives()
    store.save(Actives(active={"orders": "b", "feeds": "a"}))
    assert ActiveStore(tmp_path).load().active == {"orders": "b", "feeds": "a"}
    text = (tmp_path / "failover.json").read_text()
    assert text == '{\n "active": {\n  "feeds": "a",\n  "orders": "b"\n }\n}\n'


def test_assignments_are_given_back_and_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    saved = Assigned(
        pools={
            "b": {},
            "a": {IPv4Address("192.0.2.100"): "pacs1", IPv4Address("192.0.2.9"): "pacs2", IPv4Address("10.0.0.1"): "x"},
        }
    )
    assert AssignmentStore(tmp_path).load() == Assigned()
    AssignmentStore(tmp_path).save(saved)
    assert AssignmentStore(tmp_path).load() == saved
    read = json.loads((tmp_path / "assignments.json").read_text())["pools"]
    assert [(pool, list(sources)) for pool, sources in read.items()] == [
        ("a", ["10.0.0.1", "192.0.2.9", "192.0.2.100"]),
        ("b", []),
    ]


@pytest.mark.parametrize(
    ("store", "name", "content"),
    [
        (ActiveStore, "failover.json", '{"active": {"feeds": 1}}'),
        (ActiveStore, "failover.json", '{"drained": []}'),
        (AssignmentStore, "assignments.json", '{"pools": {"archives": {"192.0.2.300": "pacs1"}}}'),
        (AssignmentStore, "assignments.json", '{"pools": {"archives": {"192.0.2.30": null}}}'),
        (AssignmentStore, "assignments.json", '{"pools": {"archives": {"192.0.2.30": "pacs1"'),
    ],
)
def test_file_that_is_not_as_it_should_be_is_an_error_with_a_remedy(
    tmp_path: Path, store: type[ActiveStore | AssignmentStore], name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SystemRequirementError, match=f"{name} cannot be read: ") as caught:
        store(tmp_path).load()
    assert len(caught.value.message.splitlines()) == 1
    assert caught.value.hint.startswith("repair it, or move it away: then ")


def test_replacement_is_on_the_disk_when_save_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it takes the old one's place, the directory after that."""
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, (tmp_path / "failover.json").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    ActiveStore(tmp_path).save(Actives())
    assert synced == [("failover.next", False), (tmp_path.name, True)]


# Overrides ------------------------------------------------------------------------------------------------------------


def test_override_takes_the_place_of_another_and_leaves_the_others_alone() -> None:
    halted = with_override(DRAINED, "archives/pacs1", to=Override.HALTED)
    assert halted == Overrides(drained=frozenset({"archives/pacs2"}), halted=frozenset({"archives/pacs1"}))
    assert with_override(halted, "archives/pacs1", to=Override.DRAINED) == DRAINED
    assert with_override(DRAINED, "archives/pacs1", to=Override.DRAINED) == DRAINED
    assert with_override(halted, "archives/pacs1", to=None) == Overrides(drained=frozenset({"archives/pacs2"}))
    assert with_override(DRAINED, "p/a", to=None) == DRAINED


def test_override_of_a_backend_is_told_by_its_label() -> None:
    overrides = Overrides(drained=frozenset({"p/a"}), halted=frozenset({"p/b"}))
    assert [overrides.of(label) for label in ("p/a", "p/b", "p/c")] == [Override.DRAINED, Override.HALTED, None]


def test_assignments_of_both_families_are_kept_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    sources = [ip_address(text) for text in ("2001:db8::10", "192.0.2.201", "2001:db8::9", "192.0.2.33")]
    store = AssignmentStore(tmp_path)
    store.save(Assigned(pools={"p": dict.fromkeys(sources, "a")}))
    kept = json.loads((tmp_path / "assignments.json").read_text())["pools"]["p"]
    assert list(kept) == ["192.0.2.33", "192.0.2.201", "2001:db8::9", "2001:db8::10"]
    assert store.load().pools["p"].keys() == set(sources)


def test_store_of_a_file_without_an_end_is_an_error_and_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "overrides.json").symlink_to("/dev/zero")
    with pytest.raises(SystemRequirementError, match=r"overrides\.json cannot be read: it has more than 64 MiB"):
        OverrideStore(tmp_path).load()


def test_store_says_what_is_wrong_with_a_file_in_characters_that_a_terminal_may_have(tmp_path: Path) -> None:
    (tmp_path / "overrides.json").write_text('{"\\u001b[2J": 1}')
    with pytest.raises(SystemRequirementError, match=r"cannot be read: \\x1b\[2J: Extra inputs"):
        OverrideStore(tmp_path).load()


@pytest.mark.parametrize("seed", [-1, 1 << 63, 10**400])
def test_seed_that_is_none_is_told_and_another_one_used(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "seed.json").write_text(f'{{"seed": {seed}}}')
    assert 0 < kept_seed(tmp_path) < 1 << 63
    assert "seed.json cannot be read" in caplog.text


def test_weights_and_slow_starts_are_kept_beside_the_drains(tmp_path: Path) -> None:
    said = with_slow_start(with_weights(DRAINED, {"p/a": 100, "p/b": 80}, weight=20), "p/c", span_s=60.0)
    OverrideStore(tmp_path).save(said)
    assert OverrideStore(tmp_path).load() == said
    assert (said.weight_of("p/a"), said.weight_of("p/c")) == (20, None)
    assert said.ramps(1000.0) == {"p/c": 10}
    assert with_weights(said, {"p/a": 100, "p/b": 80}, weight=None).weights == {}


def test_overrides_without_weights_are_a_file_that_former_versions_can_read(tmp_path: Path) -> None:
    OverrideStore(tmp_path).save(
        with_weights(with_weights(DRAINED, {"p/a": 100}, weight=20), {"p/a": 100}, weight=None)
    )
    assert json.loads((tmp_path / "overrides.json").read_text()).keys() == {"drained", "halted"}


@pytest.mark.parametrize(
    "content",
    [
        '{"weights": {"p/a": 7}}',
        '{"weights": {"p/a": {"weight": 257, "declared": 1}}}',
        '{"weights": {"p/a": {"weight": -1, "declared": 1}}}',
        '{"slow_starts": {"p/a": {"span_s": 0}}}',
        '{"slow_starts": {"p/a": {"span_s": 10, "began_s": NaN}}}',
    ],
)
def test_overrides_with_a_weight_or_a_start_that_cannot_be_are_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "overrides.json").write_text(content)
    with pytest.raises(SystemRequirementError, match=r"overrides\.json cannot be read"):
        OverrideStore(tmp_path).load()


def test_replacement_is_not_written_through_what_somebody_put_in_its_place(tmp_path: Path) -> None:
    """Where others may write, as perhaps beside the configuration file, a link would lead to any file of root's."""
    precious, path = tmp_path / "shadow", tmp_path / "lbctl.yaml"
    precious.write_text("root")
    (tmp_path / "lbctl.next").symlink_to(precious)
    replace_durably(path, "text")
    assert (precious.read_text(), path.read_text(), path.is_symlink()) == ("root", "text", False)


def test_replacement_is_for_root_only_whatever_a_cut_off_write_left(tmp_path: Path) -> None:
    left = tmp_path / "lbctl.next"
    left.write_text("half")
    left.chmod(0o666)
    replace_durably(tmp_path / "lbctl.yaml", "text")
    assert stat.S_IMODE((tmp_path / "lbctl.yaml").stat().st_mode) == 0o600
