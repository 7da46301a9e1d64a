"""Real frames by the second, over a veth in native mode: through the program, and through a bare forwarder in its place.

One thread makes frames in the kernel (``BPF_F_TEST_XDP_LIVE_FRAMES``) and sends them into one end of the cable; on the other is
the program, or a bare MAC swap with ``XDP_TX``; what comes back is counted and dropped where it came from. All of it is done by
one CPU, so the rates are those of one core, and contain the sending and the counting: the ratio is what the director costs on
this way, not what the program costs by itself (that is what the table of paths tells).
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import numpy as np

from lbctl.core.tables import Lan, Tables
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.layout import Reason
from lbctl.dataplane.mapspec import MapType, struct
from lbctl.dataplane.rows import mac_word
from lbctl.lab.namespaces import run_ip
from tests.bench.paths import ESTABLISHED, ESTABLISHED6, OWN_MAC, Path
from tests.bench.timing import FIRST_PORT, enter_flows
from tests.packets.frames import CLIENT_MAC
from tests.packets.rig import Rig
from tests.packets.spoofer import compile_programs, send_live
from tests.packets.world import backend_row, interface_row, tables

SOURCE = FilePath(__file__).with_name("live.c")
CABLE = Lan(200)
"""The end that the program is on."""
NEAR_END = 201
"""The ifindex of the other one."""
CLIENT = 1
FRAMES = 500_000
"""Of one round of one row."""
MANY = 65_536
PATHS = (
    replace(ESTABLISHED, name="live, tcp4 established"),
    replace(ESTABLISHED, name="live, tcp4 64k flows", port_step=1, flows=MANY),
    replace(ESTABLISHED6, name="live, tcp6 established"),
    replace(ESTABLISHED6, name="live, tcp6 64k flows", port_step=1, flows=MANY),
)
BARE = "live, bare forwarder"
_TRAFFIC = struct(
    ("own_mac", "<u8"), ("client_mac", "<u8"), ("port", "<u4"), ("mask", "<u4"), ("came_out", "<u8")
)  # fmt: skip
_FIRST = np.zeros(1, "<u4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A row: frames that came out, by the second, and the part of the bare forwarder's that this is."""

    path: str
    frames_per_s: int
    ratio: float
    came_out: float
    """Part of what was sent."""
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """So many frames were sent, so many came out, in this time."""

    sent: int
    came_out: int
    took_s: float

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.came_out / self.took_s


class Way:
    """The cable in the rig's namespace, with a program of choice at its far end."""

    def __init__(self, rig: Rig, programs: Mapping[str, int], traffic: int, link: int) -> None:
        self._rig = rig
        self._programs = programs
        self._traffic = traffic
        self._link = link

    def send(self, path: Path, *, is_bare: bool) -> Pass:
        """One pass of `FRAMES` frames of the path's flows."""
        forwarder = self._programs["live_bare"] if is_bare else self._rig.loaded.programs[loader.INGRESS]
        bpf.update_link(self._link, forwarder)
        state = np.zeros(1, _TRAFFIC)
        state["own_mac"], state["client_mac"] = mac_word(OWN_MAC), mac_word(CLIENT_MAC)
        state["port"], state["mask"] = FIRST_PORT, path.flows - 1
        bpf.update(self._traffic, _FIRST, state)
        with self._rig.elsewhere(), one_cpu():
            frame = path.packet(path.client(CLIENT), FIRST_PORT)
            took_s = send_live(self._programs["live_send"], frame, count=FRAMES, ifindex=NEAR_END)
        bpf.lookup(self._traffic, _FIRST, state)
        return Pass(sent=FRAMES, came_out=int(state["came_out"][0]), took_s=took_s)

    def through_the_program(self, path: Path) -> Pass:
        """The same; fails unless the program says of each frame that it went the path's way."""
        before = self._rig.reasons()
        done = self.send(path, is_bare=False)
        took = {name: n - before[name] for name, n in self._rig.reasons().items() if n != before[name]}
        if took != {Reason.ESTABLISHED.name.lower(): FRAMES}:
            raise SystemExit(f"bench: {path.name}: {FRAMES} frames were sent, the program counted {took}")
        return done


@contextmanager
def way_of(rig: Rig) -> Iterator[Way]:
    """Lay the cable, and put the programs on both ends in native mode."""
    compiled, sizes = compile_programs(SOURCE)
    assert sizes["live_traffic"] == _TRAFFIC.itemsize
    with rig.elsewhere(), ExitStack() as opened:
        FilePath("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")  # the kernel has nothing to say here
        ends = f"link add cable address {OWN_MAC.hex(':')} index {CABLE.ifindex} type veth peer wire index {NEAR_END}"
        run_ip([ends, "link set cable up", "link set wire up"])
        opened.callback(run_ip, ["link delete cable"])
        traffic = bpf.create_map(
            "live_traffic", type=MapType.ARRAY, key_size=4, value_size=_TRAFFIC.itemsize, max_entries=1, flags=0
        )
        programs = {name: bpf.load_xdp(name, each.linked({"live_traffic": traffic})) for name, each in compiled.items()}
        links = [
            bpf.create_xdp_link(programs["live_bare"], CABLE.ifindex, generic=False),
            bpf.create_xdp_link(programs["live_count"], NEAR_END, generic=False),
        ]
        for descriptor in (traffic, *programs.values(), *links):
            opened.callback(os.close, descriptor)
        yield Way(rig, programs, traffic, links[0])


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keep the thread on one CPU: the kernel does all of the way's work on the one that sends."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def on_the_cable() -> Tables:
    """The bench's usual tables; director and backends are at the cable."""
    held = tables({number: backend_row(number, lan=CABLE) for number in (1, 2, 3)})
    return replace(held, interfaces={CABLE: interface_row()}, vips=dict.fromkeys(held.vips, CABLE))


def measure(rig: Rig, rounds: int) -> list[Rate]:
    """All rounds of all paths, interleaved, bare before each."""
    bare: dict[str, list[Pass]] = {path.name: [] for path in PATHS}
    full: dict[str, list[Pass]] = {path.name: [] for path in PATHS}
    with way_of(rig) as way:
        rig.hold(on_the_cable())
        for _ in range(rounds):
            for path in PATHS:
                rig.forget()
                enter_flows(rig, path, path.client(CLIENT))
                bare[path.name].append(way.send(path, is_bare=True))
                full[path.name].append(way.through_the_program(path))
        rig.hold(Tables())
    first = bare[PATHS[0].name]
    return [rate(BARE, first, first), *(rate(path.name, full[path.name], bare[path.name]) for path in PATHS)]


def rate(name: str, passes: Sequence[Pass], bare: Sequence[Pass]) -> Rate:
    """Medians over the rounds; the ratio is that within a round, of the same frames."""
    return Rate(
        path=name,
        frames_per_s=round(statistics.median(each.rate for each in passes)),
        ratio=round(statistics.median(a.rate / b.rate for a, b in zip(passes, bare, strict=True)), 3),
        came_out=round(sum(each.came_out for each in passes) / sum(each.sent for each in passes), 6),
        rounds=len(passes),
    )


def print_rates(rates: Sequence[Rate]) -> None:
    """The table of real frames."""
    print(f"\n{'real frames, veth, native, one core':<38} {'Mpps':>7} {'of bare':>10} {'came out':>9}")
    for row in rates:
        print(f"{row.path:<38} {row.frames_per_s / 1e6:>7.3f} {row.ratio:>10.3f} {row.came_out:>9.4%}")
