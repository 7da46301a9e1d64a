"""The control socket and the lock on the pins: whose they are, what is replaced, and what is refused."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lbctl.daemon import sockets
from lbctl.daemon.instance import only_instance
from lbctl.daemon.notify import notify, watchdog_interval_s
from lbctl.daemon.sockets import Peer, open_control_socket, peer_of
from lbctl.errors import SystemRequirementError

DEADLINE_S = 20.0


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


def test_socket_is_made_with_its_directory_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lbctl" / "lbctl.sock"
    with open_control_socket(path) as control, connected(path):
        assert path.is_socket()
        assert oct(path.stat().st_mode & 0o777) == oct(0o660)
        assert not control.get_inheritable()


def test_socket_belongs_to_the_group_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a machine that has a group lbctl: a group that this process may give a file to."""
    usable = [group.gr_gid for group in grp.getgrall()] if os.geteuid() == 0 else [os.getegid(), *os.getgroups()]
    group = usable[-1]
    monkeypatch.setattr(sockets, "GROUP", grp.getgrgid(group).gr_name)
    with open_control_socket(tmp_path / "sock"):
        assert (tmp_path / "sock").stat().st_gid == group


def test_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    open_control_socket(path).close()
    assert path.is_socket()
    with pytest.raises(ConnectionRefusedError):
        connected(path)
    with open_control_socket(path), connected(path):
        pass


def test_socket_of_a_living_daemon_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with open_control_socket(path) as first:
        with pytest.raises(SystemRequirementError, match=f"another lbctl daemon answers on {path}") as caught:
            open_control_socket(path)
        assert "stop it first" in caught.value.hint
        first.accept()[0].close()  # the question whether anybody answers
        with connected(path):
            first.accept()[0].close()


def test_socket_where_a_file_is_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text("precious")
    with pytest.raises(SystemRequirementError, match="exists and is not a socket"):
        open_control_socket(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "says"), [("x" * 120, "AF_UNIX path too long"), ("file/run/sock", "Not a directory")], ids=["long", "file"]
)
def test_socket_that_cannot_be_made_says_why_and_what_to_do(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemRequirementError, match=says) as caught:
        open_control_socket(tmp_path / name)
    assert "--socket" in caught.value.hint


def test_peer_is_who_the_kernel_says(tmp_path: Path) -> None:
    script = "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(os.getpid()); s.recv(1)"
    with open_control_socket(tmp_path / "sock") as control:
        other = subprocess.Popen([sys.executable, "-c", script, tmp_path / "sock"], stdout=subprocess.PIPE, text=True)
        with control.accept()[0] as connection:
            assert peer_of(connection) == Peer(pid=other.pid, uid=os.getuid())
        other.communicate(timeout=10)


def test_peer_is_called_by_name_or_by_number() -> None:
    assert Peer(pid=1, uid=os.getuid()).name == pwd.getpwuid(os.getuid()).pw_name
    assert Peer(pid=1, uid=4_000_000_000).name == "4000000000"


def test_instance_second_is_refused_naming_the_process_of_the_first(tmp_path: Path) -> None:
    with only_instance(tmp_path):
        with pytest.raises(
            SystemRequirementError, match=rf"daemon \(process {os.getpid()}\) writes to the pins"
        ) as caught:
            only_instance(tmp_path).__enter__()
        assert "systemctl stop lbctl" in caught.value.hint
    with only_instance(tmp_path):
        pass


def test_notification_reaches_the_socket_that_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1", "STATUS=forwarding")
        assert manager.recv(100) == b"READY=1\nSTATUS=forwarding"


def test_notification_does_not_wait_for_a_manager_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of its socket is full before long."""
    longest = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

    def tell() -> None:
        for _ in range(longest + 2):
            notify("WATCHDOG=1")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        telling.join(DEADLINE_S)
        assert not telling.is_alive()


def test_notification_to_nobody_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


@pytest.mark.parametrize(
    ("value", "interval_s"), [("", None), ("soon", None), ("30000000", 15.0), ("²", None), ("9" * 400, None)]
)
def test_watchdog_is_petted_twice_as_often_as_asked(
    monkeypatch: pytest.MonkeyPatch, value: str, interval_s: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", value)
    assert watchdog_interval_s() == interval_s
