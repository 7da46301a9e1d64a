"""Native mode where the driver can, generic where it cannot or where the file says so, and an error instead of a surprise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import rmtree

import pytest

from lbctl.dataplane import bpf
from lbctl.errors import LabError
from lbctl.lab import bpf as xdp
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import configuration, directing, line_to, reload, serving, spread, status, wait_state

BRIDGE = "br0"
"""A bridge has no native XDP on any kernel."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, directors=2)) as built, serving(built.backends):
        bridged = built.directors[1]
        bridged.ip(
            f"link add {BRIDGE} address {bridged.mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"address delete {bridged.address}/24 dev eth0",
            f"link set eth0 master {BRIDGE}",
            f"link set {BRIDGE} up",
            f"address add {bridged.address}/24 dev {BRIDGE}",
        )
        yield built


def bridged(lab: Lab, mode: str) -> str:
    """The configuration of the director whose interface is a bridge."""
    return configuration(*lab.backends, interface=BRIDGE, mode=mode, director=lab.directors[1].address)


@contextmanager
def alone(daemon: Daemon) -> Iterator[None]:
    """Take the data plane down in the end, so that the next test finds a bare interface."""
    try:
        yield
    finally:
        if daemon.is_running:
            daemon.stop()
        daemon.ctl("detach", "--yes", "--pins", str(daemon.pins))


def test_director_on_a_device_without_native_xdp_falls_back_and_tells(lab: Lab) -> None:
    with directing(lab, bridged(lab, "auto"), director=lab.directors[1]) as daemon, alone(daemon):
        for node in lab.backends:
            wait_state(daemon, node, "up")
        assert spread(lab.clients[0], 20).keys() == {"backend1", "backend2"}
        assert_tells_generic(daemon, "the driver says: Operation not supported")
        daemon.stop()
        daemon.log.write_text("")
        daemon.start()
        assert_tells_generic(daemon, "so left by an earlier start; `lbctl detach` before the next start tries native")


def assert_tells_generic(daemon: Daemon, reason: str) -> None:
    (interface,) = status(daemon).interfaces
    assert (interface.mode, interface.attached) == ("generic", True)
    assert interface.fallback_reason.startswith(reason)
    assert f"{BRIDGE} runs in generic mode, which is slower: {reason}" in daemon.ctl("status").stdout
    said = f"WARNING {BRIDGE}: program attached in generic mode, which is slower: {reason}"
    assert said in daemon.log.read_text()


def test_director_with_native_mode_on_such_a_device_ends_with_a_clear_error(lab: Lab) -> None:
    daemon = Daemon(lab, config=bridged(lab, "native"), director=lab.directors[1])
    rmtree(daemon.state, ignore_errors=True)  # nothing was in force before
    with pytest.raises(LabError) as caught, alone(daemon):
        daemon.start()
    print(f"\n{caught.value}")
    assert f"error: {BRIDGE} cannot run XDP in native mode, as the file asks" in str(caught.value)
    assert f"hint: set interfaces.{BRIDGE}.mode to auto" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert "xdp" not in daemon.node.run(["ip", "link", "show", "dev", BRIDGE]).stdout


def test_reload_with_native_mode_on_such_a_device_is_refused_and_forwarding_goes_on(lab: Lab) -> None:
    with directing(lab, bridged(lab, "auto"), director=lab.directors[1]) as daemon, alone(daemon):
        wait_state(daemon, "backend1", "up")
        with line_to(lab.clients[0], lab.backends[0]) as line:
            said = reload(daemon, bridged(lab, "native"))
            assert said.startswith(f"ERROR the configuration was not reloaded, the one before goes on: {BRIDGE} cannot")
            assert status(daemon).interfaces[0].mode == "generic"
            assert f"{BRIDGE} cannot run XDP in native mode" in (status(daemon).daemon.config_error or "")
            assert line.is_alive


def test_reload_with_another_mode_attaches_anew_and_keeps_connections(lab: Lab) -> None:
    with directing(lab, configuration(*lab.backends, mode="generic")) as daemon, alone(daemon):
        for node in lab.backends:
            wait_state(daemon, node, "up")
        assert spread(lab.clients[0], 20).keys() == {"backend1", "backend2"}
        (interface,) = status(daemon).interfaces
        assert (interface.mode, interface.fallback_reason) == ("generic", "")
        with line_to(lab.clients[0], lab.backends[0]) as line:
            reload(daemon, configuration(*lab.backends, mode="native"))
            assert status(daemon).interfaces[0].mode == "native"
            assert "xdpgeneric" not in daemon.node.run(["ip", "link", "show", "dev", "eth0"]).stdout
            assert line.is_alive
        assert spread(lab.clients[0], 20).keys() == {"backend1", "backend2"}


@pytest.mark.parametrize(("mode", "there"), [("auto", "xdpdrv"), ("native", "xdpgeneric"), ("generic", "xdpdrv")])
def test_director_where_another_xdp_program_is_ends_with_the_interfaces_name(lab: Lab, mode: str, there: str) -> None:
    pinned = lab.plan.bpffs / "foreign"
    program = xdp.load_xdp_verdict(xdp.XDP_PASS)
    xdp.pin(program, pinned)
    os.close(program)
    lab.director.ip(f"link set eth0 {there} pinned {pinned}")
    try:
        daemon = Daemon(lab, config=configuration(*lab.backends, mode=mode))
        with pytest.raises(
            LabError, match=r"error: eth0 already has an XDP program that is not this lbctl's\n  hint: see it"
        ):
            daemon.start()
        assert there.removesuffix("drv") in daemon.node.run(["ip", "link", "show", "dev", "eth0"]).stdout
        daemon.ctl("detach", "--yes", "--pins", str(daemon.pins))
    finally:
        lab.director.ip(f"link set eth0 {there} off")
        pinned.unlink()


def detach_link(daemon: Daemon) -> None:
    """As `bpftool link detach` does."""
    (pin,) = daemon.pins.glob("link@*")
    with bpf.opened_pin(pin) as link:
        bpf.detach_link(link)


def test_director_whose_program_somebody_took_off_attaches_again(lab: Lab) -> None:
    with directing(lab, configuration(*lab.backends)) as daemon, alone(daemon):
        detach_link(daemon)
        wait_until(
            lambda: "somebody took the program off" in daemon.log.read_text() and list(daemon.pins.glob("link@*")),
            deadline_s=60,
            what="the program to be attached again",
        )
        assert spread(lab.clients[0], 20).keys() == {"backend1", "backend2"}


def test_director_whose_interface_was_away_and_has_another_index_adopts_its_link(lab: Lab) -> None:
    with directing(lab, configuration(*lab.backends)) as daemon, alone(daemon):
        daemon.stop()
        (pin,) = daemon.pins.glob("link@*")
        pin.rename(pin.with_name("link@4000@native"))  # as if the index had been another when it was attached
        daemon.start()
        assert [found.name for found in daemon.pins.glob("link@*")] == [pin.name]
        assert spread(lab.clients[0], 20).keys() == {"backend1", "backend2"}
