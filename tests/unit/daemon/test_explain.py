"""A failed check is told together with what the real address answers: the table, and the probe that fills it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lbctl.core.model import Backend, CheckTiming, TcpCheck
from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.daemon.monitor import Monitor, Route, explain, probe_backend
from lbctl.daemon.surroundings import Surroundings
from lbctl.network.fake import FakeNetwork
from tests.unit.daemon.rig import VIP, declared

BACKEND = next(declared("a").backends())
NOT_ACCEPTED = (
    "VIP not accepted: 192.0.2.11:104 answers at the real address, but not for 192.0.2.100; "
    "put 192.0.2.100 on the backend's loopback"
)
NOT_BOUND = (
    "VIP refused: 192.0.2.11:104 answers at the real address, but nothing listens on 192.0.2.100; "
    "bind the server to all addresses"
)
AS_IT_IS = "as the check says"

H, R, U, T, F = Outcome.HEALTHY, Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.TIMEOUT, Outcome.FAILED
EXPLANATIONS = (
    # the check, the port at the VIP, the port at the real address
    (T, T, H, NOT_ACCEPTED),
    (R, R, H, NOT_BOUND),
    (T, R, H, NOT_BOUND),
    (T, H, H, AS_IT_IS),  # the port opens, the application hangs
    (T, T, T, AS_IT_IS),  # all of it is gone
    (R, R, R, AS_IT_IS),
    (U, U, U, AS_IT_IS),
    (F, T, H, AS_IT_IS),  # it answered, wrongly: the way to it is good
    (Outcome.BUSY, T, H, AS_IT_IS),
    (Outcome.MISCONFIGURED, T, H, AS_IT_IS),
    (H, T, T, AS_IT_IS),
)


def result(outcome: Outcome) -> ProbeResult:
    return ProbeResult(outcome=outcome, detail=AS_IT_IS)


@pytest.mark.parametrize(("check", "at_vip", "at_real", "says"), EXPLANATIONS)
def test_failure_is_explained_by_what_the_two_addresses_answer(
    check: Outcome, at_vip: Outcome, at_real: Outcome, says: str
) -> None:
    told = explain(result(check), at_vip=result(at_vip), at_real=result(at_real), backend=BACKEND, vip=VIP)
    assert (told.outcome, told.detail) == (check, says)


def test_unreachable_vip_of_a_server_that_answers_is_no_evidence_that_it_is_dead() -> None:
    """The director's own rules and routes may be gone: its clients are not reset for that."""
    told = explain(result(U), at_vip=result(U), at_real=result(H), backend=BACKEND, vip=VIP)
    assert (told.outcome, told.detail) == (T, NOT_ACCEPTED)
    assert not told.outcome.is_transport_evidence


# On loopback: 127.0.0.2 plays the VIP, 127.0.0.1 the real address ------------------------------------------------------

REAL, FAKE_VIP = IPv4Address("127.0.0.1"), IPv4Address("127.0.0.2")
ROUTE = Route(vips=(FAKE_VIP,), mark=0, source=REAL)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that is bound to its real address only."""
    with socket.create_server((str(REAL), 0)) as listening:
        yield listening


def server_at(port: int, *, interval_s: float = 5.0) -> Backend:
    timing = CheckTiming(interval_s=interval_s, timeout_s=0.5)
    return replace(BACKEND, address=REAL, check=TcpCheck(port=port, timing=timing))


def test_probe_of_a_server_bound_to_its_real_address_says_so(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    told = asyncio.run(probe_backend(server_at(port), ROUTE, before=None))
    assert told.outcome is Outcome.REFUSED
    assert told.detail == (
        f"VIP refused: 127.0.0.1:{port} answers at the real address, but nothing listens on 127.0.0.2; "
        "bind the server to all addresses"
    )


def test_probe_of_a_server_that_lacks_one_of_two_vips_names_that_one(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    both = replace(ROUTE, vips=(REAL, FAKE_VIP))
    told = asyncio.run(probe_backend(server_at(port), both, before=None))
    assert told.outcome is Outcome.REFUSED
    assert "nothing listens on 127.0.0.2" in told.detail


def test_probe_first_failure_of_a_healthy_server_is_told_without_delay(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    told = asyncio.run(probe_backend(server_at(port), ROUTE, before=Outcome.HEALTHY))
    assert told.detail == f"connection refused on port {port}"
    told = asyncio.run(probe_backend(server_at(port), ROUTE, before=told.outcome))
    assert told.detail.startswith("VIP refused: ")


def test_probe_of_a_server_that_is_gone_says_what_the_check_says(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    told = asyncio.run(probe_backend(server_at(port), ROUTE, before=Outcome.REFUSED))
    assert (told.outcome, told.detail) == (Outcome.REFUSED, f"connection refused on port {port}")


# The monitor's tasks ---------------------------------------------------------------------------------------------------


def test_monitor_probes_what_is_declared_and_ceases_with_it(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    told: list[tuple[str, Outcome]] = []

    async def scenario() -> None:
        monitor = Monitor(
            on_probe=lambda label, probed: told.append((label, probed.outcome)),
            on_agent=print,
            on_fault=print,
            require_ways=Surroundings(FakeNetwork()).require_ways,
        )
        first, second = server_at(port, interval_s=0.05), replace(server_at(port, interval_s=0.05), name="b")
        here = replace(ROUTE, vips=(REAL,))
        both = replace(declared("a"), pools=(replace(declared("a").pools[0], backends=(first, second)),))
        one = replace(both, pools=(replace(both.pools[0], backends=(second,)),))
        monitor.watch(both, {"p/a": here, "p/b": here})
        await until(lambda: {label for label, _ in told} == {"p/a", "p/b"})
        monitor.watch(one, {"p/b": here})
        told.clear()
        await until(lambda: len(told) >= 3)
        assert set(told) == {("p/b", Outcome.HEALTHY)}
        await monitor.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    """The pause between two looks gives the monitor its turn."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (the monitor calls back; it has no event to wait for)
            await asyncio.sleep(0.005)
