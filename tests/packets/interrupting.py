"""A change of many steps that is cut off in the middle, in the kernel's own tables: two files, the writer that is killed, and
packets that tell whether anybody noticed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from lbctl.config.loader import parse
from lbctl.core.ids import identity
from lbctl.core.model import Address, Backend, Declaration, Protocol
from lbctl.core.plan import Step
from lbctl.core.tables import Tables, id_of
from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.state.overrides import Overrides
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.port import AttachedMode, Attachment
from lbctl.errors import KernelError
from lbctl.network.port import Link, Neighbour
from tests.packets.frames import tcp, udp
from tests.packets.rig import Rig
from tests.packets.world import LOOPBACK, OWN_MAC

HEALTHY = ProbeResult(outcome=Outcome.HEALTHY, detail="port 104 accepts connections", latency_s=0.001)
LINK = Link(
    ifindex=LOOPBACK,
    name="eth0",
    mac=OWN_MAC,
    addresses=(IPv4Interface("192.0.2.10/24"),),
    is_up=True,
    mtu=1500,
)
_HEAD = "interfaces:\n  eth0: {address: 192.0.2.10/24}\n"
BEFORE = (
    _HEAD
    + """services:
  store: {vip: 192.0.2.100, ports: [104], pool: p}
  log: {vip: 192.0.2.100, ports: [514], protocol: udp, pool: p}
  old: {vip: 192.0.2.101, ports: [104], pool: q}
  guarded: {vip: 192.0.2.100, ports: [8080], pool: p, allow: [10.0.0.0/8]}
pools:
  p:
    kind: other
    check: {type: tcp, port: 104, rise: 1}
    backends:
      a: {address: 192.0.2.11}
      b: {address: 192.0.2.12}
      c: {address: 192.0.2.13}
      d: {address: 192.0.2.14}
  q:
    kind: other
    check: {type: tcp, port: 104, rise: 1}
    backends:
      e: {address: 192.0.2.15}
      f: {address: 192.0.2.16}
"""
)
AFTER = (
    _HEAD
    + """director: {wrong_port: drop}
services:
  store: {vip: 192.0.2.100, ports: [104, 11112], pool: p}
  log: {vip: 192.0.2.100, ports: [514], protocol: udp, pool: p}
  guarded: {vip: 192.0.2.100, ports: [8080], pool: p, allow: [10.0.0.0/8, 172.16.0.0/12]}
  new: {vip: 192.0.2.102, ports: [104], pool: r}
  syslog: {vip: 192.0.2.102, ports: [514], protocol: udp, pool: r}
pools:
  p:
    kind: other
    check: {type: tcp, port: 104, rise: 1}
    backends:
      b: {address: 192.0.2.12, weight: 10}
      c: {address: 192.0.2.13}
      d: {address: 192.0.2.14}
      g: {address: 192.0.2.17}
  r:
    kind: other
    check: {type: tcp, port: 104, rise: 1}
    backends:
      h: {address: 192.0.2.18}
      i: {address: 192.0.2.19}
      j: {address: 192.0.2.20}
"""
)
"""A backend is removed, one added, a weight moved; a pool and its service go, another comes; a list of sources changes."""


def declared(text: str) -> Declaration:
    """What a text says."""
    return parse(text, source="lbctl.yaml")


def mac_of(address: Address) -> bytes:
    """Everybody's MAC is made of the address."""
    return b"\x02\x00" + address.packed[-4:]


def director(declaration: Declaration, rig: Rig, *, dataplane: KernelDataplane | None = None) -> Reconciler:
    """One that starts from what the kernel holds, whose backends answer, and whose flows are counted."""
    dataplane = dataplane or KernelDataplane(rig.loaded, rig.pins)
    reconciler = Reconciler(declaration, dataplane, overrides=Overrides(), actives={}, now=0.0)
    reconciler.neighbourhood.met({"eth0": LINK})
    meet(reconciler)
    if reconciler.current.services:
        reconciler.swept(dataplane.sweep(reconciler.idle_limits()), now=0.0)
    return reconciler


def meet(reconciler: Reconciler) -> None:
    """Every declared backend has a MAC, and a good probe."""
    for backend in reconciler.declaration.backends():
        reconciler.neighbour_seen(neighbour(backend))
        reconciler.observed.probed(backend.label, HEALTHY, now=0.0)


def neighbour(backend: Backend) -> Neighbour:
    """Its entry in the kernel's table."""
    return Neighbour(
        ifindex=LOOPBACK, address=backend.address, mac=mac_of(backend.address), usable=True, state="reachable"
    )


class Killed:
    """A data plane whose writer is killed (SIGKILL) right before a step, in a process of its own."""

    def __init__(self, dataplane: KernelDataplane, *, after: int) -> None:
        self._dataplane = dataplane
        self._left = after

    def write(self, step: Step) -> None:
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1
        self._dataplane.write(step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataplane, name)


