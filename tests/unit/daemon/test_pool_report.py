"""What `lbctl status` says of pools and their backends."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lbctl.config.loader import parse
from lbctl.core.retention import HANDSHAKE_S
from lbctl.core.standing import Override, Standing
from lbctl.daemon.reconcile import Reconciler
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import Connected, Counters, Traffic
from tests.unit.daemon.desk import CT, MR, Desk
from tests.unit.daemon.rig import declared


class Counting(FakeDataplane):
    """Counted what the test says, by backend id."""

    def __init__(self) -> None:
        super().__init__()
        self.traffic: dict[int, Traffic] = {}
        self.denied = 0

    def counters(self, *, services: object, backends: object) -> Counters:
        assert isinstance(backends, list)
        assert isinstance(services, list)
        return Counters(
            reasons={},
            services=dict.fromkeys(services, Traffic(denied=self.denied)),
            backends={number: self.traffic.get(number, Traffic()) for number in backends},
        )


# Pools ----------------------------------------------------------------------------------------------------------------


def test_pool_that_balances_tells_its_policy_and_nothing_that_it_has_not(tmp_path: Path) -> None:
    pool = Desk(tmp_path, declared("a", "b")).pool()
    assert (pool.name, pool.kind, pool.policy, pool.on_empty) == ("p", "other", "balance", "reset")
    assert (pool.active, pool.storage, pool.assigned_sources, pool.fallback) == (None, None, None, None)
    assert [backend.name for backend in pool.backends] == ["a", "b"]


def test_pool_with_failover_tells_its_active_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", "b", keys="policy: failover"))
    assert (desk.pool().policy, desk.pool().active) == ("failover", "a")
    desk.rig.fail("a")
    desk.rig.reconcile()
    assert desk.pool().active == "b"


def test_pool_with_private_storage_counts_its_sources(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", "b", kind="archive", keys="storage: private"))
    assert (desk.pool().storage, desk.pool().assigned_sources) == ("private", 0)
    desk.connect(CT, "a")
    desk.connect(MR, "b")
    desk.hear(desk.assigner.settle())
    assert desk.pool().assigned_sources == 2


def test_pool_with_shared_storage_counts_no_sources(tmp_path: Path) -> None:
    pool = Desk(tmp_path, declared("a", kind="archive", keys="storage: shared")).pool()
    assert (pool.storage, pool.assigned_sources) == ("shared", None)


def test_pool_that_lives_on_its_fallback_has_no_shares_of_its_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", keys="fallback: spare, on_empty: drop", spare=("x",)))
    assert (desk.pool().fallback, desk.pool().on_empty) == ("spare", "drop")
    desk.rig.fail("a")
    desk.rig.reconcile()
    assert desk.backends()["a"].share == 0
    assert desk.backends("spare")["x"].share == 1
    assert desk.operator.reporter.status().services[0].state == "active"


def test_service_without_anybody_in_pool_or_fallback_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", keys="fallback: spare", spare=("x",)))
    desk.rig.fail("a", "x")
    desk.rig.reconcile()
    service = desk.operator.reporter.status().services[0]
    assert (service.state, service.reason) == ("no backend", "nobody in pool p takes new connections")


# Backends -------------------------------------------------------------------------------------------------------------


def test_backend_tells_where_it_is_how_it_stands_and_what_it_was_sent(tmp_path: Path) -> None:
    dataplane = Counting()
    desk = Desk(tmp_path, declared("a weight=50", "b weight=150"), dataplane=dataplane)
    number = desk.rig.number("a")
    dataplane.traffic[number] = Traffic(packets=7, bytes=700, connections=3, looped=2)
    dataplane.connected[number] = Connected(connections=5)
    desk.rig.flow_to("a")
    desk.rig.sweep()
    found = desk.backends()["a"]
    assert (str(found.address), found.mac) == ("192.0.2.11", "02:00:c0:00:02:0b")
    assert (found.state, found.reason) == ("up", "port 104 accepts connections")
    assert (found.weight, found.effective_weight) == (50, 50.0)
    assert found.share == pytest.approx(0.25, abs=0.001)
    assert (found.packets, found.bytes, found.new_connections, found.looped) == (7, 700, 3, 2)
    assert (found.flows, found.connections, found.connection_limit, found.resume_at) == (1, 5, None, None)
    assert (found.capacity_percent, found.agent, found.probe_latency_s) == (100, None, 0.001)
    assert found.since_s is not None
    assert 0 <= found.since_s < 60


def test_backend_with_a_limit_tells_it_and_is_full_when_the_program_finds_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a connection_limit=10 resume_at=6", "b"))
    found = desk.backends()["a"]
    assert (found.connection_limit, found.resume_at, found.effective_weight) == (10, 6, 100.0)
    desk.dataplane.connected[desk.rig.number("a")] = Connected(connections=10, is_full=True)
    found = desk.backends()["a"]
    assert (found.state, found.reason) == ("full", "all 10 connections are taken; new ones again from 6 down")
    assert (found.connections, found.effective_weight) == (10, 0.0)


def test_backend_that_resumes_at_nought_says_nought(tmp_path: Path) -> None:
    assert Desk(tmp_path, declared("a connection_limit=1")).backends()["a"].resume_at == 0


@pytest.mark.parametrize(
    ("to", "state", "reason"),
    [(Override.HALTED, "halted", "halted by an operator"), (Override.DRAINED, "draining", "drained by an operator")],
)
def test_backend_that_an_operator_took_out_says_so(tmp_path: Path, to: Override, state: str, reason: str) -> None:
    desk = Desk(tmp_path, declared("a", "b"))
    desk.rig.override("a", to=to)
    desk.rig.reconcile()
    found = desk.backends()["a"]
    assert (found.state, found.reason, found.effective_weight, found.share) == (state, reason, 0.0, 0.0)


def test_backend_that_stands_by_says_for_whom(tmp_path: Path) -> None:
    found = Desk(tmp_path, declared("a", "b", keys="policy: failover")).backends()["b"]
    assert (found.state, found.reason) == ("standby", "takes over if a fails")
    assert (found.effective_weight, found.share) == (0.0, 0.0)


def test_backend_that_is_not_probed_any_more_says_why(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", "b"))
    desk.facts.not_probed("p/a", "no such address")
    assert desk.backends()["a"].reason == (
        "not probed any more: no such address; before that: port 104 accepts connections"
    )


def test_backend_without_a_row_is_told_all_the_same(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", "b"))
    desk.reconciler.declare(declared("a", "b", "c"), now=desk.rig.now)
    found = desk.backends()["c"]
    assert (found.state, found.mac, found.share, found.flows, found.connections) == ("unresolved", None, 0.0, 0, 0)


def test_backend_tells_of_the_bytes_that_came_back_and_of_its_handshakes(tmp_path: Path) -> None:
    dataplane = Counting()
    desk = Desk(tmp_path, declared("a", "b"), dataplane=dataplane)
    number = desk.rig.number("a")
    dataplane.traffic[number] = Traffic(returned=1000, sent=100, begun=7, completed=7, repeated=1, looped=4)
    desk.reporter.note()
    dataplane.traffic[number] = Traffic(returned=4000, sent=200, begun=9, completed=8, repeated=3, looped=6)
    found = desk.backends()["a"]
    assert (found.returned_bytes, found.sent_bytes, found.looped, found.looped_recently) == (4000, 200, 6, 2)
    assert found.returned_per_s > found.sent_per_s > 0
    shakes = found.handshakes
    assert (shakes.begun, shakes.completed, shakes.repeated, shakes.repeated_recently) == (9, 8, 3, 2)
    assert (shakes.unfinished, shakes.median_s) == (0, None)  # the one on its way is not late yet


CLASSES = """\
interfaces:
  eth0: {address: 192.0.2.10/24}
