"""Files in a few words, and a reconciler on fakes with a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from types import MappingProxyType

from lbctl.config.loader import parse
from lbctl.core.ids import identity
from lbctl.core.model import Address, Declaration
from lbctl.core.plan import Plan
from lbctl.core.standing import Override
from lbctl.core.tables import BackendRow, Lan, id_of
from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.state.overrides import Overrides, with_override
from lbctl.daemon.state.store import Remembered
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import FlowEntry
from lbctl.network.port import Link, Neighbour

VIP = IPv4Address("192.0.2.100")
OTHER_VIP = IPv4Address("192.0.2.101")
IFINDEX = 2
LAN = Lan(IFINDEX)
LINK = Link(
    ifindex=IFINDEX,
    name="eth0",
    mac=bytes.fromhex("02000000000a"),
    addresses=(IPv4Interface("192.0.2.10/24"), IPv6Interface("2001:db8::10/64")),
    is_up=True,
    mtu=1500,
)
NOTHING_SAID = Overrides()
HEALTHY = ProbeResult(outcome=Outcome.HEALTHY, detail="port 104 accepts connections", latency_s=0.001)
REFUSED = ProbeResult(outcome=Outcome.REFUSED, detail="connection refused on port 104")
UNREACHABLE = ProbeResult(outcome=Outcome.UNREACHABLE, detail="no route to port 104")


def file(
    *backends: str,
    vips: tuple[IPv4Address, ...] = (VIP,),
    kind: str = "other",
    keys: str = "",
    spare: tuple[str, ...] = (),
    director: str = "",
) -> str:
    """A configuration: backends as ``a``, ``b weight=50``, ``c agent`` or ``d address=192.0.2.99``, numbered from
    192.0.2.11 in their order unless they say otherwise, in pool ``p`` with these keys (``policy: failover, on_empty: drop``).
    The backends of ``spare``, from 192.0.2.21 on, are in a pool of that name."""
    services = "".join(f"  s{n}: {{vip: {vip}, ports: [104], pool: p}}\n" for n, vip in enumerate(vips))
    return (
        "interfaces:\n  eth0: {address: 192.0.2.10/24}\n"
        + (f"director: {{{director}}}\n" if director else "")
        + f"services:\n{services}pools:\n"
        + _pool("p", backends, kind=kind, keys=keys, first=11)
        + (_pool("spare", spare, kind="other", keys="", first=21) if spare else "")
    )


def _pool(name: str, backends: tuple[str, ...], *, kind: str, keys: str, first: int) -> str:
    more = "".join(f"    {key}\n" for key in keys.split(", ") if key)
    rows = "".join(_row(number, words.split()) for number, words in enumerate(backends, start=first))
    return f"  {name}:\n    kind: {kind}\n    check: {{type: tcp, rise: 2}}\n{more}    backends:\n{rows}"


def _row(number: int, words: list[str]) -> str:
    keys = {"address": f"192.0.2.{number}"}
    for word in words[1:]:
        key, _, value = word.partition("=")
        keys[key] = value or "{port: 3333}"
    return f"      {words[0]}: {{" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}\n"


def declared(
    *backends: str,
    vips: tuple[IPv4Address, ...] = (VIP,),
    kind: str = "other",
    keys: str = "",
    spare: tuple[str, ...] = (),
    director: str = "",
) -> Declaration:
    """What `file` declares."""
    text = file(*backends, vips=vips, kind=kind, keys=keys, spare=spare, director=director)
    return parse(text, source="lbctl.yaml")


def neighbour(address: Address, *, state: str = "reachable", mac: bytes | None = None) -> Neighbour:
    """An entry of the kernel's; a usable one has a MAC made of the address."""
    usable = state in ("reachable", "stale", "delay", "probe", "permanent")
    found = (mac or b"\x02\x00" + address.packed[-4:]) if usable else None
    return Neighbour(ifindex=IFINDEX, address=address, mac=found, usable=usable, state=state)


