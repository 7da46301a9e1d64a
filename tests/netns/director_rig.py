"""A director at work in the lab: its configuration, line servers on the backends, and clients that keep connections open."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from typing import Any

from lbctl.cli.client import get
from lbctl.core.model import Address
from lbctl.daemon.models import BackendStatus, Status
from lbctl.lab import lines
from lbctl.lab.daemon import Daemon
from lbctl.lab.lines import TCP_PORT, Line, spread
from lbctl.lab.node import PREFIX_LENGTH, Node
from lbctl.lab.topology import SUBNET, VIP, Lab
from lbctl.lab.wait import wait_until
from lbctl.network import arp

__all__ = ["TCP_PORT", "Line", "spread"]  # for those who take everything from here

UDP_PORT = 8043
POOL = "servers"
_SO_RCVBUFFORCE = 33

QUICK = {"type": "tcp", "port": TCP_PORT, "interval": "300ms", "timeout": "200ms", "rise": 1}
RARE = {**QUICK, "interval": "10m"}
"""One look at the start, then none: whatever else takes a backend away must do so without the check."""


def configuration(
    *backends: Node,
    vips: Iterable[IPv4Address] = (VIP,),
    check: Mapping[str, Any] = QUICK,
    weights: Mapping[str, int] | None = None,
    more_backends: Mapping[str, IPv4Address] | None = None,
    interface: str = "eth0",
    mode: str = "auto",
    director: IPv4Address = SUBNET[10],
    pool: Mapping[str, Any] | None = None,
) -> str:
    """A file (JSON is YAML) with a TCP and a UDP service on each VIP, answered by these backends."""
    addresses = {node.name: node.address for node in backends} | dict(more_backends or {})
    services: dict[str, Any] = {}
    for number, vip in enumerate(vips):
        common = {"vip": str(vip), "pool": POOL}
        services[f"lines{number}"] = {**common, "ports": [TCP_PORT], "protocol": "tcp"}
        services[f"datagrams{number}"] = {**common, "ports": [UDP_PORT], "protocol": "udp"}
    rows = {
        name: {"address": str(address), "weight": (weights or {}).get(name, 100)} for name, address in addresses.items()
    }
    return json.dumps(
        {
            "interfaces": {interface: {"address": f"{director}/{PREFIX_LENGTH}", "mode": mode}},
            "services": services,
            "pools": {POOL: {"kind": "other", "check": dict(check), "backends": rows, **(pool or {})}},
        },
        indent=1,
    )


def family_of(address: Address) -> socket.AddressFamily:
    """As `socket.socket` takes it."""
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


class _Datagrams(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.server.greeting + self.rfile.read())  # type: ignore[attr-defined]


class _UdpServer(socketserver.UDPServer):
    max_packet_size = 65_535

    def __init__(self, node: Node, vip: Address) -> None:
        self.address_family = family_of(vip)
        self.greeting = f"{node.name} ".encode()
        super().__init__((str(vip), UDP_PORT), _Datagrams)  # bound to the VIP, or it would answer from another address
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)  # a hundred datagrams at once


@contextmanager
def serving(nodes: Iterable[Node], *, vips: Iterable[Address] = (VIP,)) -> Iterator[None]:
    """Line and datagram servers on these nodes; their sockets are the nodes', their threads ours."""
    with ExitStack() as servers:
        for node in nodes:
            servers.callback(lines.LineServer(node).close)
            with node.enter():
                started = [_UdpServer(node, vip) for vip in vips]
            for server in started:
                threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
                servers.callback(server.server_close)
                servers.callback(server.shutdown)
        yield


@contextmanager
def directing(lab: Lab, config: str, *, director: Node | None = None) -> Iterator[Daemon]:
    """A daemon that is ready; ended, if it still runs, when the block is left."""
    daemon = Daemon(lab, config=config, director=director)
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.is_running:
            daemon.stop()


def line_to(client: Node, backend: Node, *, vip: Address = VIP) -> Line:
    """A connection that goes to that backend."""
    return lines.line_to(client, backend.name, vip=vip)


def connects(client: Node, *, vip: Address = VIP, port: int = TCP_PORT, timeout_s: float = 0.2) -> bool:
    """Whether a new connection is answered in that time."""
    try:
        Line(client, vip=vip, port=port, timeout_s=timeout_s).close()
    except OSError:
        return False
    return True


