"""One machine of a lab: a network namespace with a cable, ``eth0``, to the switch, or with two."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import IO, Any

from lbctl.core.model import Address
from lbctl.errors import LabError
from lbctl.lab.namespaces import enter, path_of, run_ip, write_sysctls
from lbctl.lab.processes import Processes
from lbctl.lab.segments import HOME, INTERFACE, Place, host_prefix, mac_of

PREFIX_LENGTH = HOME.subnet.prefixlen


class Role(StrEnum):
    """What a node is for."""

    DIRECTOR = "director"
    BACKEND = "backend"
    CLIENT = "client"
    ROUTER = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """A node as it is to be built. The first of its places is what people mean by its address, port and MAC."""

    name: str
    role: Role
    namespace: str
    places: tuple[Place, ...]

    @property
    def address(self) -> IPv4Address:
        """Its IPv4 address. In a lab without IPv4 nobody has it, and it only tells the nodes apart."""
        return self.places[0].address

    @property
    def port(self) -> str:
        """The switch's end of its cable."""
        return self.places[0].port

    @property
    def mac(self) -> str:
        """The node's first MAC: locally administered, its last four bytes spell the IPv4 address."""
        return self.places[0].mac


class Node:
    """A running node. Commands run inside its network namespace but see the root's mounts, bpffs included."""

    interface = INTERFACE

    def __init__(self, plan: NodePlan, *, processes: Processes) -> None:
        self.plan = plan
        self.name = plan.name
        self.role = plan.role
        self.namespace = plan.namespace
        self.address = plan.address
        self.address6 = plan.places[0].address6
        self.places = plan.places
        self.mac = plan.mac
        self._processes = processes
        self._mac_generation = 0

    def __repr__(self) -> str:
        return f"<{self.name} {self.address} in {self.namespace}>"

    def inside(self, argv: Sequence[str | Path]) -> list[str]:
        """The command line that runs ``argv`` on this node. (``ip netns exec`` would hide the bpffs.)"""
        return ["nsenter", f"--net={path_of(self.namespace)}", "--", *(str(word) for word in argv)]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        timeout_s: float = 30.0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, stdout and stderr captured apart. `LabError` if it fails and ``check`` is set."""
        process = self._processes.start(
            self.inside(argv), output=subprocess.PIPE, environment=environment, split_output=True
        )
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: {_shown(argv)} did not end within {timeout_s:g} s") from error
        finally:
            self._processes.end(process)
        if check and process.returncode:
            said = (stderr.strip() or stdout.strip())[-2000:]
            raise LabError(f"{self.name}: {_shown(argv)} ended with {process.returncode}: {said}")
        return subprocess.CompletedProcess(list(map(str, argv)), process.returncode, stdout, stderr)

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        output: Path | int | IO[Any] | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> subprocess.Popen[Any]:
        """Start a command; the lab ends it at the latest when it is torn down. Its pid is that of ``argv`` itself."""
        return self._processes.start(
            self.inside(argv), output=output, environment=environment, stdin=stdin, stop_signal=stop_signal
        )

    def end(self, process: subprocess.Popen[Any]) -> None:
        """End a process that `popen` started (SIGTERM, then SIGKILL)."""
        self._processes.end(process)

    def enter(self) -> AbstractContextManager[None]:
        """Put the current thread on this node for a while: its new sockets are the node's."""
        return enter(self.namespace)

    def listens_on(self, port: int) -> bool:
        """Whether a TCP socket of this node listens on that port."""
        return bool(self.run(["ss", "-Hltn", f"sport = :{port}"]).stdout.strip())

    def ip(self, *commands: str) -> None:
        """Run ``ip`` commands on this node."""
        run_ip(commands, namespace=self.namespace)

    def sysctl(self, name: str, value: int) -> None:
        """Set a value under /proc/sys/net on this node."""
        write_sysctls(self.namespace, [(name, value)])

    def set_link(self, *, up: bool) -> None:
        """Take the node's interface up or down."""
        self.ip(f"link set {INTERFACE} {'up' if up else 'down'}")

    def change_mac(self, mac: str | None = None, *, announce: bool = True) -> str:
        """Give the interface another MAC, as a replaced NIC or a moved machine would have; return it.

        With ``announce`` the node's kernel sends a gratuitous ARP, or an unsolicited advertisement, for its addresses.
        """
        self._mac_generation += 1
        self.mac = mac or mac_of(self.address, generation=self._mac_generation)
        self.sysctl(f"ipv4/conf/{INTERFACE}/arp_notify", int(announce))
        self.sysctl(f"ipv6/conf/{INTERFACE}/ndisc_notify", int(announce))
        changing = [INTERFACE, *(place.interface for place in self.places if place.parent == INTERFACE)]
        self.ip(*(f"link set {interface} address {self.mac}" for interface in changing))
        return self.mac

    def add_vip(self, vip: Address) -> None:
        """Accept a virtual address, on the loopback (the node does not answer for it by ARP or neighbour discovery)."""
        self.ip(f"address add {host_prefix(vip)} dev lo" + (" nodad" if vip.version == 6 else ""))

    def remove_vip(self, vip: Address) -> None:
        """No longer accept a virtual address."""
        self.ip(f"address delete {host_prefix(vip)} dev lo")

    def set_forwarding(self, *, enabled: bool) -> None:
        """Let the node route what is not addressed to it, as a misconfigured backend might."""
        self.sysctl("ipv4/ip_forward", int(enabled))
        self.sysctl("ipv6/conf/all/forwarding", int(enabled))


def _shown(argv: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in argv)[:200]
