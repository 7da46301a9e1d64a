"""Good files: what policy, limits, fallback, private storage and the director's section become."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbctl.config.describe import warnings
from lbctl.config.loader import load, parse
from lbctl.core.model import (
    Declaration,
    DicomEchoCheck,
    Director,
    Failback,
    OnEmpty,
    Policy,
    PoolKind,
    Reassign,
    Storage,
    TcpCheck,
    WrongPort,
)
from tests.unit.config.rows import GOOD

HOSPITAL = Path(__file__).parents[3] / "deploy" / "examples" / "hospital.yaml"

FALLING_BACK = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  audit: {vip: 192.0.2.102, ports: [514], protocol: udp, pool: servers}
  s: {vip: 192.0.2.100, SERVICE, pool: servers}
pools:
  spare: {KIND, backends: {b: {address: 192.0.2.12}}}
  servers: {KIND, fallback: spare, backends: {a: {address: 192.0.2.11}}}
"""


def declaration(text: str) -> Declaration:
    return parse(text, source="lbctl.yaml")


def with_pool(text: str) -> Declaration:
    return declaration(GOOD.replace("    backends:", f"    {text}\n    backends:"))


def hl7(keys: str) -> Declaration:
    return declaration(
        "interfaces: {eth0: {address: 192.0.2.10/24}}\n"
        "services: {feed: {vip: 192.0.2.101, preset: hl7, pool: engine}}\n"
        f"pools: {{engine: {{kind: hl7, {keys}}}}}\n"
    )


TWO = "backends: {engine2: {address: 192.0.2.22}, engine1: {address: 192.0.2.21}}"


def test_pool_left_plain_balances_without_limit_and_refuses_when_it_is_empty() -> None:
    pool = declaration(GOOD).pool("archives")
    assert (pool.policy, pool.fallback, pool.on_empty) == (Policy.BALANCE, None, OnEmpty.RESET)
    assert {(backend.connection_limit, backend.resume_at) for backend in pool.backends} == {(0, 0)}


def test_hl7_pool_with_two_receivers_has_one_active_in_the_order_of_the_file() -> None:
    pool = hl7(TWO).pool("engine")
    assert (pool.policy, pool.failback) == (Policy.FAILOVER, Failback.MANUAL)
    assert [backend.name for backend in pool.backends] == ["engine2", "engine1"]


def test_hl7_pool_with_one_receiver_may_be_balanced() -> None:
    assert hl7("policy: balance, backends: {a: {address: 192.0.2.21}}").pool("engine").policy is Policy.BALANCE


@pytest.mark.parametrize("word", Failback)
def test_failback_of_a_failover_pool_is_as_written_whether_its_policy_is_or_not(word: Failback) -> None:
    assert hl7(f"failback: {word}, {TWO}").pool("engine").failback is word
    assert with_pool(f"policy: failover\n    failback: {word}").pool("archives").failback is word


@pytest.mark.parametrize("kind", PoolKind)
def test_policy_left_out_is_failover_for_ordered_messages_only(kind: PoolKind) -> None:
    storage = "storage: shared, " if kind is PoolKind.ARCHIVE else ""
    (pool,) = declaration(
        "interfaces: {eth0: {address: 192.0.2.10/24}}\n"
        "services: {s: {vip: 192.0.2.101, ports: [4242], pool: p}}\n"
        f"pools: {{p: {{kind: {kind}, {storage}backends: {{a: {{address: 192.0.2.21}}}}}}}}\n"
    ).pools
    assert (pool.policy is Policy.FAILOVER) == (kind is PoolKind.HL7)


@pytest.mark.parametrize("word", Reassign)
def test_private_storage_reassigns_as_written(word: Reassign) -> None:
    pool = declaration(GOOD.replace("storage: shared", f"storage: private\n    reassign: {word}")).pool("archives")
    assert (pool.storage, pool.reassign) == (Storage.PRIVATE, word)


def test_private_storage_left_plain_reassigns_what_was_removed() -> None:
    pool = declaration(GOOD.replace("storage: shared", "storage: private")).pool("archives")
    assert pool.reassign is Reassign.REMOVED