class Datagrams:
    """A client's UDP socket: one flow through the director."""

    def __init__(self, client: Node, *, vip: Address = VIP) -> None:
        with client.enter():
            self._socket = socket.socket(family_of(vip), socket.SOCK_DGRAM)
        self._socket.connect((str(vip), UDP_PORT))

    def ask(self, *, timeout_s: float = 0.02) -> str:
        """Send one datagram; the name in the answer, empty if none comes in time."""
        self._socket.settimeout(timeout_s)
        try:
            self._socket.send(b"who")
            return self._socket.recv(100).decode().partition(" ")[0]
        except OSError:
            return ""

    def is_refused(self, *, timeout_s: float) -> bool:
        """Send one datagram; whether an error comes in time that says that nobody takes it."""
        self._socket.settimeout(timeout_s)
        try:
            self._socket.send(b"who")
            self._socket.recv(100)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            pass
        return False

    def close(self) -> None:
        self._socket.close()


def status(daemon: Daemon) -> Status:
    """As ``lbctl status --json`` has it, without a process."""
    return get(daemon.socket, "/v1/status", Status)


def backend(daemon: Daemon, node: Node | str, *, pool: str = "") -> BackendStatus:
    """One backend's part of the status, in the first pool that has it if none is named."""
    name = node if isinstance(node, str) else node.name
    rows = (row for each in status(daemon).pools if pool in ("", each.name) for row in each.backends)
    return next(row for row in rows if row.name == name)


def wait_backend(
    daemon: Daemon,
    node: Node | str,
    condition: Callable[[BackendStatus], bool],
    *,
    pool: str = "",
    deadline_s: float = 20.0,
) -> BackendStatus:
    """Wait until a backend's status meets a condition; the status."""
    wait_until(
        lambda: condition(backend(daemon, node, pool=pool)),
        deadline_s=deadline_s,
        what=lambda: f"another status of a backend than {backend(daemon, node, pool=pool)}\n{daemon.log_tail()}",
    )
    return backend(daemon, node, pool=pool)


_TAKES_NEW_ONES = {"up": True, "down": False}


def wait_state(
    daemon: Daemon, node: Node | str, state: str, *, pool: str = "", deadline_s: float = 20.0
) -> BackendStatus:
    """Wait until a backend is in a state, and if that is up or down, until the tables, which follow, say so as well; its
    status."""

    def is_so(row: BackendStatus) -> bool:
        return row.state == state and (row.share > 0) is _TAKES_NEW_ONES.get(state, row.share > 0)

    return wait_backend(daemon, node, is_so, pool=pool, deadline_s=deadline_s)


def reload(daemon: Daemon, config: str) -> str:
    """Write another file, send SIGHUP, and wait for the line of the log that says how that ended."""
    before = len(_reload_lines(daemon))
    daemon.reload(config)
    wait_until(lambda: len(_reload_lines(daemon)) > before, deadline_s=20, what="a reload to end")
    return _reload_lines(daemon)[-1]


def _reload_lines(daemon: Daemon) -> list[str]:
    lines = daemon.log.read_text().splitlines()
    return [line for line in lines if "reloaded" in line]


class ArpEar:
    """Hears the ARP packets that reach a node."""

    def __init__(self, node: Node) -> None:
        with node.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind((node.interface, 0x0806))

    def next(self, *, deadline_s: float) -> arp.ArpPacket:
        """The next one; `TimeoutError` if none comes in time."""
        self._socket.settimeout(deadline_s)
        while (packet := arp.parse(self._socket.recv(2048))) is None:
            pass
        return packet

    def close(self) -> None:
        self._socket.close()


def asks_for(client: Node, address: IPv4Address, *, interface: str = "eth0") -> list[str]:
    """The MACs that answer a client's three ARP requests for an address."""
    said = client.run(["arping", "-c3", "-w1", "-I", interface, str(address)], check=False).stdout
    return sorted({word.strip("[]").lower() for word in said.split() if word.startswith("[")})


def pings(client: Node, address: Address) -> bool:
    """Whether the address answers ping."""
    return client.run(["ping", "-c2", "-i0.2", "-W1", str(address)], check=False).returncode == 0
