"""Probes over IPv6, and what its errors say."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from functools import partial
from ipaddress import ip_address

import pytest

from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.errors import NetworkError
from lbctl.probes.dicom import probe_dicom_echo
from lbctl.probes.port import Probe, Target
from lbctl.probes.tcp import probe_tcp
from tests.unit.probes import peers

echo_probe: Probe = partial(probe_dicom_echo, calling_ae="LBCTL", called_ae="PACS")


def test_echo_over_ipv6_comes_from_its_source_and_is_healthy() -> None:
    async def scenario() -> tuple[ProbeResult, peers.ScriptedArchive]:
        archive = peers.ScriptedArchive(peers.accept(), peers.echo_response(), peers.RELEASE_RP)
        async with peers.serving(archive.handle, on=peers.LOOPBACK6) as port:
            return await echo_probe(peers.target(port, on=peers.LOOPBACK6, source=peers.LOOPBACK6)), archive

    result, archive = asyncio.run(scenario())
    assert (result.outcome, archive.kinds) == (Outcome.HEALTHY, [1, 4, 5])
    assert archive.peers[0][0] == "::1"


@pytest.mark.parametrize("probe", [probe_tcp, echo_probe], ids=["tcp", "dicom-echo"])
def test_closed_port_over_ipv6_is_refused(probe: Probe) -> None:
    with socket.socket(socket.AF_INET6) as unheard:
        unheard.bind(("::1", 0))
        result = asyncio.run(_probe(probe, unheard.getsockname()[1]))
    assert result.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("address", "code", "says_of_the_server"),
    [
        ("2001:db8::1", errno.EACCES, Outcome.UNREACHABLE),  # ICMPv6: administratively prohibited, by whomever
        ("2001:db8::1", errno.EPROTO, Outcome.UNREACHABLE),
        ("2001:db8::1", errno.EHOSTUNREACH, Outcome.UNREACHABLE),
        ("2001:db8::1", errno.EADDRNOTAVAIL, None),
        ("192.0.2.1", errno.EACCES, None),  # of IPv4 it is a rule here
        ("192.0.2.1", errno.EHOSTUNREACH, Outcome.UNREACHABLE),
    ],
)
def test_failure_to_connect_is_the_servers_or_the_directors(
    monkeypatch: pytest.MonkeyPatch, address: str, code: int, says_of_the_server: Outcome | None
) -> None:
    async def refuse(loop: object, sock: socket.socket, to: object) -> None:
        raise OSError(code, os.strerror(code))

    async def scenario() -> ProbeResult:
        monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", refuse)
        return await probe_tcp(Target(address=ip_address(address), port=104, timeout_s=1.0))

    if says_of_the_server is None:
        with pytest.raises(NetworkError, match="cannot send a probe to"):
            asyncio.run(scenario())
    else:
        assert asyncio.run(scenario()).outcome is says_of_the_server


async def _probe(probe: Probe, port: int) -> ProbeResult:
    return await probe(peers.target(port, on=peers.LOOPBACK6))