@pytest.mark.parametrize(
    ("pool", "backend", "limits"),
    [
        ("connection_limit: 10", "", [(10, 9), (10, 9)]),
        ("connection_limit: 1", "", [(1, 0), (1, 0)]),
        ("connection_limit: 10\n    resume_at: 0", "", [(10, 0), (10, 0)]),
        ("connection_limit: 10\n    resume_at: 8", ", connection_limit: 20", [(10, 8), (20, 8)]),
        ("connection_limit: 10\n    resume_at: 8", ", connection_limit: 5, resume_at: 4", [(10, 8), (5, 4)]),
        ("connection_limit: 10", ", resume_at: 2", [(10, 9), (10, 2)]),
        ("resume_at: 3", ", connection_limit: 5", [(0, 0), (5, 3)]),
        ("on_empty: drop", ", connection_limit: 5", [(0, 0), (5, 4)]),
    ],
)
def test_limit_and_threshold_of_a_backend_go_before_its_pools(
    pool: str, backend: str, limits: list[tuple[int, int]]
) -> None:
    text = GOOD.replace("    backends:", f"    {pool}\n    backends:").replace("192.0.2.12}", f"192.0.2.12{backend}}}")
    assert [(found.connection_limit, found.resume_at) for found in declaration(text).backends()] == limits


@pytest.mark.parametrize(
    ("service", "kind", "check"),
    [
        ("preset: dicom", "kind: archive, storage: shared", DicomEchoCheck(port=104)),
        ("preset: dicom-tls", "kind: workstation", TcpCheck(port=2762)),
        ("ports: [8080]", "kind: web", TcpCheck(port=8080)),
    ],
)
def test_fallback_pool_without_a_service_is_checked_as_those_that_fall_back_on_it(
    service: str, kind: str, check: DicomEchoCheck | TcpCheck
) -> None:
    found = declaration(FALLING_BACK.replace("SERVICE", service).replace("KIND", kind))
    assert [backend.check for backend in found.backends()] == [check, check]
    assert found.pool("servers").fallback == "spare"


def test_fallback_pool_with_a_service_is_checked_by_its_own_first() -> None:
    text = FALLING_BACK.replace("SERVICE", "ports: [8080]").replace("KIND", "kind: web")
    text = text.replace("pools:\n", "  own: {vip: 192.0.2.103, ports: [9090], pool: spare}\npools:\n")
    assert [backend.check.port for backend in declaration(text).backends()] == [9090, 8080]


def test_two_pools_may_be_each_others_fallback() -> None:
    text = FALLING_BACK.replace("SERVICE", "ports: [8080]").replace("KIND", "kind: web")
    text = text.replace("pools:\n", "  own: {vip: 192.0.2.103, ports: [9090], pool: spare}\npools:\n")
    found = declaration(text.replace("spare: {kind: web,", "spare: {kind: web, fallback: servers, on_empty: drop,"))
    assert [(pool.fallback, pool.on_empty) for pool in found.pools] == [
        ("servers", OnEmpty.DROP),
        ("spare", OnEmpty.RESET),
    ]


SEVERAL = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  one: {vip: 192.0.2.100, ports: [104], pool: first}
  two: {vip: 192.0.2.101, ports: [104], pool: second}
pools:
  first: {FIRST, backends: {a: {address: 192.0.2.11}}}
  second: {SECOND, backends: {b: {address: 192.0.2.11}}}
"""


@pytest.mark.parametrize(
    ("first", "second", "warned_of"),
    [
        ("kind: other", "kind: other", None),
        ("kind: other, connection_limit: 5", "kind: other", "limited in each apart"),
        ("kind: archive, storage: shared", "kind: archive, storage: private", "shared in one and private in another"),
        ("kind: hl7", "kind: other", "a single receiver at a time"),
    ],
    ids=["plain", "limit", "storage", "policy"],
)
def test_server_in_two_pools_that_contradict_each_other_is_warned_of(
    first: str, second: str, warned_of: str | None
) -> None:
    found = warnings(declaration(SEVERAL.replace("FIRST", first).replace("SECOND", second)))
    assert [("192.0.2.11 is in pools first and second" in line, str(warned_of) in line) for line in found] == (
        [(True, True)] if warned_of else []
    )


def test_director_left_out_has_the_defaults() -> None:
    assert declaration(GOOD).director == Director()
    assert declaration(f"{GOOD}director: {{}}\n").director == Director()


def test_director_is_as_written() -> None:
    found = declaration(f"{GOOD}director: {{tcp_flows: 1024, udp_flows: 4194304, wrong_port: drop}}\n")
    assert found.director == Director(tcp_flows=1024, udp_flows=4_194_304, wrong_port=WrongPort.DROP)


def test_example_of_a_hospital_shows_failover_limits_and_a_fallback() -> None:
    found = load(HOSPITAL)
    engine, archives = found.pool("engine"), found.pool("archives")
    assert (engine.policy, len(engine.backends)) == (Policy.FAILOVER, 2)
    assert {(backend.connection_limit, backend.resume_at) for backend in archives.backends} == {(20, 18)}
    assert archives.fallback == "spare"
    assert found.services_of("spare") == found.services_of("archives")
