"""Floods from clients that do not exist: millions of different frames made inside the kernel (see ``spoofer.c``)."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane import abi, bpf, loader, objectfile
from lbctl.dataplane.layout import FLOW_KEY4
from lbctl.dataplane.mapspec import struct
from lbctl.dataplane.rows import mac_word
from tests.packets.frames import CLIENT_MAC, tcp
from tests.packets.rig import Rig
from tests.packets.wire import ACK, FIN, SYN
from tests.packets.world import DICOM, OWN_MAC, VIP

SOURCE = Path(__file__).with_name("spoofer.c")
SYNS, ACKS = (SYN,), (ACK,)
HANDSHAKES = (SYN, ACK)
CHURN = (SYN, ACK, FIN | ACK)
"""A connection's segments, one connection after the other."""

_FIRST_ADDRESS, _FIRST_PORT, _PORT_BITS = 0x0B00_0000, 32_768, 6
_SCRIPT = struct(
    ("own_mac", "<u8"), ("client_mac", "<u8"), ("connection", "<u4"), ("segment", "<u4"), ("segments", "<u4"),
    ("astray", "<u4"), ("flags", "u1", 8),
)  # fmt: skip
_MAP_TYPE_ARRAY, _MAP_TYPE_PROG_ARRAY = 2, 3
_LIVE_FRAMES = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES
_FIRST = np.zeros(1, "<u4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What became of some frames: how many left by which reason, and the kernel's mean time for one in nanoseconds (the
    spoofer's own share included)."""

    reasons: Counter[str]
    frame_ns: int


class Spoofer:
    """The loaded program. Its connections are numbered, and the numbers go on over everything it sends."""

    def __init__(self, programs: Mapping[str, int], maps: Mapping[str, int]) -> None:
        self.programs = programs
        self._maps = maps
        self._script = np.zeros(1, _SCRIPT)
        self.send_between(client_mac=CLIENT_MAC, own_mac=OWN_MAC)

    def send_between(self, *, client_mac: bytes, own_mac: bytes) -> None:
        """Send to the director that has one MAC from a client that has the other."""
        self._script["client_mac"], self._script["own_mac"] = mac_word(client_mac), mac_word(own_mac)

    @property
    def connection(self) -> int:
        """Number of the next connection."""
        return int(self._script["connection"][0])

    def run_into(self, rig: Rig, segments: tuple[int, ...], connections: int) -> Burst:
        """Send that many connections' segments through the rig's program. Fails if a frame did not get there."""
        target = np.array([rig.loaded.programs[loader.INGRESS]], "<u4")
        bpf.update(self._maps["spoofer_target"], _FIRST, target)
        before, first = rig.reasons(), self.connection
        self._write(segments)
        outcome = bpf.test_run(self.programs["spoof_into"], tcp(), repeat=connections * len(segments))
        self._read()
        reasons = Counter({name: n - before[name] for name, n in rig.reasons().items() if n != before[name]})
        assert (self.connection - first, int(self._script["astray"][0])) == (connections, 0)
        assert reasons.total() == connections * len(segments)
        return Burst(reasons=reasons, frame_ns=outcome.duration_ns)

    def send(self, frame: bytes, segments: tuple[int, ...], connections: int, *, ifindex: int) -> float:
        """Send that many connections' segments out of an interface of the calling thread's namespace, as real frames made
        from ``frame``; the seconds it took."""
        self._write(segments)
        program = self.programs["spoof_out"]
        took_s = send_live(program, frame, count=connections * len(segments), ifindex=ifindex)
        self._read()
        return took_s

    def _write(self, segments: tuple[int, ...]) -> None:
        self._script["segments"], self._script["segment"] = len(segments), 0
        self._script["flags"][0, : len(segments)] = segments
        bpf.update(self._maps["spoofer_script"], _FIRST, self._script)

    def _read(self) -> None:
        bpf.lookup(self._maps["spoofer_script"], _FIRST, self._script)


def keys_of(first: int, count: int) -> NDArray[Any]:
    """The flow keys of ``count`` connections from number ``first`` on; shape (count,)."""
    with np.errstate(over="ignore"):
        number = np.arange(first, first + count, dtype=np.uint32) * np.uint32(0x9E3779B1)
        number = (number ^ number >> np.uint32(15)) * np.uint32(0x85EBCA6B)
    number ^= number >> np.uint32(13)
    keys = np.zeros(count, FLOW_KEY4)
    keys["client"], keys["vip"] = _FIRST_ADDRESS + (number >> np.uint32(_PORT_BITS)), int(VIP)
    keys["client_port"], keys["vip_port"] = _FIRST_PORT + (number & np.uint32((1 << _PORT_BITS) - 1)), DICOM
    return keys


def compile_spoofer() -> dict[str, objectfile.Program]:
    """Its programs."""
    programs, value_sizes = compile_programs(SOURCE)
    assert value_sizes["spoofer_script"] == _SCRIPT.itemsize
    return programs


def compile_programs(source: Path) -> tuple[dict[str, objectfile.Program], dict[str, int]]:
    """A test's own programs, by the build child of the program under test, and the sizes of their maps' values."""
    child = Path(objectfile.__file__).with_name("build.py")
    argv: list[str | Path] = [
        objectfile.DISTRIBUTION_PYTHON,
        "-I",
        child,
        objectfile.source_directory() / "kshim",
        source,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    programs = {
        name: objectfile.Program(
            name=name, code=bytes.fromhex(parts["code"]), references=tuple((i, of) for i, of in parts["maps"])
        )
        for name, parts in made["programs"].items()
    }
    return programs, {name: parts["value_size"] for name, parts in made["maps"].items()}


def send_live(program: int, frame: bytes, *, count: int, ifindex: int) -> float:
    """Run a program so many times on real frames made from ``frame``, which are said to have come in by an interface of the
    calling thread's namespace, and leave by it if it says ``XDP_TX``; the seconds that took. The other end of a veth needs an
    XDP program."""
    data, context = ctypes.create_string_buffer(frame, len(frame)), (ctypes.c_uint32 * 6)(0, len(frame), 0, ifindex)
    opts = abi.TestRunOpts(
        data_in=ctypes.addressof(data), data_size_in=len(frame), ctx_in=ctypes.addressof(context),
        ctx_size_in=ctypes.sizeof(context), repeat=count, flags=_LIVE_FRAMES,
    )  # fmt: skip
    began = time.monotonic()
    result = bpf.library().bpf_prog_test_run_opts(program, ctypes.byref(opts))
    took_s = time.monotonic() - began
    bpf.checked(result, "sending live frames")
    return took_s


@contextmanager
def spoofer_of(programs: Mapping[str, objectfile.Program]) -> Iterator[Spoofer]:
    """Load it; nothing of it stays."""
    sizes = {"spoofer_script": (_MAP_TYPE_ARRAY, _SCRIPT.itemsize), "spoofer_target": (_MAP_TYPE_PROG_ARRAY, 4)}
    with ExitStack() as opened:
        maps = {
            name: bpf.create_map(name, type=kind, key_size=4, value_size=size, max_entries=1, flags=0)
            for name, (kind, size) in sizes.items()
        }
        loaded = {name: bpf.load_xdp(name, program.linked(maps)) for name, program in programs.items()}
        for descriptor in (*maps.values(), *loaded.values()):
            opened.callback(os.close, descriptor)
        yield Spoofer(loaded, maps)
