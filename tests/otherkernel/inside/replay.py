"""``python -m tests.otherkernel.inside.replay LUGGAGE``: loads the program here, tries every row of the table, and prints what
was found as one line of JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from lbctl.dataplane import loader
from lbctl.dataplane.layout import FLOW, MAPS, sized
from lbctl.dataplane.objectfile import ObjectFile
from tests.otherkernel.inside.rows import Flow, Found, Luggage, Row
from tests.packets.devices import devices, mounted_bpffs
from tests.packets.rig import BUDGET, HANDSHAKES, Rig

FLOWS = 16
"""Rows know one at most, and an emulated processor takes 10 ms to find nothing in a table of the usual size."""


def main() -> None:
    """Load, try, tell."""
    luggage: Luggage = pickle.loads(Path(sys.argv[1]).read_bytes())
    with rig_of(luggage.program) as rig:
        found = Found(
            release=os.uname().release,
            verified={name: verified_instructions(program) for name, program in rig.loaded.programs.items()},
            rows=len(luggage.rows),
            differences=dict(differences(rig, luggage)),
        )
    print(json.dumps(dataclasses.asdict(found)))


@contextmanager
def rig_of(program: ObjectFile) -> Iterator[Rig]:
    """The tests' own rig, with small tables of flows."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbctl-rig-")))
        pins = stack.enter_context(mounted_bpffs(directory))
        loaded = loader.load(program, pins, sized(tcp_flows=FLOWS, udp_flows=FLOWS))
        yield Rig(loaded, pins, stack.enter_context(devices()))


def verified_instructions(program: int) -> int:
    """Of a program's descriptor."""
    information = Path(f"/proc/self/fdinfo/{program}").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in information.splitlines())
    return int(fields["verified_insns"])


def differences(rig: Rig, luggage: Luggage) -> Iterator[tuple[str, str]]:
    """The rows that do not come true, with what happens instead. Rows with the same tables come one after the other."""
    held = -1
    for row in sorted(luggage.rows, key=lambda row: row.tables):
        rig.forget()
        if row.tables != held:
            rig.hold(luggage.tables[row.tables])
            held = row.tables
        difference = tried(rig, row)
        if difference:
            yield row.name, difference


def tried(rig: Rig, row: Row) -> str:
    """What becomes of a row's packet, if it is something else than the row says."""
    if (row.tokens, row.handshakes) != (BUDGET, HANDSHAKES):
        rig.set_tokens(row.tokens, handshakes=row.handshakes)
    if row.flow is not None:
        put(rig, row.flow)
    if row.assigned:
        rig.dataplane.assign(row.assigned)
    for frame in row.earlier:
        rig.run(frame, ifindex=row.ifindex)
    outcome, reason = rig.run_for_reason(row.frame, ifindex=row.ifindex)
    happened = (outcome.verdict, reason.name, outcome.data.hex(), list(flows(rig)))
    expected = (row.verdict, row.reason, row.out.hex(), [row.after] if row.after else [])
    return "" if happened == expected else f"{happened}, not {expected}"


def put(rig: Rig, flow: Flow) -> None:
    """The flow that a row begins with, a moment old."""
    entry = np.zeros(1, FLOW)
    entry["backend"], entry["state"], entry["service"] = flow.reference, flow.state, 1
    entry["last_seen"] = rig.clock.jiffies() - 10 & 0xFFFFFFFF
    rig.flows[flow.table].set_all(np.frombuffer(flow.key, MAPS[flow.table].key), entry)


def flows(rig: Rig) -> Iterator[Flow]:
    """All of them."""
    for table, entries in rig.flows.items():
        for keys, values in entries.batches():
            for key, value in zip(keys, values, strict=True):
                yield Flow(table, key.tobytes(), int(value["backend"]), int(value["state"]))


if __name__ == "__main__":
    main()
