"""Who may use the control socket: root and the group that it belongs to, and for all others it is a name in a directory."""

from __future__ import annotations

import grp
import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lbctl.cli.main import main
from lbctl.daemon import sockets
from lbctl.dataplane.objectfile import DISTRIBUTION_PYTHON
from tests.unit.daemon.served import daemon_on_fakes, served

NOBODY = 65534
GROUP, OTHER_GROUP = "games", "nogroup"
"""Two that every Debian has; the first one stands for ``lbctl``."""

TRIES = """
import os, socket, sys
path = sys.argv[1]
def stream():
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(b"GET /v1/status HTTP/1.1\\r\\nhost: lbctl\\r\\n\\r\\n")
        return client.recv(12).decode()
def datagram():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"GET", path)
def rights(): os.chmod(path, 0o666)
def owner(): os.chown(path, os.getuid(), -1)
def removal(): os.unlink(path)
def another(): os.rename(path, path + ".old")
def link(): os.link(path, path + ".link")
for attempt in (stream, datagram, rights, owner, removal, another, link):
    try:
        print(attempt.__name__, attempt())
    except OSError as error:
        print(attempt.__name__, type(error).__name__)
"""


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    """The socket of a daemon, in a directory that everybody may enter, as ``/run/lbctl`` is."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(dir="/run") as directory:
        patch.setattr(sockets, "GROUP", GROUP)
        Path(directory).chmod(0o755)
        state = Path(directory) / "state"
        state.mkdir(mode=0o700)
        before = os.umask(0)  # whatever it is, the directory that lbctl makes is nobody else's to write to
        try:
            with served(daemon_on_fakes(state).operator, Path(directory) / "lbctl" / "lbctl.sock") as serving:
                os.umask(before)
                yield serving
        finally:
            os.umask(before)


def tried(path: Path, *, group: str, also: tuple[str, ...] = ()) -> dict[str, str]:
    """What came of everything that a user of these groups tries."""
    numbers = [grp.getgrnam(name).gr_gid for name in (group, *also)]
    done = subprocess.run(
        [DISTRIBUTION_PYTHON, "-c", TRIES, str(path)],
        user=NOBODY,
        group=numbers[0],
        extra_groups=numbers[1:],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def test_user_outside_the_group_gets_nothing_from_the_socket(path: Path) -> None:
    found = tried(path, group=OTHER_GROUP)
    assert len(found) == 7
    assert set(found.values()) == {"PermissionError"}
    with socket.socket(socket.AF_UNIX) as client:  # and it is still there
        client.connect(str(path))


@pytest.mark.parametrize(("group", "also"), [(GROUP, ()), (OTHER_GROUP, (GROUP,))], ids=["by login", "by membership"])
def test_user_in_the_group_is_answered_and_can_take_nothing_away(path: Path, group: str, also: tuple[str, ...]) -> None:
    found = tried(path, group=group, also=also)
    assert found.pop("stream") == "HTTP/1.1 200"
    assert found.pop("datagram") == "OSError"  # another kind of socket
    assert set(found.values()) == {"PermissionError"}


def test_user_who_is_not_in_the_group_is_told_who_may(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A child of this process, for that user may not be able to read what it is made of."""
    importlib.import_module("lbctl.cli.status")
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            main(["status", "--socket", str(path)])
        except SystemExit as ended:
            sys.stderr.flush()
            os._exit(int(ended.code or 0))
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    said = f"error: you may not use {path}\n  hint: become root, or a member of the group lbctl\n"
    assert capfd.readouterr().err == said


def test_socket_and_its_directory_have_the_modes_that_say_so(path: Path) -> None:
    told, around = path.stat(), path.parent.stat()
    assert (told.st_uid, told.st_gid, oct(told.st_mode & 0o7777)) == (0, grp.getgrnam(GROUP).gr_gid, "0o660")
    assert (around.st_uid, oct(around.st_mode & 0o7777)) == (0, "0o755")
