"""The other commands: their help, their talk with the daemon, and what they say when there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lbctl import __version__
from lbctl.daemon.models import Flows
from tests.unit.cli.canned import Canned
from tests.unit.cli.running import Ended, run, spawn
from tests.unit.daemon.served import daemon_on_fakes, served

COMMANDS = (
    "run",
    "check",
    "plan",
    "apply",
    "confirm",
    "history",
    "rollback",
    "status",
    "drain",
    "halt",
    "enable",
    "weight",
    "maintenance",
    "activate",
    "assign",
    "flows",
    "events",
    "detach",
    "lab",
)
VERBS = ("drain", "halt", "enable", "activate")
ASSIGNING = (("list",), ("list", "p"), ("set", "p", "192.0.2.201", "a"), ("remove", "p", "192.0.2.201"))
TALKING = (
    *(("status",), ("status", "--json"), ("status", "--traffic"), ("flows",), ("events",)),
    *(("history",), ("history", "show", "1"), ("confirm",), ("rollback", "1", "--yes")),
    *((verb, "p/a") for verb in VERBS),
    *(("weight", "p", "7"), ("drain", "192.0.2.11", "--wait"), ("maintenance", "p", "--yes", "--hold", "0s")),
    *(("assign", *arguments) for arguments in ASSIGNING),
)


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with served(Canned(), tmp_path_factory.mktemp("canned") / "sock") as path:
        yield path


# Help -----------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_in_the_order_of_their_use() -> None:
    ended = run("--help")
    section = ended.out[ended.out.index("Commands:") :].splitlines()[1:]
    assert ended.code == 0
    names = [line.split()[0] for line in section if line.startswith("  ") and line[2] != " "]
    assert names[: len(COMMANDS)] == list(COMMANDS)
    words = " ".join(ended.out.split())
    assert words.endswith("Exit codes: 0 done, 1 it failed, 2 the configuration or the command line is wrong.")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_each_command_says_what_it_does(command: str, option: str) -> None:
    ended = run(command, option)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Usage: lbctl {command} ")
    assert len(ended.out.splitlines()) >= 5
    assert max(map(len, ended.out.splitlines())) <= 80


def test_help_in_a_process_of_its_own_names_the_version() -> None:
    ended = spawn("--version", cwd=Path(__file__).parents[3])
    assert ended == Ended(code=0, out=f"lbctl, version {__version__}\n", err="")


@pytest.mark.parametrize("command", ["list", "set", "remove"])
def test_help_of_each_way_to_assign_says_what_it_does(command: str) -> None:
    ended = run("assign", command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Usage: lbctl assign {command} ")
    assert command in run("assign", "--help").out


def test_help_of_halt_says_plainly_that_it_cuts_connections() -> None:
    words = " ".join(run("halt", "--help").out.split())
    assert "every live one is cut (reset) at once" in words
    assert "Nobody is asked to confirm" in words


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("enabel", "p/a"), "No such command 'enabel'. Did you mean 'enable'?"),
        (("assgin", "list"), "No such command 'assgin'. Did you mean 'assign'?"),
        (("nonsense",), "No such command 'nonsense'."),
    ],
)
def test_command_that_does_not_exist_is_told_with_the_nearest(arguments: tuple[str, ...], hint: str) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == f"Error: {hint}"


@pytest.mark.parametrize(
    "arguments",
    [
        *(("nonsense",), ("status", "--yes"), ("flows", "--limit", "0")),
        *(("drain",), ("halt",), ("activate", "p/a", "p/b"), ("assign", "set", "p", "192.0.2.201"), ("assign", "put")),
    ],
)
def test_command_line_that_is_wrong_ends_with_code_two(arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Error: " in ended.err


# No daemon ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", TALKING, ids=" ".join)
def test_command_without_a_daemon_says_how_to_start_one(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ended = run(*arguments, "--socket", tmp_path / "sock")
    assert ended == Ended(
        code=1,
        out="",
        err=f"error: no lbctl daemon answers on {tmp_path / 'sock'}\n"
        "  hint: start it: systemctl start lbctl; or name another socket with --socket. "
        "Forwarding does not depend on it.\n",
    )


def test_command_finds_the_socket_in_the_environment(tmp_path: Path) -> None:
    ended = run("status", environment={"LBCTL_SOCKET": str(tmp_path / "elsewhere")})
    assert f"no lbctl daemon answers on {tmp_path / 'elsewhere'}" in ended.err


def test_command_with_the_socket_of_a_dead_daemon_says_the_same(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "sock"))
    assert "no lbctl daemon answers on" in run("status", "--socket", tmp_path / "sock").err


def test_command_with_a_daemon_that_talks_nonsense_points_to_its_log(tmp_path: Path) -> None:
    with ExitStack() as stack:
        strange = stack.enter_context(socket.socket(socket.AF_UNIX))
        strange.bind(str(tmp_path / "sock"))
        strange.listen()
        pid = os.fork()
        if not pid:
            connection, _ = strange.accept()
            connection.recv(4096)
            connection.sendall(b"220 smtp.example.org ready\r\n")
            os._exit(0)
        ended = run("status", "--socket", tmp_path / "sock")
        os.waitpid(pid, 0)
    assert ended.code == 1
    assert f"error: the daemon on {tmp_path / 'sock'} does not answer: " in ended.err
    assert "hint: see its log: journalctl -u lbctl" in ended.err


# Backends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", VERBS)
@pytest.mark.parametrize("label", ["/", "p/", "/a", "p/a/b", "p//a"])
def test_backend_that_is_no_name_is_refused_before_the_daemon_is_asked(
    command: str, label: str, tmp_path: Path
) -> None:
    ended = run(command, label, "--socket", tmp_path / "no daemon here")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {label!r} does not name a backend\n  hint: write POOL/BACKEND")


def test_backend_to_activate_is_one_and_not_a_pool(tmp_path: Path) -> None:
    assert "'pacs' does not name a backend" in run("activate", "pacs", "--socket", tmp_path / "no daemon here").err


def test_backend_that_does_not_exist_is_told_with_the_nearest(tmp_path: Path) -> None:
    with served(daemon_on_fakes(tmp_path).operator, tmp_path / "sock") as path:
        ended = run("drain", "p/aa", "--socket", path)
        odd = run("drain", "p/b?x=1 #%2f..", "--socket", path)
        bare = run("drain", "b", "--socket", path)
    assert ended == Ended(code=2, out="", err="error: there is no backend p/aa\n  hint: did you mean p/a?\n")
    assert odd == Ended(
        code=2, out="", err="error: there is no backend p/b?x=1 #%2f..\n  hint: the backends are: p/a, p/b\n"
    )
    assert bare == Ended(code=2, out="", err="error: there is no pool b\n  hint: did you mean p/b?\n")


def test_backend_drained_and_enabled_is_told_in_words(tmp_path: Path) -> None:
    with served(daemon_on_fakes(tmp_path).operator, tmp_path / "sock") as path:
        said = [run(word, "p/a", "--socket", path) for word in ("drain", "drain", "enable", "enable")]
    assert [ended.out for ended in said] == [
        "p/a drained: no new connections, live ones go on; warning: nobody in its pool takes new connections now\n",
        "p/a was drained already\n",
        "p/a enabled\n",
        "p/a was enabled already\n",
    ]
    assert {(ended.code, ended.err) for ended in said} == {(0, "")}


@pytest.mark.parametrize("command", VERBS)
def test_backend_is_commanded_by_the_verb_that_was_typed(command: str, canned: Path) -> None:
    assert run(command, "p/a", "--socket", canned) == Ended(code=0, out=f"{command} p/a\n", err="")


# Flows and detach -----------------------------------------------------------------------------------------------------


def test_flows_are_a_table_that_says_when_it_is_not_all(canned: Path) -> None:
    ended = run("flows", "--socket", canned, "--limit", "2")
    assert [line.rstrip() for line in ended.out.splitlines()] == [
        "PROTO  CLIENT             VIP              BACKEND                    STATE      IDLE    SENT  RETURNED",
        "tcp    192.0.2.201:40000  192.0.2.100:104  archives/pacs1             open      0.4 s  1.2 kB    5.3 MB",
        "tcp    192.0.2.202:40000  192.0.2.100:104  archives/pacs10 (removed)  closing  67 min  4.0 GB       0 B",
        "not all are shown; --limit may be up to 10000",
    ]


def test_flows_of_one_backend_are_its_own_even_when_it_was_removed(canned: Path) -> None:
    told = run("flows", "--socket", canned, "--backend", "archives/pacs10", "--json").out
    assert [str(flow.client) for flow in Flows.model_validate_json(told).flows] == ["192.0.2.202"]
    assert run("flows", "--socket", canned, "--backend", "pacs10").code == 2


def test_detach_where_nobody_can_be_asked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ended = run("detach", "--pins", tmp_path)
    assert ended == Ended(
        code=2,
        out="",
        err="error: nobody can be asked here, for the input is no terminal\n  hint: say --yes: traffic stops then\n",
    )


@pytest.mark.parametrize("arguments", [("up",), ("down",), ("shell", "client1")])
def test_lab_by_somebody_who_is_not_root_is_refused_before_anything(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    ended = run("lab", *arguments)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: lbctl lab needs root, for it makes network namespaces\n  hint: run it as root\n"


def test_detach_of_pins_that_do_not_exist_says_so_without_asking(tmp_path: Path) -> None:
    ended = run("detach", "--pins", tmp_path / "pins")
    expected = (
        Ended(code=0, out=f"nothing was attached: {tmp_path / 'pins'} does not exist\n", err="")
        if os.geteuid() == 0
        else Ended(code=1, out="", err="error: lbctl detach needs root\n  hint: run it as root\n")
    )
    assert ended == expected
