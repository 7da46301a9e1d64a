"""Classes of connections: a pool shares those of some sources, or of a port, by other weights than the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lbctl.core.model import Address
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import TCP_PORT, UDP_PORT, Datagrams, Line, reload, spread, status
from tests.netns.wide_rig import directing_wide, pool_of, wait_in, wide_configuration

by_family = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
ALL = {"backend1", "backend2", "backend3"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=3, clients=2, ipv6=True)) as built:
        yield built


def sharing(lab: Lab, weights: Mapping[str, Mapping[str, int]], *, ports: Mapping[str, list[int]] | None = None) -> str:
    """The file with a class of the first client's connections, and what the pools say of classes."""
    scanner = lab.clients[0]
    scanners: dict[str, Any] = {"sources": [str(scanner.address), str(scanner.address6)]}
    return wide_configuration(
        lab,
        pool={"classes": weights},
        more={"classes": {"scanners": scanners} | {name: {"ports": wanted} for name, wanted in (ports or {}).items()}},
    )


ONLY_THIRD = {"scanners": {"backend1": 0, "backend2": 0}}


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with directing_wide(lab, sharing(lab, ONLY_THIRD)) as running:
        yield running


@pytest.fixture(autouse=True)
def shared_as_at_the_start(lab: Lab, daemon: Daemon) -> Iterator[None]:
    yield
    reload(daemon, sharing(lab, ONLY_THIRD))


def test_class_of_a_source_gets_its_own_shares_and_the_rest_keeps_the_pools(lab: Lab, daemon: Daemon) -> None:
    scanner, other = lab.clients
    for vip in (VIP, VIP6):
        assert spread(scanner, 20, vip=vip).keys() == {"backend3"}
        assert spread(other, 60, vip=vip).keys() == ALL
        assert {Datagrams(scanner, vip=vip).ask(timeout_s=5) for _ in range(10)} == {"backend3"}
    for pool in status(daemon).pools:
        (shared,) = pool.classes
        assert (shared.name, shared.weights["backend1"]) == ("scanners", 0)
        assert shared.shares == {"backend1": 0, "backend2": 0, "backend3": 1}
    shown = daemon.ctl("status").stdout
    print(f"\n{shown}")
    assert "scanners" in shown


def test_class_shared_anew_shifts_new_connections_and_no_live_one(lab: Lab, daemon: Daemon) -> None:
    scanner = lab.clients[0]
    lines = [Line(scanner, vip=vip) for vip in (VIP, VIP6)]
    reload(daemon, sharing(lab, {"scanners": {"backend2": 0, "backend3": 0}}))
    for vip in (VIP, VIP6):
        assert spread(scanner, 20, vip=vip).keys() == {"backend1"}
    assert [line.ask() for line in lines] == ["backend3", "backend3"]
    reload(daemon, wide_configuration(lab))
    for vip in (VIP, VIP6):
        assert spread(scanner, 60, vip=vip).keys() == ALL
    assert [line.ask() for line in lines] == ["backend3", "backend3"]
    for line in lines:
        line.close()


@by_family
def test_class_whose_backends_are_away_goes_by_the_pools_rules(lab: Lab, daemon: Daemon, vip: Address) -> None:
    """The pool has no fallback and refuses when empty: the class does so, too, and the rest goes on."""
    node = lab.backends[2]
    node.remove_vip(vip)
    try:
        wait_in(daemon, pool_of(vip), node.name, "down")
        with pytest.raises(ConnectionRefusedError):
            Line(lab.clients[0], vip=vip)
        assert spread(lab.clients[1], 40, vip=vip).keys() == ALL - {node.name}
    finally:
        node.add_vip(vip)
    wait_in(daemon, pool_of(vip), node.name, "up")
    wait_until(lambda: spread(lab.clients[0], 5, vip=vip), deadline_s=10, what="the class to be served")


def test_class_of_a_port_counts_for_that_port_alone_and_a_source_goes_before_it(lab: Lab, daemon: Daemon) -> None:
    scanner, other = lab.clients
    weights = {**ONLY_THIRD, "datagrams": {"backend2": 0, "backend3": 0}}
    reload(daemon, sharing(lab, weights, ports={"datagrams": [UDP_PORT]}))
    for vip in (VIP, VIP6):
        assert {Datagrams(other, vip=vip).ask(timeout_s=5) for _ in range(20)} == {"backend1"}
        assert spread(other, 60, vip=vip, port=TCP_PORT).keys() == ALL
        assert {Datagrams(scanner, vip=vip).ask(timeout_s=5) for _ in range(10)} == {"backend3"}
