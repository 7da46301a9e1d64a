"""A state directory without a byte of room: forwarding goes on, a start succeeds, and what cannot be kept is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lbctl.cli.client import get
from lbctl.daemon.models import History
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import backend, configuration, connects, line_to, spread, status, wait_state
from tests.netns.pinned import generation_of


@contextmanager
def small_disk(daemon: Daemon) -> Iterator[None]:
    """The state directory on a file system of its own, of 32 pages."""
    daemon.state.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(daemon.state)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(daemon.state)], check=True)


def fill(daemon: Daemon) -> None:
    """To the last byte."""
    with (daemon.state / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left"):
        while True:
            ballast.write(bytes(512))


def make_room(daemon: Daemon) -> None:
    (daemon.state / "ballast").unlink()


@pytest.fixture
def cramped(lab: Lab) -> Iterator[Daemon]:
    """A daemon that does not run yet, and whose disk is full."""
    daemon = Daemon(lab, config=configuration(*lab.backends))
    with small_disk(daemon):
        fill(daemon)
        yield daemon
        if daemon.is_running:
            daemon.stop()


def test_director_with_a_full_disk_starts_and_refuses_what_it_could_not_keep(lab: Lab, cramped: Daemon) -> None:
    client = lab.clients[0]
    cramped.start()
    for node in lab.backends:
        wait_state(cramped, node, "up")
    assert spread(client).keys() == {"backend1", "backend2"}
    assert "seed.json cannot be written: No space left on device" in cramped.log.read_text()

    with line_to(client, lab.backends[0]) as line:
        generation = generation_of(lab.pins)
        refused = cramped.ctl("drain", "servers/backend1", check=False)
        assert refused.returncode == 1
        assert "overrides.json cannot be written: No space left on device" in refused.stderr
        assert "hint: nothing was changed; free space, then try again" in refused.stderr
        assert generation_of(lab.pins) == generation
        assert backend(cramped, "backend1").state == "up"
        assert spread(client).keys() == {"backend1", "backend2"}

        make_room(cramped)
        cramped.ctl("drain", "servers/backend1")
        fill(cramped)
        cramped.kill()
        cramped.start()
        assert backend(cramped, "backend1").state == "draining"
        assert spread(client).keys() == {"backend2"}
        refused = cramped.ctl("enable", "servers/backend1", check=False)
        assert (refused.returncode, backend(cramped, "backend1").state) == (1, "draining")
        assert line.is_alive

    make_room(cramped)
    cramped.ctl("enable", "servers/backend1")
    wait_state(cramped, "backend1", "up")
    assert connects(client, timeout_s=5)


def test_apply_with_a_full_disk_changes_nothing_and_the_daemon_starts_all_the_same(lab: Lab, cramped: Daemon) -> None:
    other = cramped.directory / "second.yaml"
    other.write_text(configuration(*lab.backends, weights={"backend1": 50}))
    make_room(cramped)
    cramped.start()
    fill(cramped)
    with line_to(lab.clients[0], lab.backends[0]) as line:
        generation = generation_of(lab.pins)
        refused = cramped.ctl("apply", str(other), "--yes", check=False)
        assert refused.returncode == 1
        assert "cannot be written: No space left on device" in refused.stderr
        assert "free space" in refused.stderr
        assert (backend(cramped, "backend1").weight, generation_of(lab.pins)) == (100, generation)
        cramped.stop()
        (cramped.state / "history").rename(cramped.state / "history.gone")
        cramped.start()
        assert "what is in force is not in the history" in " ".join(status(cramped).daemon.warnings)
        assert spread(lab.clients[0], 10).total() == 10
        make_room(cramped)
        cramped.ctl("apply", str(other), "--yes")
        assert backend(cramped, "backend1").weight == 50
        entries = get(cramped.socket, "/v1/history", History).entries
        assert [(entry.how, entry.outcome) for entry in entries] == [("start", "applied"), ("apply", "in force")]
        assert line.is_alive


def test_disk_that_is_full_is_told_in_the_status_until_it_has_room(lab: Lab, cramped: Daemon) -> None:
    cramped.start()
    wait_until(
        lambda: "health.json cannot be written" in (status(cramped).daemon.last_error or ""),
        deadline_s=30,
        what=lambda: f"the full disk to be told\n{cramped.log_tail()}",
    )
    make_room(cramped)
    wait_until((cramped.state / "health.json").exists, deadline_s=30, what="what was missing to be written")
    wait_until(lambda: status(cramped).daemon.last_error is None, deadline_s=60, what="nothing to be wrong any more")
