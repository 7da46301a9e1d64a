"""Whole probes against scripted servers on loopback: what arrives there, what is found, and that nothing is left."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lbctl.core.model import DicomEchoCheck, TcpCheck
from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.errors import NetworkError
from lbctl.probes.catalogue import probe_for
from lbctl.probes.dicom import probe_dicom_echo
from lbctl.probes.port import Probe, Target
from lbctl.probes.tcp import probe_tcp
from tests.unit.probes import peers

ASSOCIATE_RQ, DATA, RELEASE_RQ, ABORT = 1, 4, 5, 7
PATIENCE_S = 25.0
SHORT_S = 0.5

echo_probe: Probe = partial(probe_dicom_echo, calling_ae="LBCTL", called_ae="PACS")
EACH_PROBE = pytest.mark.parametrize("probe", [probe_tcp, echo_probe], ids=["tcp", "dicom-echo"])


async def _probe_archive(
    *answers: bytes, segment: int | None = None, hang_up_after: int | None = None, timeout_s: float = PATIENCE_S
) -> tuple[ProbeResult, peers.ScriptedArchive, str]:
    """The result of an echo, the archive it went to, and how the archive saw the connection end."""
    archive = peers.ScriptedArchive(*answers, segment=segment, hang_up_after=hang_up_after)
    async with peers.serving(archive.handle) as port:
        result = await echo_probe(peers.target(port, timeout_s=timeout_s))
        ended = "" if hang_up_after else await asyncio.wait_for(archive.ended, PATIENCE_S)
    return result, archive, ended


@pytest.mark.parametrize("segment", [None, 1, 7])
def test_echo_to_a_good_archive_is_healthy_released_and_closed_in_order(segment: int | None) -> None:
    answers = (peers.accept(), peers.echo_response(), peers.RELEASE_RP)
    result, archive, ended = asyncio.run(_probe_archive(*answers, segment=segment))
    assert result.outcome is Outcome.HEALTHY
    assert result.latency_s is not None
    assert 0 < result.latency_s < PATIENCE_S
    assert (archive.kinds, ended) == ([ASSOCIATE_RQ, DATA, RELEASE_RQ], "fin")


def test_echo_of_bad_status_is_released_and_closed_in_order() -> None:
    answers = (peers.accept(), peers.echo_response(status=0x0110), peers.RELEASE_RP)
    result, archive, ended = asyncio.run(_probe_archive(*answers))
    assert (result.outcome, archive.kinds, ended) == (Outcome.FAILED, [ASSOCIATE_RQ, DATA, RELEASE_RQ], "fin")


def test_echo_unanswered_is_a_timeout_of_the_echo_and_released() -> None:
    answers = (peers.accept(), peers.SILENT, peers.RELEASE_RP)
    result, archive, ended = asyncio.run(_probe_archive(*answers, timeout_s=SHORT_S))
    assert (result.outcome, ended) == (Outcome.TIMEOUT, "fin")
    assert archive.kinds[:3] == [ASSOCIATE_RQ, DATA, RELEASE_RQ]
    assert result.detail.startswith("C-ECHO request unanswered")
    assert result.latency_s is None


def test_echo_and_release_unanswered_is_aborted() -> None:
    result, archive, ended = asyncio.run(_probe_archive(peers.accept(), timeout_s=SHORT_S))
    assert (archive.kinds, ended) == ([ASSOCIATE_RQ, DATA, RELEASE_RQ, ABORT], "fin")
    assert result.detail.startswith("C-ECHO request unanswered")
    assert "then release request unanswered" in result.detail


def test_release_unanswered_is_aborted_and_the_archive_healthy() -> None:
    answers = (peers.accept(), peers.echo_response())
    result, archive, _ = asyncio.run(_probe_archive(*answers, timeout_s=1.0))
    assert (result.outcome, archive.kinds[-1]) == (Outcome.HEALTHY, ABORT)
    assert result.latency_s is not None


def test_association_unanswered_is_a_timeout_of_the_association_and_aborted() -> None:
    result, archive, ended = asyncio.run(_probe_archive(timeout_s=SHORT_S))
    assert (result.outcome, archive.kinds, ended) == (Outcome.TIMEOUT, [ASSOCIATE_RQ, ABORT], "fin")
    assert result.detail.startswith("association request unanswered")


@pytest.mark.parametrize("answers", [(b"220 smtp.example ESMTP\r\n",), (peers.accept(), b"\x04\0\xff\xff\xff\xff")])
def test_archive_that_talks_garbage_has_failed_and_is_aborted(answers: tuple[bytes, ...]) -> None:
    result, archive, ended = asyncio.run(_probe_archive(*answers))
    assert (result.outcome, archive.kinds[-1], ended) == (Outcome.FAILED, ABORT, "fin")


@pytest.mark.parametrize(
    ("answers", "hang_up_after", "step"), [((), 1, "association request"), ((peers.accept(),), 2, "C-ECHO request")]
)
def test_archive_that_hangs_up_has_failed_at_that_step(
    answers: tuple[bytes, ...], hang_up_after: int, step: str
) -> None:
    result, _, _ = asyncio.run(_probe_archive(*answers, hang_up_after=hang_up_after))
    assert (result.outcome, result.detail) == (Outcome.FAILED, f"connection closed by the server after the {step}")


def test_full_archive_is_busy() -> None:
    result, archive, ended = asyncio.run(_probe_archive(peers.reject(2, 3, 2)))
    assert (result.outcome, archive.kinds, ended) == (Outcome.BUSY, [ASSOCIATE_RQ], "fin")


def test_catalogue_gives_the_echo_its_titles() -> None:
    async def scenario() -> bytes:
        archive = peers.ScriptedArchive(peers.reject(1, 1, 7))
        async with peers.serving(archive.handle) as port:
            check = DicomEchoCheck(port=port, calling_ae="DIRECTOR", called_ae="STORE1")
            assert (await probe_for(check)(peers.target(port))).outcome is Outcome.MISCONFIGURED
        return archive.received[0]

    request = asyncio.run(scenario())
    assert (request[10:26].rstrip(), request[26:42].rstrip()) == (b"STORE1", b"DIRECTOR")


@pytest.mark.parametrize("banner", [b"", b"SSH-2.0-example\r\n", b"x" * 20_000])
def test_tcp_probe_of_a_listener_is_healthy_and_closed_in_order(banner: bytes) -> None:
    async def scenario() -> tuple[ProbeResult, bytes]:
        last_read: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(banner)
            last_read.set_result(await reader.read())  # raises on a reset
            writer.close()

        async with peers.serving(greet) as port:
            result = await probe_for(TcpCheck(port=port))(peers.target(port))
            return result, await asyncio.wait_for(last_read, PATIENCE_S)

    result, said = asyncio.run(scenario())
    assert (result.outcome, said) == (Outcome.HEALTHY, b"")
    assert result.latency_s is not None


@EACH_PROBE
def test_closed_port_is_refused(probe: Probe) -> None:
    with socket.socket() as unheard:  # bound and not listening: the port stays ours and refuses
        unheard.bind(("127.0.0.1", 0))
        result = asyncio.run(_call(probe, peers.target(unheard.getsockname()[1])))
    assert result.outcome is Outcome.REFUSED
    assert result.outcome.is_transport_evidence


@EACH_PROBE
def test_address_without_a_way_to_it_is_unreachable(probe: Probe) -> None:
    broadcast = IPv4Address("127.255.255.255")  # TCP to it ends in ENETUNREACH, whatever the machine's routes
    result = asyncio.run(_call(probe, Target(address=broadcast, port=9, timeout_s=PATIENCE_S)))
    assert result.outcome is Outcome.UNREACHABLE


@EACH_PROBE
def test_handshake_unanswered_is_a_timeout_of_the_handshake(probe: Probe) -> None:
    with socket.socket() as full, socket.socket() as queued:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # room for one connection that nobody accepts: the kernel ignores the next SYN
        queued.connect(full.getsockname())
        result = asyncio.run(_call(probe, peers.target(full.getsockname()[1], timeout_s=SHORT_S)))
    assert result.outcome is Outcome.TIMEOUT
    assert "handshake" in result.detail


def test_probe_comes_from_the_source_it_is_given() -> None:
    async def scenario() -> str:
        archive = peers.ScriptedArchive(peers.reject(2, 3, 2))
        async with peers.serving(archive.handle) as port:
            await echo_probe(peers.target(port, source=IPv4Address("127.0.0.5")))
        return archive.peers[0][0]

    assert asyncio.run(scenario()) == "127.0.0.5"


def test_source_that_is_not_the_directors_is_the_directors_fault() -> None:
    with pytest.raises(NetworkError, match=r"192\.0\.2\.1"):
        asyncio.run(_call(probe_tcp, peers.target(9, source=IPv4Address("192.0.2.1"))))


@EACH_PROBE
def test_server_that_never_stops_sending_stops_neither_the_probe_nor_other_tasks(probe: Probe) -> None:
    async def scenario(port: int) -> tuple[ProbeResult, int]:
        turns = 0
        task = asyncio.create_task(_call(probe, peers.target(port, timeout_s=SHORT_S)))
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        return task.result(), turns

    with _flooding() as port:
        started_at = time.monotonic()
        result, turns = asyncio.run(scenario(port))
    assert result.outcome is Outcome.HEALTHY
    assert turns > 50  # of the other task: it ran on between the probe's reads
    assert time.monotonic() - started_at < PATIENCE_S


def test_server_that_says_more_than_a_probe_can_need_has_failed_before_the_time_is_over() -> None:
    with _flooding(peers.accept()) as port:
        result = asyncio.run(_call(echo_probe, peers.target(port, timeout_s=2 * PATIENCE_S)))
    said = "more than 256 KiB from the server after the C-ECHO request"
    assert (result.outcome, result.detail) == (Outcome.FAILED, said)


@EACH_PROBE
@pytest.mark.parametrize("turns", range(24))
@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_probe_cancelled_at_any_moment_leaves_no_socket_and_no_association(probe: Probe, turns: int) -> None:
    async def scenario() -> peers.ScriptedArchive:
        archive = peers.ScriptedArchive(peers.accept(), peers.echo_response())
        async with peers.serving(archive.handle) as port:
            before = _open_sockets()
            task = asyncio.create_task(_call(probe, peers.target(port)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or probe is probe_tcp  # the short TCP probe may have ended before
            await _until_closed(before)
        return archive

    archive = asyncio.run(scenario())
    gc.collect()  # a socket that was merely forgotten warns now
    assert not archive.received or archive.kinds[-1] == ABORT


async def _call(probe: Probe, target: Target) -> ProbeResult:
    return await probe(target)


@contextmanager
def _flooding(first: bytes = peers.accept() + peers.echo_response()) -> Iterator[int]:
    """A server in a thread of its own, faster than the probe reads: an accepted association, then data without end."""
    endless = peers.pdu(4, peers.pdv(b"", control=0b01)) * 10_000
    deadline = time.monotonic() + PATIENCE_S  # a probe that starves its own time-out fails the test, not hangs it

    def flood(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):
            connection.sendall(first)
            while time.monotonic() < deadline:
                connection.sendall(endless)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=flood, args=[listener])
        thread.start()
        yield listener.getsockname()[1]
        thread.join(PATIENCE_S)


async def _until_closed(before: set[str]) -> None:
    """The archive's end of the connection, which is ours too, is open a little longer than the probe's."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not _open_sockets() <= before:
        assert asyncio.get_running_loop().time() < deadline, "a socket was left open"
        await asyncio.sleep(0.001)


def _open_sockets() -> set[str]:
    links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return {str(link.readlink()) for link in links if link.is_symlink()}
