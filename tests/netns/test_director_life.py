"""The daemon comes and goes, the data plane stays: crash, restart, a second daemon, the end, and who may control it."""

from __future__ import annotations

import contextlib
import grp
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from lbctl.errors import LabError
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    Line,
    backend,
    configuration,
    connects,
    line_to,
    spread,
    status,
    wait_state,
)
from tests.netns.pinned import seed_of

NOBODY = 65534


@pytest.fixture
def line(lab: Lab, daemon: Daemon) -> Iterator[Line]:
    """A live connection to the backend that is drained."""
    with line_to(lab.clients[0], lab.backends[0]) as opened:
        yield opened


def test_director_hashes_by_the_seed_that_it_keeps(lab: Lab, daemon: Daemon) -> None:
    """So that after a reboot what is picked up in mid-stream finds the slot that it had."""
    kept = json.loads((daemon.state / "seed.json").read_text())["seed"]
    assert kept and seed_of(lab.pins) == kept


def test_drain_survives_a_crash_of_the_daemon_and_its_restart(lab: Lab, daemon: Daemon, line: Line) -> None:
    client = lab.clients[0]
    said = daemon.ctl("drain", "servers/backend1").stdout
    assert said == "servers/backend1 drained: no new connections, live ones go on\n"
    assert spread(client).keys() == {"backend2"}
    daemon.kill()
    assert line.is_alive
    assert spread(client).keys() == {"backend2"}
    before = daemon.log.read_text()
    daemon.start()
    row = backend(daemon, "backend1")
    assert (row.state, row.reason, row.share) == ("draining", "drained by an operator", 0)
    assert spread(client).keys() == {"backend2"}
    assert "slots changed hands" not in daemon.log.read_text().removeprefix(before)
    assert daemon.ctl("drain", "servers/backend1").stdout == "servers/backend1 was drained already\n"
    assert daemon.ctl("enable", "servers/backend1").stdout.startswith("servers/backend1 enabled")
    wait_state(daemon, "backend1", "up")
    assert spread(client).keys() == {"backend1", "backend2"}
    assert line.is_alive


def test_drain_is_logged_with_the_users_name(daemon: Daemon) -> None:
    daemon.ctl("drain", "servers/backend2")
    daemon.ctl("enable", "servers/backend2")
    assert "INFO servers/backend2 drained: no new connections, live ones go on, by root (pid " in daemon.log.read_text()


def test_drain_of_an_unknown_backend_suggests_the_nearest(daemon: Daemon) -> None:
    done = daemon.ctl("drain", "servers/backend11", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "error: there is no backend servers/backend11\n  hint: did you mean servers/backend1 or servers/backend2?\n"
    )