def killed_after(steps: int, reconciler: Reconciler, dataplane: KernelDataplane) -> None:
    """Carry out what the reconciler plans in a child that is killed after so many steps."""
    child = os.fork()
    if not child:
        try:
            reconciler._dataplane = Killed(dataplane, after=steps)
            reconciler.reconcile(now=0.0, is_change=True)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the writer was not killed after step {steps}, but ended by itself"
    assert os.WTERMSIG(status) == signal.SIGKILL


class Faulty:
    """A data plane that, once it is ``armed``, refuses one step, or (``loses``) carries it out in words only: ``struck``.
    Attaches to nothing."""

    def __init__(self, dataplane: KernelDataplane) -> None:
        self._dataplane = dataplane
        self._left: int | None = None
        self._loses = False
        self.struck: Step | None = None
        self.attached: set[int] = set()

    def arm(self, after: int, *, loses: bool) -> None:
        """After so many steps."""
        self._left, self._loses, self.struck = after, loses, None

    def write(self, step: Step) -> None:
        if self._left == 0:
            self._left, self.struck = None, step
            if self._loses:
                return
            raise KernelError("writing a map entry: no space left on device")
        if self._left is not None:
            self._left -= 1
        self._dataplane.write(step)

    def attach(self, ifindex: int, mode: object) -> Attachment:
        self.attached.add(ifindex)
        return Attachment(ifindex=ifindex, mode=AttachedMode.GENERIC)

    def keep_pins(self) -> bool:
        return False

    def is_attached(self, ifindex: int) -> bool:
        return ifindex in self.attached

    def detach_others(self, keep: frozenset[int]) -> None:
        self.attached &= keep

    def specialise(self, features: object) -> None:
        """It has all of them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataplane, name)


# Packets ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """A connection, or a flow of datagrams, to a service."""

    address: IPv4Address
    port: int
    vip: IPv4Address
    service: int
    protocol: Protocol = Protocol.TCP

    def first(self) -> bytes:
        """What opens it."""
        return _frame(self, "S")

    def next(self) -> bytes:
        """What follows."""
        return _frame(self, "A")


@cache
def _frame(client: Client, flags: str) -> bytes:
    ends: dict[str, Any] = {"client_port": client.port, "client": client.address, "vip": client.vip}
    if client.protocol is Protocol.UDP:
        return udp(client.service, **ends)
    return tcp(flags, client.service, seq=1 if flags == "S" else 2, ack=0 if flags == "S" else 1, **ends)


def clients(declaration: Declaration, *, ports: range) -> Iterator[Client]:
    """Some of each service, so many that each of its backends has one or more."""
    for service in declaration.services:
        assert isinstance(service.vip, IPv4Address)
        for port in service.ports:
            for number in ports:
                address = IPv4Address("10.0.0.1") + number % 7
                yield Client(address, number, service.vip, port, service.protocol)


def taker(rig: Rig, frame: bytes) -> bytes | None:
    """The MAC that a frame goes on to; ``None`` if it is answered, dropped, or not ours."""
    out = rig.run(frame).data
    is_forwarded = out[6:12] == OWN_MAC and out[12:] == frame[12:] and out[:6] != frame[6:12]
    return out[:6] if is_forwarded else None


def open_flows(rig: Rig, declaration: Declaration) -> Mapping[Client, bytes]:
    """A live flow of each client, and the server that it has."""
    found = {}
    for client in clients(declaration, ports=range(30_000, 30_012)):
        owner = taker(rig, client.first())
        assert owner is not None, client
        assert taker(rig, client.next()) == owner
        found[client] = owner
    return found


# What tables mean ------------------------------------------------------------------------------------------------------


def meaning(tables: Tables, declaration: Declaration) -> dict[str, object]:
    """The declared part, in terms that no id has a part in: who owns which slot, which service has which pool and list.

    What is declared no more stays while it has connections."""
    names = {identity(backend.key): backend.label for backend in declaration.backends()}
    numbers = {number: names.get(row.identity, "removed") for number, row in tables.backends.items()}
    pools = {number: row.identity for number, row in tables.pools.items()}
    rows = {
        names[row.identity]: replace(row, generation=0) for row in tables.backends.values() if row.identity in names
    }
    return {
        "interfaces": dict(tables.interfaces),
        "vips": {service.vip: tables.vips.get(service.vip) for service in declaration.services},
        "services": {
            key: (pools.get(row.pool_id), dict(tables.sources.get(row.source_list, {})))
            for key, row in tables.services.items()
        },
        "backends": rows,
        "owners": {
            pools[number]: [numbers.get(id_of(ref)) for ref in slots.tolist()] for number, slots in tables.slots.items()
        },
        "members": {
            pools[number]: [numbers.get(id_of(ref)) for ref in members.own]
            for number, members in tables.members.items()
        },
        "drops_wrong_ports": tables.drops_wrong_ports,
    }
