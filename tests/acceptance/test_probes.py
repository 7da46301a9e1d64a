"""The probes against real servers: what each state of an archive is found to be, and what its log says of the probe."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

import pytest

from lbctl.core.model import Check, DicomEchoCheck, TcpCheck
from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.probes import pdu
from lbctl.probes.catalogue import probe_for
from lbctl.probes.port import Target
from tests.acceptance import servers

LOOPBACK = IPv4Address("127.0.0.1")
RELEASED = "Association Release"
ABORTED = "Abort"
_CLONE_NEWNET = 0x40000000

Found = TypeVar("Found")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.orthanc(tmp_path_factory.mktemp("orthanc"), DicomCheckCalledAet=True) as server:
        yield server


def check_of(port: int, *, called_ae: str = "ARCHIVE") -> DicomEchoCheck:
    """An echo to that port."""
    return DicomEchoCheck(port=port, calling_ae="LBCTL", called_ae=called_ae)


def probe(check: Check, *, address: IPv4Address = LOOPBACK, timeout_s: float = 10.0, mark: int = 0) -> ProbeResult:
    """One probe, as the monitor would send it."""
    target = Target(address=address, port=check.port, timeout_s=timeout_s, mark=mark)

    async def once() -> ProbeResult:
        return await probe_for(check)(target)

    return asyncio.run(once())


def test_echo_to_orthanc_is_healthy_and_released(orthanc: servers.Server) -> None:
    released = orthanc.count_log(RELEASED)
    results = [probe(check_of(orthanc.port)) for _ in range(20)]
    assert {result.outcome for result in results} == {Outcome.HEALTHY}
    orthanc.wait_for_log(RELEASED, times=released + len(results))
    assert orthanc.count_log(ABORTED) == 0
    latencies_ms = sorted(1000 * (result.latency_s or 0.0) for result in results)
    assert latencies_ms[0] < 20  # without TCP_QUICKACK every single one takes more than 40
    print(f"echo to Orthanc: median {latencies_ms[10]:.2f} ms, worst {latencies_ms[-1]:.2f} ms (delayed ACK: 40 ms)")


def test_echoes_to_orthanc_at_the_same_time_are_all_healthy_and_released(orthanc: servers.Server) -> None:
    released = orthanc.count_log(RELEASED)

    async def many() -> list[ProbeResult]:
        target = Target(address=LOOPBACK, port=orthanc.port, timeout_s=20.0)
        return await asyncio.gather(*(probe_for(check_of(orthanc.port))(target) for _ in range(16)))

    assert {result.outcome for result in asyncio.run(many())} == {Outcome.HEALTHY}
    orthanc.wait_for_log(RELEASED, times=released + 16)


def test_echo_to_orthanc_under_a_wrong_title_is_misconfigured(orthanc: servers.Server) -> None:
    result = probe(check_of(orthanc.port, called_ae="ELSEWHERE"))
    assert result.outcome is Outcome.MISCONFIGURED
    assert 'the server is not called "ELSEWHERE"' in result.detail


def test_echo_to_orthanc_that_keeps_verification_from_strangers_fails_with_a_hint(tmp_path: Path) -> None:
    with servers.orthanc(tmp_path, DicomAlwaysAllowEcho=False) as server:
        result = probe(check_of(server.port))
        assert result.outcome is Outcome.FAILED  # Orthanc aborts, which says nothing of the reason
        assert 'allows C-ECHO to calling AE title "LBCTL"' in result.detail


def test_tcp_probe_of_orthanc_is_healthy(orthanc: servers.Server) -> None:
    result = probe(TcpCheck(port=orthanc.port))
    assert result.outcome is Outcome.HEALTHY
    assert result.latency_s is not None


def test_echo_to_storescp_is_healthy_and_released(tmp_path: Path) -> None:
    with servers.storescp(tmp_path) as server:
        assert probe(check_of(server.port)).outcome is Outcome.HEALTHY
        server.wait_for_log(RELEASED)
        assert server.count_log(ABORTED) == 0


def test_echo_to_storescp_that_refuses_everybody_has_failed(tmp_path: Path) -> None:
    with servers.storescp(tmp_path, "--refuse") as server:
        result = probe(check_of(server.port))
        assert (result.outcome, "(01/01/01)" in result.detail) == (Outcome.FAILED, True)


def test_echo_to_dcmqrscp_is_busy_while_its_associations_are_taken(tmp_path: Path) -> None:
    with servers.dcmqrscp(tmp_path, max_associations=1) as server:
        with socket.create_connection((str(LOOPBACK), server.port)) as taken:
            taken.sendall(pdu.associate_request(calling_ae="MODALITY", called_ae="ARCHIVE"))
            assert taken.recv(1) == bytes([pdu.PduType.ASSOCIATE_AC])
            result = probe(check_of(server.port))
            assert (result.outcome, "(02/03/02)" in result.detail) == (Outcome.BUSY, True)
        servers.wait_for(
            lambda: probe(check_of(server.port)).outcome is Outcome.HEALTHY, "room for another association"
        )


def test_echo_to_dcmqrscp_under_a_wrong_title_is_misconfigured(tmp_path: Path) -> None:
    with servers.dcmqrscp(tmp_path, max_associations=4) as server:
        assert probe(check_of(server.port, called_ae="ELSEWHERE")).outcome is Outcome.MISCONFIGURED


def test_echo_to_a_suspended_server_times_out_at_the_association_and_recovers(tmp_path: Path) -> None:
    with servers.storescp(tmp_path) as server:
        server.stop()
        late = probe(check_of(server.port), timeout_s=0.5)
        assert late.outcome is Outcome.TIMEOUT
        assert late.detail.startswith("association request unanswered")
        assert probe(TcpCheck(port=server.port)).outcome is Outcome.HEALTHY  # why a TCP check is not enough
        server.resume()
        assert probe(check_of(server.port)).outcome is Outcome.HEALTHY


def test_echo_to_a_server_that_is_gone_is_refused(tmp_path: Path) -> None:
    with servers.storescp(tmp_path) as server:
        pass
    result = probe(check_of(server.port))
    assert result.outcome is Outcome.REFUSED
    assert result.outcome.is_transport_evidence


def test_mark_decides_which_way_a_probe_goes() -> None:
    vip = IPv4Address("192.0.2.100")
    with _forked_ways(vip) as namespace:

        def probe_both_ways() -> list[Outcome]:
            with socket.create_server((str(vip), 0)) as listener:
                check = TcpCheck(port=listener.getsockname()[1])
                return [probe(check, address=vip, mark=mark).outcome for mark in (0, 77)]

        assert _within(namespace, probe_both_ways) == [Outcome.HEALTHY, Outcome.UNREACHABLE]


def test_probe_without_the_privilege_to_mark_blames_the_director() -> None:
    script = (
        "import asyncio, ipaddress\n"
        "from lbctl.probes.port import Target\nfrom lbctl.probes.tcp import probe_tcp\n"
        "target = Target(address=ipaddress.IPv4Address('127.0.0.1'), port=9, timeout_s=1.0, mark=7)\n"
        "asyncio.run(probe_tcp(target))\n"
    )
    # Either of the two privileges is enough for the kernel (socket(7)).
    command = ["setpriv", "--bounding-set=-net_admin,-net_raw", sys.executable, "-c", script]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert "SystemRequirementError: may not mark a probe's socket" in ended.stderr
    assert "CAP_NET_ADMIN" in ended.stderr


@contextmanager
def _forked_ways(vip: IPv4Address) -> Iterator[str]:
    """A network namespace that owns the VIP, except for packets of mark 77, which find no way to it."""
    name = f"lbprobe{os.getpid()}"
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "address", "add", f"{vip}/32", "dev", "lo")
        _ip("-n", name, "rule", "add", "pref", "200", "lookup", "local")
        _ip("-n", name, "rule", "del", "pref", "0")  # else the local table would come before every mark
        _ip("-n", name, "rule", "add", "pref", "100", "fwmark", "77", "lookup", "77")
        _ip("-n", name, "route", "add", "unreachable", str(vip), "table", "77")
        yield name
    finally:
        _ip("netns", "del", name)


def _within(namespace: str, act: Callable[[], Found]) -> Found:
    """Do it in a thread of its own that has entered the network namespace."""

    def enter_and_act() -> Found:
        with Path("/run/netns", namespace).open() as file:
            assert ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) == 0
        return act()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(enter_and_act).result()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=30)
