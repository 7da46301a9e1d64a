"""The backends that a command is about: what one is told who waits for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lbctl.config.loader import parse
from lbctl.core.model import Protocol
from lbctl.core.targets import named
from lbctl.dataplane.port import Connected
from lbctl.errors import UsageError
from tests.unit.daemon.desk import Desk
from tests.unit.daemon.test_overriding import FILE, HOST


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, parse(FILE, source="lbctl.yaml"))


def test_target_tells_open_connections_and_who_said_what(desk: Desk) -> None:
    desk.hear(desk.operator.drain(named("p/a")))
    found = desk.hear(desk.operator.target(HOST))
    assert [(row.pool, row.name, row.override) for row in found.backends] == [
        ("p", "a", "drained"),
        ("q", "w", None),
        ("f", "g", None),
    ]
    assert {row.udp_flows for row in found.backends} == {None}
    assert found.swept_s is None
    with pytest.raises(UsageError, match="there is no pool nobody"):
        desk.hear(desk.operator.target(named("nobody")))


def test_target_with_a_udp_service_tells_its_flows_as_last_swept(tmp_path: Path) -> None:
    text = FILE.replace("ports: [443], protocol: tcp", "ports: [514], protocol: udp")
    desk = Desk(
        tmp_path, parse(text.replace("web, check: {type: tcp}", "web, check: {type: tcp, port: 80}"), source="f")
    )
    for protocol in (Protocol.UDP, Protocol.TCP, Protocol.UDP):
        desk.dataplane.live_flows.append(replace(desk.rig.flow_to("w"), protocol=protocol))
        desk.dataplane.live_flows.pop(-2)
    assert desk.hear(desk.operator.target(named("q/w"))).backends[0].udp_flows == 0
    desk.rig.sweep()
    found = desk.hear(desk.operator.target(HOST))
    assert {row.pool: row.udp_flows for row in found.backends} == {"p": None, "q": 2, "f": None}
    assert found.swept_s is not None


def test_target_that_the_kernel_did_not_drain_yet_still_takes_new_connections(desk: Desk) -> None:
    assert [row.takes_new for row in desk.hear(desk.operator.target(named("p"))).backends] == [True, True]
    desk.kernel_refuses()
    assert "the kernel refused for now" in desk.hear(desk.operator.drain(named("p/a")))
    (row,) = desk.hear(desk.operator.target(named("p/a"))).backends
    assert (row.override, row.takes_new) == ("drained", True)
    desk.dataplane.fail_after = None
    desk.rig.reconcile()
    (row,) = desk.hear(desk.operator.target(named("p/a"))).backends
    assert (row.override, row.takes_new) == ("drained", False)


def test_target_tells_handshakes_that_may_still_be_completed_and_none_of_who_is_cut_off(desk: Desk) -> None:
    desk.dataplane.handshaking = {desk.rig.number("a"): 2, desk.rig.number("b"): 1}
    desk.hear(desk.operator.drain(named("p/a")))
    desk.hear(desk.operator.halt(named("p/b")))
    assert [row.half_open for row in desk.hear(desk.operator.target(named("p"))).backends] == [2, 0]


def test_target_that_left_the_file_is_told_of_while_it_may_have_connections(desk: Desk) -> None:
    desk.hear(desk.operator.drain(HOST))
    number = desk.rig.number("a")
    desk.dataplane.connected[number] = Connected(connections=3)
    without = FILE.replace("a: {address: 192.0.2.11}, ", "")
    desk.reconciler.declare(parse(without, source="lbctl.yaml"), now=desk.rig.now)
    desk.rig.reconcile()
    for target in (HOST, named("p/a"), named("p")):
        rows = {f"{row.pool}/{row.name}": row for row in desk.hear(desk.operator.target(target)).backends}
        row = rows["p/a"]
        assert (row.state, row.override, row.takes_new, row.connections) == ("removed", None, False, 3)
        assert row.reason == "no longer in the file; its connections go on until they end"
    del desk.dataplane.backends[number]
    desk.reconciler.current = desk.dataplane.read()
    with pytest.raises(UsageError, match="p/a was removed from the file"):
        desk.hear(desk.operator.target(named("p/a")))