classes:
  scanners: {sources: [192.0.2.128/25], ports: [104]}
services:
  s0: {vip: 192.0.2.100, ports: [104], pool: p, allow: [192.0.2.0/24]}
pools:
  p:
    kind: other
    check: {type: tcp, rise: 2}
    classes:
      scanners: {a: 1, b: 3}
    backends: {a: {address: 192.0.2.11}, b: {address: 192.0.2.12}}
"""


def test_pool_tells_the_classes_that_it_shares_by_other_weights(tmp_path: Path) -> None:
    desk = Desk(tmp_path, parse(CLASSES, source="lbctl.yaml"))
    (found,) = desk.pool().classes
    assert (found.name, found.sources, found.ports) == ("scanners", ("192.0.2.128/25",), (104,))
    assert found.weights == {"a": 1, "b": 3}
    assert found.shares == {"a": pytest.approx(0.25, abs=0.001), "b": pytest.approx(0.75, abs=0.001)}
    assert desk.backends()["a"].share == pytest.approx(0.5, abs=0.001)


def test_service_tells_who_may_come_and_how_many_packets_of_others_did(tmp_path: Path) -> None:
    dataplane = Counting()
    desk = Desk(tmp_path, parse(CLASSES, source="lbctl.yaml"), dataplane=dataplane)
    desk.reporter.note()
    dataplane.denied = 5
    (found,) = desk.operator.reporter.status().services
    assert (found.allow, found.denied, found.denied_recently, found.announce) == (("192.0.2.0/24",), 5, 5, "arp")


# Removed ones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("", "no longer in the file; its connections go on until they end"),
        ("policy: failover", "no longer in the file; its connections are reset"),
    ],
)
def test_removed_backend_tells_what_becomes_of_its_connections(tmp_path: Path, keys: str, reason: str) -> None:
    dataplane = Counting()
    desk = Desk(tmp_path, declared("a", "b", keys=keys), dataplane=dataplane)
    number = desk.rig.number("a")
    dataplane.traffic[number] = Traffic(packets=7, bytes=700, connections=3, looped=2)
    dataplane.connected[number] = Connected(connections=5)
    desk.rig.flow_to("a")
    desk.reconciler.declare(declared("b address=192.0.2.12", keys=keys), now=desk.rig.now)
    desk.rig.reconcile()
    desk.rig.sweep()
    (found,) = desk.operator.reporter.status().removed
    assert (found.name, found.state, found.reason) == ("p/a", "removed", reason)
    assert (found.flows, found.connections, found.packets, found.new_connections) == (1, 5, 7, 3)
    assert (found.weight, found.share, found.since_s, found.connection_limit) == (0, 0.0, None, None)


def test_removed_backend_of_an_earlier_daemon_is_told_by_its_number_until_it_goes(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a", "b"))
    desk.reconciler.declare(declared("b address=192.0.2.12"), now=desk.rig.now)
    desk.rig.reconcile()
    again = Desk(tmp_path, declared("b address=192.0.2.12"), dataplane=desk.dataplane)
    assert [backend.name for backend in again.operator.reporter.status().removed] == ["#1"]
    again.rig.now += 2 * HANDSHAKE_S
    again.rig.sweep()
    again.rig.reconcile()
    assert again.operator.reporter.status().removed == ()


def test_status_weighs_the_backends_once_however_many_services_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vips = tuple(IPv4Address("192.0.2.100") + number for number in range(50))
    desk = Desk(tmp_path, declared("a", "b", vips=vips))
    calls: list[Mapping[str, Standing]] = []
    standings = Reconciler.standings

    def counted(reconciler: Reconciler) -> Mapping[str, Standing]:
        calls.append(standings(reconciler))
        return calls[-1]

    monkeypatch.setattr(Reconciler, "standings", counted)

    assert len(desk.operator.reporter.status().services) == 50
    assert len(calls) == 1


def test_flow_tables_of_another_size_in_the_file_wait_for_the_next_start(tmp_path: Path) -> None:
    desk = Desk(tmp_path, declared("a"))
    assert desk.operator.reporter.status().daemon.warnings == ()
    desk.reconciler.declare(declared("a", director="tcp_flows: 65536"), now=desk.rig.now)
    (warning,) = desk.operator.reporter.status().daemon.warnings
    assert warning.startswith("the flow tables were made for 131072 TCP and 65536 UDP flows; ")
