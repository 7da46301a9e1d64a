"""Somebody removes lbctl's pins, or hides them, while the daemon is at work: no connection is cut, and they are made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from shutil import rmtree

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import configuration, directing, line_to, serving, spread


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=1)) as built, serving(built.backends):
        yield built


def names(daemon: Daemon) -> list[str]:
    return sorted(path.name for path in daemon.pins.iterdir()) if daemon.pins.exists() else []


def all_pins(daemon: Daemon) -> None:
    for pin in daemon.pins.iterdir():
        pin.unlink()


def a_link(daemon: Daemon) -> None:
    (pin,) = daemon.pins.glob("link@*")
    pin.unlink()


def the_directory(daemon: Daemon) -> None:
    rmtree(daemon.pins)


@pytest.mark.parametrize("remove", [all_pins, a_link, the_directory])
def test_pins_that_somebody_removed_are_there_again_and_connections_outlive_the_daemon(
    lab: Lab, remove: Callable[[Daemon], None]
) -> None:
    client = lab.clients[0]
    with directing(lab, configuration(*lab.backends)) as daemon:
        lines = [line_to(client, node) for node in lab.backends]
        before = names(daemon)
        remove(daemon)
        assert all(line.is_alive for line in lines)  # at once: the program is still there
        wait_until(lambda: names(daemon) == before, deadline_s=60, what="the pins to be there again")
        assert "somebody removed pins of lbctl's" in daemon.log.read_text()
        assert "took the program off" not in daemon.log.read_text()
        daemon.ctl("drain", "servers/backend1")
        daemon.kill()
        assert all(line.is_alive for line in lines)
        daemon.start()
        assert all(line.is_alive for line in lines)
        assert spread(client).keys() == {"backend2"}
        daemon.ctl("enable", "servers/backend1")
        for line in lines:
            line.close()
