"""``lbctl check`` over the whole table of mistakes: exit code 2, place and hint, and nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.cli.running import Ended, run, spawn
from tests.unit.config.rows import GOOD, Wrong
from tests.unit.config.test_mistakes import MISTAKES


def contents(directory: Path) -> Mapping[str, tuple[bytes, int]]:
    """Every file below a directory, with its content and its time of change."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def assert_refused(ended: Ended, row: Wrong, path: Path) -> None:
    """As a person sees it: the place first, as compilers have it, then what is wrong, then what to do."""
    first, second = ended.err.splitlines()
    assert (ended.code, ended.out) == (2, "")
    assert first.startswith(f"{path}:{row.line}:{row.column}: " if row.line else f"{path}: ")
    assert [fragment for fragment in row.says if fragment not in first] == []
    assert second.startswith("  hint: ")
    assert row.hint in second


@pytest.mark.parametrize("row", MISTAKES, ids=lambda row: row.id)
def test_check_of_a_file_with_a_mistake_names_line_and_hint_and_changes_nothing(row: Wrong, tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text(row.yaml, encoding="utf-8")
    before = contents(tmp_path)
    assert_refused(run("check", path), row, path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("row", MISTAKES[:: len(MISTAKES) // 4], ids=lambda row: row.id)
def test_check_in_a_process_of_its_own_ends_with_code_two(row: Wrong, tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text(row.yaml, encoding="utf-8")
    before = contents(tmp_path)
    assert_refused(spawn("check", path, cwd=Path(__file__).parents[3]), row, path)
    assert contents(tmp_path) == before


def test_check_of_a_good_file_says_what_it_means(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text(GOOD)
    ended = run("check", path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "interfaces\n"
        "  eth0: 192.0.2.10/24, XDP mode auto\n"
        "services\n"
        "  pacs: 192.0.2.100 tcp 104, 11112 on eth0 -> archives, idle limit 1h\n"
        "pools\n"
        "  archives: archive, shared storage, balance, 2 IPv4 backends, reset on down: transport\n"
        "    new connection, when no backend takes one: reset\n"
        "    pacs1: 192.0.2.11 on eth0, weight 100 (50%); dicom-echo port 104, LBCTL to ANY-SCP, every 5s, timeout 3s, "
        "fall 2, rise 3\n"
        "    pacs2: 192.0.2.12 on eth0, weight 100 (50%); dicom-echo port 104, LBCTL to ANY-SCP, every 5s, timeout 3s, "
        "fall 2, rise 3\n"
        "director\n"
        "  flow tables: 131,072 TCP and 65,536 UDP flows, 22 MB of kernel memory\n"
        "  ports of a VIP that no service has: refused\n"
        f"{path}: good\n"
    )


def test_check_of_a_file_with_private_storage_is_good_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text(GOOD.replace("storage: shared", "storage: private"))
    ended = run("check", path)
    assert ended.code == 0
    assert ended.err == (
        "warning: pool archives: storage is private: "
        "clients assigned to one archive do not see the studies of the others\n"
    )
    assert ended.out.endswith(f"{path}: good\n")


def test_check_of_several_mistakes_lists_each_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text(GOOD.replace("preset: dicom", "prset: dicom").replace("192.0.2.12", "198.51.100.1"))
    ended = run("check", path)
    places = [line.partition(": ")[0] for line in ended.err.splitlines() if not line.startswith("  hint: ")]
    assert ended.code == 2
    assert places == [f"{path}:7:5", f"{path}:15:24"]


def test_check_of_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    ended = run("check", tmp_path / "nowhere.yaml")
    assert ended == Ended(
        code=2,
        out="",
        err=f"{tmp_path / 'nowhere.yaml'}: there is no such file\n  hint: check the path; deploy/examples has examples\n",
    )
