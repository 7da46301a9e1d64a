"""The lab with more than one segment, the other family, and a bad cable: what the directors' tests lean on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lbctl.lab.lines import Line, LineServer
from lbctl.lab.losses import Segments, losing
from lbctl.lab.node import Node
from lbctl.lab.segments import Segment
from lbctl.lab.topology import HOME, SECOND_WIRE, TAGGED, VIP, VIP6, Lab, plan_lab


@pytest.fixture(scope="module", params=[SECOND_WIRE, TAGGED], ids=["wire", "vlan"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The second backend is on the other segment."""
    with Lab(plan_lab(far_backends=1, far=request.param, ipv6=True)) as built:
        yield built


def far_of(lab: Lab) -> Segment:
    return lab.plan.segments[1]


def ping(source: Node, target: object) -> bool:
    return source.run(["ping", "-c1", "-W0.5", str(target)], check=False).returncode == 0


def test_director_reaches_both_segments_in_both_families(lab: Lab) -> None:
    assert [place.interface for place in lab.director.places] == ["eth0", "eth0.20" if far_of(lab).vlan else "eth1"]
    for node in lab.backends:
        assert ping(lab.director, node.address)
        assert ping(lab.director, node.address6)


def test_client_reaches_the_other_segment_by_way_of_the_router(lab: Lab) -> None:
    client, (router,), far = lab.clients[0], lab.routers, lab.backends[1]
    assert ping(client, far.address)
    assert ping(client, far.address6)
    router.set_forwarding(enabled=False)
    try:
        assert not ping(client, far.address)
        assert not ping(client, far.address6)
    finally:
        router.set_forwarding(enabled=True)


def test_segments_hear_nothing_of_each_other(lab: Lab) -> None:
    client, far = lab.clients[0], lab.backends[1]
    asked = ["arping", "-f", "-w1", "-I", "eth0"]
    assert client.run([*asked, str(HOME.address(11))], check=False).returncode == 0
    assert client.run([*asked, str(far.address)], check=False).returncode != 0
    assert far.run([*asked, str(far_of(lab).address(10))], check=False).returncode == 0
    assert far.run([*asked, str(HOME.address(11))], check=False).returncode != 0


def test_vip6_on_a_loopback_is_accepted_but_not_announced(lab: Lab) -> None:
    client, (near, _) = lab.clients[0], lab.backends
    client.ip(f"route add {VIP6} via {near.address6}")
    try:
        assert ping(client, VIP6)
    finally:
        client.ip(f"route delete {VIP6}")
    assert not ping(client, VIP6)


def test_line_server_answers_both_families(lab: Lab) -> None:
    near = lab.backends[0]
    server = LineServer(near)
    for address in (near.address, near.address6):
        with Line(lab.clients[0], vip=address) as line:
            assert line.backend == "backend1"
    server.close()


def test_lab_without_ipv4_works() -> None:
    with Lab(plan_lab(ipv4=False, ipv6=True)) as lab:
        assert lab.plan.vips == (VIP6,)
        assert ping(lab.clients[0], lab.backends[0].address6)
        assert "inet " not in lab.clients[0].run(["ip", "-4", "address", "show", "dev", "eth0"]).stdout
        assert not ping(lab.clients[0], VIP)


def retransmitted(node: Node) -> int:
    rows = [line.split() for line in node.run(["cat", "/proc/net/snmp"]).stdout.splitlines() if line.startswith("Tcp:")]
    return int(rows[1][rows[0].index("RetransSegs")])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("segments", [Segments.WITH_DATA, Segments.BARE])
def test_losses_hurt_only_what_they_are_to_hurt(segments: Segments, version: int) -> None:
    with Lab(plan_lab(ipv6=True)) as lab:
        client, (node,) = lab.clients[0], lab.backends
        server, address = LineServer(node), node.address if version == 4 else node.address6
        with Line(client, vip=address, timeout_s=30) as line, losing(lab, client, segments, share=0.1):
            text = b"x" * 2_000_000 + b"\n"
            assert line.echo(text) == b"backend1 " + text
        server.close()
        assert retransmitted(node) < 10
        assert (retransmitted(client) > 20) is (segments is Segments.WITH_DATA)


def index_of(node: Node) -> str:
    return node.run(["ip", "-o", "link", "show", "eth0"]).stdout.partition(":")[0]


def test_interface_replaced_works_as_before_with_another_index() -> None:
    with Lab(plan_lab(far_backends=1, far=TAGGED, ipv6=True)) as lab:
        director, client = lab.director, lab.clients[0]
        before = index_of(director)
        lab.replace_interface(director)
        assert index_of(director) != before
        for node in (client, *lab.backends):
            assert ping(director, node.address)
            assert ping(director, node.address6)
