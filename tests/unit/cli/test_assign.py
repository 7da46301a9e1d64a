"""``lbctl assign``: what it lists, sets, removes and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.daemon.models import Assignments
from tests.unit.cli import samples
from tests.unit.cli.canned import Canned
from tests.unit.cli.running import Ended, run
from tests.unit.daemon.served import served


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with served(Canned(), tmp_path_factory.mktemp("canned") / "sock") as path:
        yield path


def test_assignments_are_a_table_in_the_order_of_pools_and_numbers(canned: Path) -> None:
    ended = run("assign", "list", "--socket", canned)
    assert [line.rstrip() for line in ended.out.splitlines()] == [
        "POOL      SOURCE       BACKEND",
        "archives  192.0.2.33   pacs10",
        "archives  192.0.2.201  pacs2",
        "images    192.0.2.9    b",
    ]


def test_assignments_of_one_pool_are_its_own(canned: Path) -> None:
    ended = run("assign", "list", "images", "--json", "--socket", canned)
    assert Assignments.model_validate_json(ended.out) == samples.assignments("images")


def test_assignments_that_are_none_are_told_in_words(canned: Path) -> None:
    assert run("assign", "list", "empty", "--socket", canned).out == "no source is assigned in pool empty\n"


@pytest.mark.parametrize("pool", ["zzz", "?pool=archives&x=%2f #"])
def test_assignments_of_a_pool_that_does_not_exist_are_an_error(canned: Path, pool: str) -> None:
    assert run("assign", "list", pool, "--socket", canned) == Ended(
        code=2,
        out="",
        err=f"error: there is no pool {pool}\n  hint: those with private storage are: archives, empty, images\n",
    )


@pytest.mark.parametrize("backend", ["pacs2", "archives/pacs2"])
def test_assignment_is_set_by_either_name_of_the_backend(canned: Path, backend: str) -> None:
    ended = run("assign", "set", "archives", "192.0.2.201", backend, "--socket", canned)
    assert ended == Ended(code=0, out="assign archives 192.0.2.201 pacs2\n", err="")


@pytest.mark.parametrize("source", ["2001:db8::c9", "2001:DB8:0:0::C9"])
def test_assignment_of_an_ipv6_source_is_set_and_removed(canned: Path, source: str) -> None:
    given = run("assign", "set", "archives", source, "pacs2", "--socket", canned)
    taken = run("assign", "remove", "archives", source, "--socket", canned)
    assert (given.out, taken.out) == ("assign archives 2001:db8::c9 pacs2\n", "unassign archives 2001:db8::c9\n")


def test_assignment_is_removed(canned: Path) -> None:
    ended = run("assign", "remove", "archives", "192.0.2.201", "--socket", canned)
    assert ended == Ended(code=0, out="unassign archives 192.0.2.201\n", err="")


@pytest.mark.parametrize("arguments", [("set", "p", "{}", "a"), ("remove", "p", "{}")], ids=lambda words: words[0])
@pytest.mark.parametrize("source", ["192.0.2.0/24", "modality7", "2001:db8::/64", "192.0.2", "", "3221225985"])
def test_assignment_of_what_is_no_address_is_refused_before_the_daemon_is_asked(
    arguments: tuple[str, ...], source: str, tmp_path: Path
) -> None:
    words = [word.format(source) for word in arguments]
    assert run("assign", *words, "--socket", tmp_path / "no daemon here") == Ended(
        code=2,
        out="",
        err=f"error: SOURCE {source!r} is not an IP address\n"
        "  hint: write one client's address, such as 192.0.2.201 or 2001:db8::201; clients are assigned one by one\n",
    )


@pytest.mark.parametrize(
    ("pool", "backend", "said"),
    [
        ("", "a", "'' does not name a pool"),
        ("p/a", "a", "'p/a' does not name a pool"),
        ("p", "", "'' does not name a backend"),
        ("p", "p/", "'p/' does not name a backend"),
        ("p", "a" * 64, f"'{'a' * 64}' does not name a backend"),
    ],
)
def test_assignment_to_what_is_no_name_is_refused_before_the_daemon_is_asked(
    pool: str, backend: str, said: str, tmp_path: Path
) -> None:
    ended = run("assign", "set", pool, "192.0.2.201", backend, "--socket", tmp_path / "no daemon here")
    assert (ended.code, ended.err.splitlines()[0]) == (2, f"error: {said}")
    assert "`lbctl status` lists" in ended.err