def run_another(daemon: Daemon, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """A second ``lbctl run`` beside a running one."""
    argv: list[str | Path] = [sys.executable, "-m", "lbctl", "run", "--config", daemon.config]
    argv += ["--state", daemon.directory / "other-state", *options]
    return daemon.node.run(argv, check=False)


def test_daemon_second_on_the_same_pins_is_refused_naming_the_first(daemon: Daemon, line: Line) -> None:
    done = run_another(daemon, "--pins", daemon.pins, "--socket", daemon.directory / "other.sock")
    assert done.returncode == 1
    assert f"another lbctl daemon (process {daemon.pid}) writes to the pins in {daemon.pins}" in done.stderr
    assert "hint: stop it first" in done.stderr
    assert status(daemon).daemon.pid == daemon.pid
    assert line.is_alive


def test_daemon_second_on_the_same_socket_is_refused_and_leaves_it(lab: Lab, daemon: Daemon) -> None:
    pins = lab.plan.bpffs / "other"
    done = run_another(daemon, "--pins", pins, "--socket", daemon.socket)
    assert done.returncode == 1
    assert f"another lbctl daemon answers on {daemon.socket}" in done.stderr
    assert status(daemon).daemon.pid == daemon.pid


def test_daemon_second_in_the_same_network_namespace_is_refused_and_disturbs_nothing(
    lab: Lab, daemon: Daemon, line: Line
) -> None:
    """The first one's rules and routes would be replaced by its own, and servers seem to be dead."""
    before, pins = traces(daemon), lab.plan.bpffs / "other"
    done = run_another(daemon, "--pins", pins, "--socket", daemon.directory / "other.sock")
    assert done.returncode == 1
    assert f"another lbctl daemon (process {daemon.pid}) is at work in this network namespace" in done.stderr
    done = daemon.ctl("detach", "--yes", "--pins", str(pins), check=False)
    assert done.returncode == 1
    assert f"another lbctl daemon (process {daemon.pid}) is at work" in done.stderr
    assert traces(daemon) == before
    assert "somebody deleted" not in daemon.log.read_text()
    assert line.is_alive


def test_daemon_with_other_pins_on_an_interface_that_is_taken_is_refused_and_disturbs_nothing(
    lab: Lab, daemon: Daemon, line: Line
) -> None:
    """The first one was killed; its program is at work, and its rules and routes are there for its next start."""
    before, pins = traces(daemon), lab.plan.bpffs / "other"
    daemon.kill()
    done = run_another(daemon, "--pins", pins, "--socket", daemon.directory / "other.sock")
    assert done.returncode == 1
    assert "error: eth0 already has an XDP program that is not this lbctl's" in done.stderr
    assert traces(daemon) == before
    daemon.start()
    assert "somebody deleted" not in daemon.log.read_text()
    assert line.is_alive


def test_daemon_starts_whatever_name_another_user_has_taken(daemon: Daemon) -> None:
    """Anybody may take a name in the network namespace; only root's processes are daemons."""
    taking = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('\\0lbctl'); s.listen(); print(); sys.stdin.read()"
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    daemon.stop()
    holder = daemon.node.popen(
        [*as_nobody, "/usr/bin/python3", "-c", taking], stdin=subprocess.PIPE, output=subprocess.PIPE
    )
    try:
        assert holder.stdout and holder.stdout.readline() == "\n"
        daemon.start()
    finally:
        daemon.node.end(holder)
    assert status(daemon).daemon.pid == daemon.pid


def test_daemon_with_pins_that_are_not_on_a_bpffs_is_refused_with_the_command(daemon: Daemon, tmp_path: Path) -> None:
    done = run_another(daemon, "--pins", tmp_path / "pins", "--socket", daemon.directory / "other.sock")
    assert done.returncode == 1
    assert "is not on a BPF file system" in done.stderr
    assert "mount -t bpf" in done.stderr
    assert not (tmp_path / "pins").exists()


def test_control_socket_is_open_to_root_and_the_group_only(daemon: Daemon) -> None:
    found = daemon.socket.stat()
    expected = 0
    with contextlib.suppress(KeyError):
        expected = grp.getgrnam("lbctl").gr_gid
    assert (oct(found.st_mode & 0o777), found.st_uid, found.st_gid) == (oct(0o660), 0, expected)


def test_control_socket_gives_an_unprivileged_user_nothing(daemon: Daemon) -> None:
    """By the distribution's Python, which that user may run wherever the tests' own environment lies."""
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", connect, daemon.socket],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in done.stderr
    as_root = subprocess.run(["/usr/bin/python3", "-I", "-c", connect, daemon.socket], check=False)
    assert as_root.returncode == 0


def traces(daemon: Daemon) -> dict[str, list[str]]:
    """What of lbctl's is in the director's kernel."""

    def lines(command: str, *, holding: str) -> list[str]:
        return [line for line in daemon.node.run(command.split()).stdout.splitlines() if holding in line]

    return {
        "pins": sorted(path.name for path in daemon.pins.iterdir()) if daemon.pins.exists() else [],
        "programs": lines("ip link show dev eth0", holding="xdp"),
        "rules": lines("ip -N rule show", holding="fwmark"),
        "routes": lines("ip -N route show table all", holding="proto 108"),
        "neighbours": lines("ip neighbour show", holding="managed"),
    }


def test_detach_refuses_while_the_daemon_runs_and_leaves_nothing_afterwards(lab: Lab, daemon: Daemon) -> None:
    command = ("detach", "--yes", "--pins", str(daemon.pins))
    refused = daemon.ctl(*command, check=False)
    assert refused.returncode == 1
    assert f"(process {daemon.pid})" in refused.stderr
    assert connects(lab.clients[0], timeout_s=5)
    assert all(traces(daemon).values()), traces(daemon)
    assert daemon.stop() == 0
    assert all(traces(daemon).values())
    assert connects(lab.clients[0], timeout_s=5)
    assert daemon.ctl(*command).stdout == f"detached from 1 interface; nothing of lbctl is left in {daemon.pins}\n"
    assert not any(traces(daemon).values()), traces(daemon)
    assert not daemon.pins.exists()
    wait_until(lambda: not connects(lab.clients[0]), deadline_s=5, what="forwarding to end")
    assert daemon.ctl(*command).stdout == f"nothing was attached: {daemon.pins} does not exist\n"
    done = daemon.ctl("status", check=False)
    assert done.returncode == 1
    assert f"no lbctl daemon answers on {daemon.socket}" in done.stderr


def test_daemon_whose_interface_is_missing_ends_with_its_name(lab: Lab) -> None:
    daemon = Daemon(lab, config=configuration(*lab.backends, interface="eth7"))
    rmtree(daemon.state, ignore_errors=True)  # nothing was in force before
    with pytest.raises(
        LabError, match="error: interface eth7 does not exist\n  hint: the interfaces here are: eth0, lo"
    ):
        daemon.start()
    assert not any(traces(daemon).values())