class Rig:
    """A reconciler whose neighbours are known, on a fake data plane."""

    def __init__(
        self,
        declaration: Declaration,
        *,
        dataplane: FakeDataplane | None = None,
        overrides: Overrides = NOTHING_SAID,
        actives: Mapping[str, str] = MappingProxyType({}),
        now: float = 1000.0,
        remembered: Mapping[str, Remembered] = MappingProxyType({}),
    ) -> None:
        self.now = now
        self.dataplane = dataplane or FakeDataplane()
        self.reconciler = Reconciler(
            declaration, self.dataplane, overrides=overrides, actives=actives, now=now, remembered=remembered
        )
        self.reconciler.neighbourhood.met({"eth0": LINK})
        self.meet_all()

    def meet_all(self) -> None:
        """Every declared backend answers ARP."""
        for backend in self.reconciler.declaration.backends():
            self.reconciler.neighbour_seen(neighbour(backend.address))

    def probe(self, result: ProbeResult, *names: str, times: int = 1) -> None:
        """Results of probes of these backends, or of all."""
        labels = {backend.name: backend.label for backend in self.reconciler.declaration.backends()}
        for _ in range(times):
            for name in names or labels:
                self.reconciler.observed.probed(labels[name], result, now=self.now)

    def fail(self, *names: str) -> None:
        """They refuse connections, and are down."""
        self.probe(REFUSED, *names, times=2)

    def override(self, *names: str, to: Override | None) -> None:
        """An operator's word on these backends of pool ``p``."""
        for name in names:
            self.reconciler.overrides = with_override(self.reconciler.overrides, f"p/{name}", to=to)

    def reconcile(self) -> Plan:
        return self.reconciler.reconcile(now=self.now)

    def restarted(self, *, actives: Mapping[str, str] = MappingProxyType({})) -> Rig:
        """Another daemon that finds the same kernel and the same overrides."""
        return Rig(
            self.reconciler.declaration,
            dataplane=self.dataplane,
            overrides=self.reconciler.overrides,
            actives=actives,
            now=self.now + 5,
        )

    def up(self) -> Rig:
        """All backends healthy, and the kernel knows."""
        self.probe(HEALTHY, times=3)
        self.reconcile()
        return self

    def row(self, name: str) -> BackendRow:
        """The kernel's row of a declared backend."""
        return self.dataplane.backends[self.number(name)]

    def number(self, name: str) -> int:
        """A backend's id, by its name or by ``name@address``."""
        keys = {
            identity(f"{backend.label}@{backend.address}"): backend.name
            for backend in self.reconciler.declaration.backends()
        }
        return next(i for i, row in self.dataplane.backends.items() if keys.get(row.identity) == name)

    def shares(self, pool: str = "p") -> Mapping[str, float]:
        """Each backend's part of the pool's slots as the fake kernel has them; those without one are left out."""
        slots = self.dataplane.read().slots[self.pool_id(pool)]
        owners = Counter(id_of(int(ref)) for ref in slots)
        names = {self.number(backend.name): backend.name for backend in self.reconciler.declaration.backends()}
        return {names.get(number, "nobody"): count / len(slots) for number, count in owners.items()}

    def pool_id(self, pool: str) -> int:
        """By its name."""
        return next(number for number, row in self.dataplane.pools.items() if row.identity == identity(pool))

    def reference(self, name: str) -> int:
        """What slots and flows carry of a declared backend."""
        return self.dataplane.read().reference(self.number(name))

    def states(self) -> Mapping[str, str]:
        """What the kernel has of each declared backend, in a word."""
        names = (backend.name for backend in self.reconciler.declaration.backends())
        return {name: self.row(name).state.name.lower() for name in names}

    def conditions(self) -> Mapping[str, str]:
        """What people are told of each declared backend, in a word."""
        standings = self.reconciler.standings()
        return {b.name: standings[b.label].condition.value for b in self.reconciler.declaration.backends()}

    def flow_to(self, name: str, *, vip: IPv4Address = VIP, idle_s: float = 1.0) -> FlowEntry:
        """A live flow to a backend, put into the fake kernel."""
        service = self.reconciler.declaration.services[0]
        flow = FlowEntry(
            protocol=service.protocol,
            client=IPv4Address("192.0.2.201"),
            client_port=40000 + len(self.dataplane.live_flows),
            vip=vip,
            vip_port=104,
            backend=self.reference(name),
            idle_s=idle_s,
            state="open",
        )
        self.dataplane.live_flows.append(flow)
        return flow

    def sweep(self) -> None:
        """What the daemon does every few seconds."""
        self.reconciler.swept(self.dataplane.sweep(self.reconciler.idle_limits()), now=self.now)
