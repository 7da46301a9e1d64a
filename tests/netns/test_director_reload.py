"""SIGHUP: another file takes effect without touching a live connection; a bad one changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import SUBNET, VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from lbctl.network.arp import ArpPacket
from tests.netns.director_rig import (
    ArpEar,
    Line,
    asks_for,
    backend,
    configuration,
    connects,
    line_to,
    reload,
    serving,
    spread,
    status,
    wait_backend,
    wait_state,
)

SECOND_VIP = SUBNET[101]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    vips = (VIP, SECOND_VIP)
    with Lab(plan_lab(backends=3, clients=2, vips=vips)) as built, serving(built.backends, vips=vips):
        yield built


@pytest.fixture
def daemon(lab: Lab, daemon: Daemon) -> Daemon:
    """With all three backends and one VIP, as every test finds it."""
    reload(daemon, configuration(*lab.backends))
    for node in lab.backends:
        wait_state(daemon, node, "up")
    return daemon


@pytest.fixture
def lines(lab: Lab, daemon: Daemon) -> Iterator[list[Line]]:
    """A live connection to each backend: whatever is reloaded, they must all still be answered in the end."""
    opened = [line_to(lab.clients[0], node) for node in lab.backends]
    yield opened
    assert all(line.is_alive for line in opened)
    for line in opened:
        line.close()


def test_reload_with_a_backend_removed_drains_it(lab: Lab, daemon: Daemon, lines: list[Line]) -> None:
    gone = lab.backends[2]
    said = reload(daemon, configuration(*lab.backends[:2]))
    assert said == f"INFO reloaded {daemon.config}"
    assert lines[2].is_alive
    assert spread(lab.clients[0], 40).keys() == {"backend1", "backend2"}
    wait_until(
        lambda: [row.address for row in status(daemon).removed if row.flows > 0] == [gone.address],
        deadline_s=60,
        what="the sweep to count the removed backend's connection",
    )
    shown = daemon.ctl("status").stdout
    print(f"\n{shown}")
    assert "removed from the file, with live connections" in shown
    assert [row.name for row in status(daemon).removed] == ["servers/backend3"]
    assert "servers/backend3 (removed)" in daemon.ctl("flows", "--backend", "servers/backend3").stdout


def test_reload_with_a_backend_added_gives_it_new_connections_only(lab: Lab, daemon: Daemon, lines: list[Line]) -> None:
    reload(daemon, configuration(*lab.backends[:2]))
    reload(daemon, configuration(*lab.backends))
    wait_state(daemon, lab.backends[2], "up")
    assert spread(lab.clients[0], 40).keys() == {"backend1", "backend2", "backend3"}
    assert [line.ask() for line in lines] == ["backend1", "backend2", "backend3"]


def test_reload_with_a_weight_changed_moves_shares_and_no_connection(
    lab: Lab, daemon: Daemon, lines: list[Line]
) -> None:
    reload(daemon, configuration(*lab.backends, weights={"backend1": 0, "backend2": 50, "backend3": 150}))
    wait_backend(daemon, "backend2", lambda row: abs(row.share - 0.25) < 0.002)
    assert abs(backend(daemon, "backend3").share - 0.75) < 0.002
    weightless = backend(daemon, "backend1")
    assert (weightless.share, weightless.state, weightless.reason) == (0, "draining", "its weight is 0")
    assert spread(lab.clients[0], 40).keys() == {"backend2", "backend3"}


def gratuitous(ear: ArpEar, vip: IPv4Address) -> Iterator[ArpPacket]:
    """The announcements of a VIP as they come."""
    while True:
        packet = ear.next(deadline_s=20)
        if packet.sender == packet.target == vip:
            yield packet


def test_reload_with_a_vip_added_announces_and_serves_it(lab: Lab, daemon: Daemon, lines: list[Line]) -> None:
    ear = ArpEar(lab.clients[1])
    assert asks_for(lab.clients[0], SECOND_VIP) == []
    reload(daemon, configuration(*lab.backends, vips=(VIP, SECOND_VIP)))
    announced = [next(gratuitous(ear, SECOND_VIP)) for _ in range(3)]
    ear.close()
    assert {packet.sender_mac.hex(":") for packet in announced} == {lab.director.mac}
    assert spread(lab.clients[0], 40, vip=SECOND_VIP).keys() == {"backend1", "backend2", "backend3"}


def test_reload_with_a_vip_removed_keeps_its_connections_and_takes_no_more(
    lab: Lab, daemon: Daemon, lines: list[Line]
) -> None:
    reload(daemon, configuration(*lab.backends, vips=(VIP, SECOND_VIP)))
    wait_until(lambda: connects(lab.clients[0], vip=SECOND_VIP), deadline_s=10, what="the second VIP to serve")
    with Line(lab.clients[0], vip=SECOND_VIP) as line:
        reload(daemon, configuration(*lab.backends))
        assert line.is_alive
        assert not connects(lab.clients[0], vip=SECOND_VIP)
        lab.clients[0].ip("neighbour flush all")
        assert line.is_alive


Spoil = Callable[[str], str]
BAD: tuple[tuple[str, Spoil, str], ...] = (
    ("unknown key", lambda text: text.replace('"pool"', '"pol"'), "pol"),
    ("not YAML", lambda text: text[:-5], "lbctl.yaml"),
    ("off link", lambda text: text.replace("192.0.2.12", "198.51.100.12"), "198.51.100.12"),
    ("other address", lambda text: text.replace("192.0.2.10/24", "192.0.2.77/24"), "192.0.2.77/24"),
    ("no interface", lambda text: text.replace('"eth0"', '"eth7"'), "eth7"),
)


@pytest.mark.parametrize(("spoil", "named"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_reload_of_a_bad_file_changes_nothing_and_is_told(
    lab: Lab, daemon: Daemon, lines: list[Line], spoil: Spoil, named: str
) -> None:
    before = status(daemon)
    log_before = len(daemon.log.read_text())
    said = reload(daemon, spoil(configuration(*lab.backends)))
    assert said.startswith("ERROR the configuration was not reloaded, the one before goes on: ")
    after = status(daemon)
    assert after.daemon.config_error is not None
    assert named in after.daemon.config_error
    assert named in daemon.log.read_text()[log_before:]
    assert (after.daemon.generation, after.services[0].state) == (before.daemon.generation, "active")
    assert [row.name for row in after.pools[0].backends] == [row.name for row in before.pools[0].backends]
    shown = daemon.ctl("status").stdout
    print(f"\n{shown[:600]}")
    assert "The file was refused, the configuration before it goes on:" in shown
    assert spread(lab.clients[0], 40).keys() == {"backend1", "backend2", "backend3"}
    reload(daemon, configuration(*lab.backends))
    assert status(daemon).daemon.config_error is None
